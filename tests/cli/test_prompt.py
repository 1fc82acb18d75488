"""`brainnet prompt` against a broker that the test plays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainnet.bus import Bus
from brainnet.errors import RegionError
from brainnet.testing import PATIENCE_S
from brainnet.wire.messages import MAX_PROMPT_BYTES, Answer, Candidate, Decision, Partial, Prompt
from brainnet.wire.packet import SpikePacket
from tests.small_brain import SmallBrain

Answering = Callable[[Prompt], Awaitable[Answer]]


def _serve(bus: Bus, answering: Answering) -> list[Prompt]:
    """Answer prompts on this bus; returns the list that those asked are added to."""
    asked: list[Prompt] = []

    async def handle(prompt: Prompt, key: str) -> Answer:
        asked.append(prompt)
        return await answering(prompt)

    bus.serve("api/prompt", handle)
    return asked


async def _seven(prompt: Prompt) -> Answer:
    decision = Decision(prompt_id=prompt.prompt_id, route_probs={"eye": 0.9, "ear": 0.1}, chosen=["eye"], entropy=0.3)
    return Answer(
        prompt_id=prompt.prompt_id,
        text="seven",
        confidence=0.97,
        contributing=["eye"],
        late=["ear"],
        stopped_by="settled",
        latency_ms=12.3,
        decision=decision,
    )


async def test_the_answer_and_a_line_that_says_who_gave_it(small_brain: SmallBrain) -> None:
    _serve(await small_brain.join("supervisor"), _seven)
    done = await small_brain.run("prompt", "which digit is this?")
    assert done.code == 0
    assert done.out.splitlines() == ["seven", "eye, late: ear, confidence 0.97, 12 ms"]
    assert done.err == ""


async def test_json_has_what_a_program_needs(small_brain: SmallBrain) -> None:
    asked = _serve(await small_brain.join("supervisor"), _seven)
    (row,) = (await small_brain.run("prompt", "which digit is this?", "--json")).rows
    assert row["prompt_id"] == asked[0].prompt_id
    assert (row["text"], row["confidence"], row["stopped_by"]) == ("seven", 0.97, "settled")
    assert (row["contributing"], row["late"], row["latency_ms"]) == (["eye"], ["ear"], 12.3)
    assert {"route_probs", "entropy", "alpha", "temperature", "chosen"} <= set(row["decision"])


async def test_picture_regions_session_and_deadline_travel_inline(small_brain: SmallBrain, tmp_path: Path) -> None:
    asked = _serve(await small_brain.join("supervisor"), _seven)
    picture = tmp_path / "seven.png"
    picture.write_bytes(b"\x89PNG\x00\xff")
    options = ["--image", str(picture), "--region", "eye", "--region", "ear", "--session", "s1", "--timeout", "5"]
    done = await small_brain.run("prompt", "-", *options, stdin="wie heißt sie?\n".encode())
    assert done.code == 0
    assert (asked[0].text, asked[0].image) == ("wie heißt sie?\n", b"\x89PNG\x00\xff")
    assert (asked[0].regions, asked[0].session_id) == (["eye", "ear"], "s1")
    assert 4000 < asked[0].deadline_ms <= 5000


async def test_arrays_travel_as_packets_and_need_no_text(small_brain: SmallBrain, tmp_path: Path) -> None:
    asked = _serve(await small_brain.join("supervisor"), _seven)
    spikes = np.random.default_rng(1).random((8, 20)) < 0.3
    np.savez(tmp_path / "spikes.npz", spikes=spikes, currents=np.full((2, 3), 0.5))
    done = await small_brain.run("prompt", "--array", str(tmp_path / "spikes.npz"), "--region", "retina")
    assert done.code == 0, done.err
    assert (asked[0].text, asked[0].regions) == ("", ["retina"])
    packets = {name: SpikePacket.decode(payload) for name, payload in asked[0].arrays.items()}
    assert np.array_equal(packets["spikes"].data, spikes)
    assert packets["spikes"].is_spikes
    assert np.array_equal(packets["currents"].data, np.full((2, 3), 0.5, np.float32))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no such file"),
        (b"no arrays", "is no npz or npy file"),
        (np.array([[{}]], object), "x: holds objects"),
        (np.zeros((1, 1 << 25), bool), "x: is too large"),
    ],
)
async def test_arrays_that_cannot_be_sent_are_one_clear_error(
    small_brain: SmallBrain, tmp_path: Path, content: Any, says: str
) -> None:
    asked = _serve(await small_brain.join("supervisor"), _seven)
    path = tmp_path / "arrays.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez_compressed(path, x=content)
    done = await small_brain.run("prompt", "look", "--array", str(path))
    assert done.code == 1
    assert done.err.startswith(f"brainnet: arrays {path}")
    assert says in done.err
    assert done.err.count("\n") == 1
    assert not asked


async def test_an_answer_that_is_an_error_fails_the_command(small_brain: SmallBrain) -> None:
    async def fail(prompt: Prompt) -> Answer:
        return Answer(prompt_id=prompt.prompt_id, stopped_by="error", error="no region can read a melody")

    _serve(await small_brain.join("supervisor"), fail)
    done = await small_brain.run("prompt", "hum this")
    assert (done.code, done.out, done.err) == (1, "", "brainnet: no region can read a melody\n")
    as_json = await small_brain.run("prompt", "hum this", "--json")
    assert as_json.code == 1
    assert as_json.rows[0]["error"] == "no region can read a melody"


async def test_a_refusal_is_shown_as_it_is_and_not_repeated(small_brain: SmallBrain) -> None:
    async def refuse(prompt: Prompt) -> Answer:
        raise RegionError("the brain is busy: 1000 prompts are open")

    asked = _serve(await small_brain.join("supervisor"), refuse)
    done = await small_brain.run("prompt", "hello")
    assert (done.code, done.err) == (1, "brainnet: the brain is busy: 1000 prompts are open\n")
    assert len(asked) == 1


async def test_no_brain_is_one_clear_error(small_brain: SmallBrain) -> None:
    done = await small_brain.run("prompt", "hello", "--hub", "tcp/127.0.0.1:1")
    assert done.code == 1
    assert "brainnet launch" in done.err
    assert done.err.count("\n") == 1


async def test_a_brain_where_nobody_answers_prompts_is_said_at_the_deadline(small_brain: SmallBrain) -> None:
    done = await small_brain.run("prompt", "hello", "--timeout", "0.5")
    assert done.code == 1
    assert "nobody answered" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        ([], b"", "the prompt is empty"),
        ([""], b"", "the prompt is empty"),
        (["   "], b"", "the prompt is empty"),
        (["-"], b"", "the prompt is empty"),
        (["-"], b"x" * 50_000_000, "at most 100000 characters"),
        (["x", "--image", "/no/such/picture.png"], b"", "/no/such/picture.png cannot be read"),
        (["x", "--image", "/"], b"", "picture / cannot be read"),
    ],
)
async def test_what_cannot_be_asked_is_one_clear_error(
    small_brain: SmallBrain, arguments: list[str], stdin: bytes, says: str
) -> None:
    _serve(await small_brain.join("supervisor"), _seven)
    done = await small_brain.run("prompt", *arguments, stdin=stdin)
    assert done.code == 1
    assert says in done.err
    assert done.err.count("\n") == 1


async def test_a_picture_too_large_to_send_is_named_with_the_limit(small_brain: SmallBrain, tmp_path: Path) -> None:
    picture = tmp_path / "huge.png"
    with picture.open("wb") as file:
        file.truncate(MAX_PROMPT_BYTES + 1)
    done = await small_brain.run("prompt", "x", "--image", str(picture))
    assert done.code == 1
    assert str(MAX_PROMPT_BYTES) in done.err


async def test_a_broker_that_goes_is_asked_again_with_the_same_id(small_brain: SmallBrain) -> None:
    reached = asyncio.Event()

    async def never(prompt: Prompt) -> Answer:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    first = await small_brain.join("supervisor", "first")
    asked_first = _serve(first, never)
    command = await small_brain.start("prompt", "still there?", "--timeout", "60", "--json")
    async with asyncio.timeout(PATIENCE_S):
        await reached.wait()
    await first.close()
    asked_second = _serve(await small_brain.join("supervisor", "second"), _seven)
    done = await command.ended()
    assert done.code == 0, done.err
    assert done.rows[0]["text"] == "seven"
    assert {prompt.prompt_id for prompt in asked_first + asked_second} == {done.rows[0]["prompt_id"]}
    assert "asking again" in done.err


async def _watched(small_brain: SmallBrain) -> None:
    """A broker that lets prefrontal and a region speak before it answers."""
    pfc, eye = await small_brain.join("router", "pfc"), await small_brain.join("region", "eye")

    def say(prompt_id: str, partial: Partial) -> None:
        partial.prompt_id, partial.region = prompt_id, "eye"
        metadata = {"partial": partial.model_dump(), "prompt_id": prompt_id}
        eye.publish("brain/result/eye", SpikePacket(np.zeros((1, 1), bool), metadata=metadata))

    async def speak(prompt: Prompt) -> Answer:
        assert await pfc.wait_matching("pfc/pfc/decisions", PATIENCE_S)
        assert await eye.wait_matching("brain/result/eye", PATIENCE_S)
        answer = await _seven(prompt)
        assert answer.decision is not None
        pfc.publish("pfc/pfc/decisions", Decision(prompt_id="of somebody else", chosen=["nobody"]))
        pfc.publish("pfc/pfc/decisions", answer.decision)
        for chunk in ("se", "ven"):
            say(prompt.prompt_id, Partial(final=False, content={"chunk": chunk}))
        say("of somebody else", Partial(candidates=[Candidate(text="wrong", probability=1.0)]))
        say(prompt.prompt_id, Partial(candidates=[Candidate(text="seven", probability=0.9)], confidence=0.9))
        await asyncio.gather(pfc.flush(), eye.flush())
        return answer

    _serve(await small_brain.join("supervisor"), speak)


async def test_watching_shows_decision_partials_and_answer(small_brain: SmallBrain) -> None:
    await _watched(small_brain)
    done = await small_brain.run("prompt", "which digit?", "--watch", "--json")
    assert done.code == 0, done.err
    kinds = [row["type"] for row in done.rows]
    assert sorted(kinds) == ["answer", "decision", "partial", "partial", "partial"]
    assert kinds[-1] == "answer"
    partials = [row for row in done.rows if row["type"] == "partial"]
    assert [p["content"].get("chunk") for p in partials] == ["se", "ven", None]
    assert [p["final"] for p in partials] == [False, False, True]
    assert next(row for row in done.rows if row["type"] == "decision")["chosen"] == ["eye"]


async def test_watching_joins_streamed_text_on_one_line(small_brain: SmallBrain) -> None:
    await _watched(small_brain)
    done = await small_brain.run("prompt", "which digit?", "--watch")
    # The decision has a topic of its own, so it may arrive, and its line stand, between two parts of the text.
    assert re.search(r"^eye: se(\nasked .*\neye: )?ven$", done.out, re.MULTILINE)
    assert "asked eye (eye 0.90, ear 0.10; entropy 0.30" in done.out
    assert "eye: 'seven' 0.90, confidence 0.90" in done.out
    assert done.out.splitlines()[-2] == "seven"
    assert "wrong" not in done.out


async def test_explaining_shows_text_bid_probability_and_choice_of_each_region(small_brain: SmallBrain) -> None:
    async def decided(prompt: Prompt) -> Answer:
        decision = Decision(
            prompt_id=prompt.prompt_id,
            route_probs={"eye": 0.9, "ear": 0.1},
            text_scores={"eye": -1.25},
            bids={"eye": 0.75},
            bid_reasons={"eye": "a picture came"},
            chosen=["eye"],
        )
        return Answer(prompt_id=prompt.prompt_id, text="seven", contributing=["eye"], decision=decision)

    _serve(await small_brain.join("supervisor"), decided)
    done = await small_brain.run("prompt", "which digit?", "--explain")
    assert done.code == 0
    (row,) = [line for line in done.out.splitlines() if line.startswith("eye ")]
    for value in ("-1.25", "0.75", "0.900", "yes", "a picture came"):
        assert value in row


async def test_explaining_several_requests_shows_each(small_brain: SmallBrain) -> None:
    async def in_parts(prompt: Prompt) -> Answer:
        decision = Decision(prompt_id=prompt.prompt_id, parts=["which digit?", "what noise?"])
        parts = [
            {
                "prompt": text,
                "decision": Decision(prompt_id=text, route_probs={region: 1.0}, chosen=[region]).model_dump(),
            }
            for text, region in (("which digit?", "eye"), ("what noise?", "ear"))
        ]
        return Answer(prompt_id=prompt.prompt_id, text="seven\nnone", content={"parts": parts}, decision=decision)

    _serve(await small_brain.join("supervisor"), in_parts)
    done = await small_brain.run("prompt", "both", "--explain")
    lines = done.out.splitlines()
    first, second = lines.index("which digit?:"), lines.index("what noise?:")
    assert any(line.startswith("eye ") for line in lines[first:second])
    assert any(line.startswith("ear ") for line in lines[second:])


async def test_the_session_is_that_of_the_terminal_unless_it_is_named(small_brain: SmallBrain) -> None:
    asked = _serve(await small_brain.join("supervisor"), _seven)
    for arguments in ((), ("--session", "mine"), ("--no-remember",)):
        await small_brain.run("prompt", "which digit?", *arguments)
    # the tests have no terminal
    assert [(prompt.session_id, prompt.remember) for prompt in asked] == [("", True), ("mine", True), ("", False)]


def test_each_terminal_has_a_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import sys; from brainnet.cli.terminal import terminal_session; print(terminal_session())"
    monkeypatch.delenv("BRAINNET_SESSION", raising=False)
    said = [_in_terminal([sys.executable, "-c", f"{script}; print(terminal_session())"]) for _ in range(2)]
    for first, second in said:
        assert first == second
        assert re.fullmatch(r"terminal-[0-9a-f-]{36}", first)
    assert said[0] != said[1]
    monkeypatch.setenv("BRAINNET_SESSION", "kitchen")
    assert _in_terminal([sys.executable, "-c", script]) == ["kitchen"]


def _in_terminal(command: list[str]) -> list[str]:
    """Run a command in a terminal of its own; returns the lines that it prints."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    printed = b""
    with contextlib.suppress(OSError):  # at its end, a terminal raises
        while piece := os.read(ours, 1024):
            printed += piece
    os.close(ours)
    assert process.wait() == 0
    return printed.decode().split()

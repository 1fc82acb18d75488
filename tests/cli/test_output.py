"""What becomes of the texts of others, and that verbs print in one place only."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.bus import Bus
from brainnet.cli.app import VERBS
from brainnet.errors import RegionError
from brainnet.testing import PATIENCE_S
from brainnet.texts import escape_json, printable
from brainnet.wire.messages import (
    Answer,
    Health,
    LogRecord,
    ParamInfo,
    ParamsQuery,
    ParamsReply,
    Prompt,
    StatusQuery,
    TopicCount,
)
from brainnet.wire.packet import SpikePacket
from tests.cli.redirected import shell
from tests.small_brain import SmallBrain

ROOT = Path(__file__).resolve().parent.parent.parent
CLI = ROOT / "brainnet" / "cli"
EVIL = "bad [/INST] [bold red]x[/] \x1b[2J\x1b]0;title\x07 \u202egnp.exe\u2066 \r\n\x00 \x9b31m \u200b end"
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


@given(st.text(max_size=200))
def test_a_printable_text_acts_on_no_terminal(text: str) -> None:
    assert HARMFUL.search(printable(text)) is None
    assert not {"\n", "\t"} & set(printable(text))
    assert HARMFUL.search(printable(text, lines=True)) is None
    printable(text).encode()


@given(st.text(max_size=200), st.booleans())
def test_escaped_json_has_the_same_meaning(text: str, only_ascii: bool) -> None:
    row = json.dumps({text: text}, ensure_ascii=False)
    escaped = escape_json(row, only_ascii=only_ascii)
    assert json.loads(escaped) == {text: text}
    assert HARMFUL.search(escaped) is None
    assert escaped.isascii() or not only_ascii


async def _evil_node(small_brain: SmallBrain) -> Bus:
    """A node whose every text is made to act on a terminal."""
    bus = await small_brain.join("region", "evil")

    async def status(request: StatusQuery, key: str) -> Health:
        return Health(
            node_id="evil",
            host=EVIL,
            pid=1,
            state="degraded",
            role=EVIL,
            program=EVIL,
            about=EVIL,
            last_error=EVIL,
            uptime_s=-5.0,
            counters={EVIL: 1},
            topics=[
                *bus.counters.snapshot(),
                *(TopicCount(key=key, direction="in") for key in ("a//b", "**/**/[x]", "/", "", "a?", "spikes/x/**")),
                TopicCount(key=EVIL.replace("/", ""), direction="out", rate_hz=1e300),
            ],
        )

    async def params(request: ParamsQuery, key: str) -> ParamsReply:
        return ParamsReply(params=[ParamInfo(name=EVIL, value=EVIL, type=EVIL, default=[EVIL], description=EVIL)])

    bus.serve("node/evil/status", status)
    bus.serve("node/evil/params", params)
    return bus


@pytest.mark.parametrize(
    "words",
    [
        ["node", "list"],
        ["node", "info", "evil"],
        ["node", "param", "list", "evil"],
        ["topic", "list"],
        ["topic", "info", "a"],
    ],
)
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["people", "json"])
async def test_texts_of_a_node_are_shown_as_they_are(
    small_brain: SmallBrain, words: list[str], options: list[str]
) -> None:
    await _evil_node(small_brain)
    done = await small_brain.run(*words, *options)
    assert (done.code, HARMFUL.search(done.out), HARMFUL.search(done.err)) == (0, None, None), done.err
    if words[0] == "node":
        assert "[/INST]" in done.out
        assert "[bold red]x[/]" in done.out
        assert r"\u202e" in done.out
    if options:
        assert EVIL in str(done.rows) or words[0] == "topic" or _holds(done.rows, EVIL)


def _holds(value: Any, text: str) -> bool:
    if isinstance(value, dict):
        return any(_holds(item, text) for item in [*value, *value.values()])
    return any(_holds(item, text) for item in value) if isinstance(value, list) else value == text


async def test_a_negative_uptime_is_said_to_come_from_clocks(small_brain: SmallBrain) -> None:
    await _evil_node(small_brain)
    done = await small_brain.run("node", "info", "evil")
    assert "up unknown (the clocks differ)" in done.out


def _serve(bus: Bus, answering: Callable[[Prompt], Answer]) -> None:
    async def handle(prompt: Prompt, key: str) -> Answer:
        return answering(prompt)

    bus.serve("api/prompt", handle)


async def test_an_answer_is_text_and_keeps_its_lines(small_brain: SmallBrain) -> None:
    text = f"first [/INST]\nsecond {EVIL}"
    _serve(
        await small_brain.join("supervisor"),
        lambda prompt: Answer(prompt_id=prompt.prompt_id, text=text, contributing=[EVIL]),
    )
    done = await small_brain.run("prompt", "hello")
    assert done.code == 0
    assert HARMFUL.search(done.out) is None
    assert done.out.splitlines()[0] == "first [/INST]"
    assert done.out.splitlines()[-1].startswith("bad [/INST] [bold red]x[/] \\x1b[2J")
    (row,) = (await small_brain.run("prompt", "hello", "--json")).rows
    assert (row["text"], row["contributing"]) == (text, [EVIL])


@pytest.mark.parametrize("kind", ["an answer", "a refusal"])
async def test_an_error_of_others_is_one_line(small_brain: SmallBrain, kind: str) -> None:
    def fail(prompt: Prompt) -> Answer:
        if kind == "a refusal":
            raise RegionError(EVIL)
        return Answer(prompt_id=prompt.prompt_id, stopped_by="error", error=EVIL)

    _serve(await small_brain.join("supervisor"), fail)
    done = await small_brain.run("prompt", "hello")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "[/INST]" in done.err
    assert HARMFUL.search(done.err) is None


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
async def test_an_answer_arrives_on_a_terminal_that_lacks_its_characters(
    small_brain: SmallBrain, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    text = "größe \U0001f600 数"
    _serve(await small_brain.join("supervisor"), lambda prompt: Answer(prompt_id=prompt.prompt_id, text=text))
    done = await small_brain.start("prompt", "hello")
    out, err = await done.process.communicate()
    assert done.process.returncode == 0, err
    assert out.decode(encoding).splitlines()[0] == text.encode(encoding, "backslashreplace").decode(encoding)
    (row,) = (await small_brain.run("prompt", "hello", "--json")).rows
    assert row["text"] == text


async def test_a_ready_answer_is_not_lost_with_standard_error(small_brain: SmallBrain) -> None:
    def answer(prompt: Prompt) -> Answer:
        return Answer(prompt_id=prompt.prompt_id, text="seven", error="half of it", stopped_by="error")

    _serve(await small_brain.join("supervisor"), answer)
    options = ["--namespace", "test", "--port", str(small_brain.port), "--json"]
    for redirection in ("2>&-", "2>/dev/full"):
        done = await asyncio.to_thread(shell, redirection, "prompt", "hello", *options)
        assert (done.returncode, json.loads(done.stdout)["text"]) == (1, "seven")


async def test_an_answer_that_cannot_be_written_is_a_failure(small_brain: SmallBrain) -> None:
    _serve(await small_brain.join("supervisor"), lambda prompt: Answer(prompt_id=prompt.prompt_id, text="seven"))
    options = ["--namespace", "test", "--port", str(small_brain.port)]
    for redirection in (">&-", ">/dev/full"):
        done = await asyncio.to_thread(shell, redirection, "prompt", "hello", *options)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "standard output cannot be written" in done.stderr


@pytest.mark.parametrize(
    "verb", [["echo"], ["echo", "--json"], ["echo", "--raster"], ["hz"], ["bw", "--json"]], ids=" ".join
)
async def test_an_endless_verb_ends_when_its_reader_has_left(small_brain: SmallBrain, verb: list[str]) -> None:
    stranger = await small_brain.join("client")
    options = ["--namespace", "test", "--port", str(small_brain.port)]
    command = [sys.executable, "-m", "brainnet", "topic", verb[0], "spikes/**", *verb[1:], *options]
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(*command, stdout=writing, stderr=asyncio.subprocess.PIPE)
    os.close(writing)
    os.close(reading)
    publisher = stranger.publish_raw("test/spikes/eye/ear", b"", "")
    assert await stranger.wait_publisher(publisher, PATIENCE_S)
    publisher.put(SpikePacket(np.eye(8, dtype=bool), source="eye", seq=1).encode(), None)
    async with asyncio.timeout(PATIENCE_S):
        _, err = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in err


async def test_messages_are_text(small_brain: SmallBrain) -> None:
    stranger = await small_brain.join("client")
    for options in ([], ["--json"]):
        echo = await small_brain.start("topic", "echo", "**", "-n", "3", *options)
        packet = stranger.publish_raw("test/spikes/eye/ear", b"", "")
        assert await stranger.wait_publisher(packet, PATIENCE_S)
        spikes = SpikePacket(np.eye(4, dtype=bool), source=EVIL, seq=1, modality=EVIL, metadata={EVIL: [EVIL]})
        packet.put(spikes.encode(), None)
        packet.put(EVIL.encode(), None)
        foreign = stranger.publish_raw("test/other", b"", "text/plain")
        assert await stranger.wait_publisher(foreign, PATIENCE_S)
        foreign.put(f"a\u202eb\x9b {EVIL}".encode(), None)
        done = await echo.ended()
        assert (done.code, HARMFUL.search(done.out), HARMFUL.search(done.err)) == (0, None, None)
        if not options:
            assert len(done.out.splitlines()) == 6


async def test_log_lines_are_text(small_brain: SmallBrain, isolated: Path) -> None:
    node = await small_brain.join("region", "evil")
    following = await small_brain.start("logs", "-f", "--hub", f"tcp/127.0.0.1:{small_brain.port}")
    assert await node.wait_matching("log/evil", PATIENCE_S)
    record = LogRecord(
        node_id="evil",
        level="error",
        event=EVIL,
        timestamp_ns=2**64 - 1,
        fields={EVIL: EVIL, "exception": f"a\n{EVIL}"},
    )
    node.publish("log/evil", record)
    assert following.process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        first = (await following.process.stdout.readline()).decode()
        await following.process.stdout.readline()
        await following.process.stdout.readline()
    assert "[/INST]" in first
    assert HARMFUL.search(first) is None
    following.process.send_signal(2)
    assert (await following.ended()).code == 130


def test_past_logs_are_text_and_keep_their_order(isolated: Path) -> None:
    """Also after the clock was set back, with times that no calendar has, and with lines that are no records."""
    folder = isolated / "brainnet" / "evospikenet-7447" / "logs"
    folder.mkdir(parents=True)
    rows = [
        json.dumps({"time_ns": 10**18, "event": "first"}),
        json.dumps({"time_ns": 10**18 - 3600 * 10**9, "event": "second"}),
        json.dumps({"time_ns": 10**40, "event": "third"}),
        '{"time_ns": 1e400, "event": "no time"}',
        "[" * 100_000,
        json.dumps({"time_ns": -(10**30), "event": EVIL, "[/INST]": EVIL}),
        f"text {EVIL!r} \u202e\x1b[2J",
    ]
    (folder / "evil.log").write_text("\n".join(rows) + "\n")
    done = shell("", "logs", "--lines", "0", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert HARMFUL.search(done.stdout) is None
    positions = [done.stdout.index(word) for word in ("first", "second", "third", "no time", "[/INST]")]
    assert positions == sorted(positions)
    as_json = shell("", "logs", "--lines", "0", "--json")
    assert HARMFUL.search(as_json.stdout) is None
    assert len([json.loads(line) for line in as_json.stdout.splitlines()]) == len(rows)


@pytest.mark.parametrize("id", ["../x", "/etc/*", "*", "[", "", "a\x1bb"])
def test_an_id_that_names_no_log_is_one_error(isolated: Path, id: str) -> None:
    (isolated / "brainnet" / "evospikenet-7447" / "logs").mkdir(parents=True)
    done = shell("", "logs", id)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no logs" in done.stderr
    assert HARMFUL.search(done.stderr) is None


async def test_standard_input_of_any_bytes_is_a_prompt_or_one_error(small_brain: SmallBrain) -> None:
    _serve(await small_brain.join("supervisor"), lambda prompt: Answer(prompt_id=prompt.prompt_id, text=prompt.text))
    assert (await small_brain.run("prompt", "-", stdin="\ufeffhallo".encode())).out.splitlines()[0] == "hallo"
    done = await small_brain.run("prompt", "-", stdin=b"\xff\xfe")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "not UTF-8" in done.err
    options = ["--namespace", "test", "--port", str(small_brain.port)]
    closed = await asyncio.to_thread(shell, "<&-", "prompt", "-", *options)
    assert (closed.returncode, closed.stderr.count("\n")) == (1, 1)


# -- there is one way out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", sorted(set(CLI.rglob("*.py")) - {CLI / "output.py"}), ids=lambda path: str(path.relative_to(CLI))
)
def test_verbs_print_through_the_output_module_only(file: Path) -> None:
    """No verb writes to a stream by itself, and none makes a console or markup."""
    tree = ast.parse(file.read_text())
    found = [ast.unparse(node) for node in ast.walk(tree) if _prints(node)]
    assert found == []


def _prints(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").startswith("rich") and not all(
            alias.name == "RenderableType" for alias in node.names
        )
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] == "rich" for alias in node.names)
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        return called in ("print", "typer.echo", "typer.secho", "click.echo") or called.startswith(
            ("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer", "sys.stderr.buffer")
        )
    return False


def test_every_verb_is_a_module_of_the_command_line() -> None:
    for verb in VERBS.values():
        assert verb.module.startswith("brainnet.cli.")

"""The broker: every prompt that reaches it gets exactly one Answer, whatever happens to the rest."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from brainnet import Answer, Prompt
from brainnet.broker import Broker, Limits, Unavailable
from brainnet.bus import Bus, Mailbox, Received
from brainnet.errors import CallError
from brainnet.testing import PATIENCE_S, MemoryBrain, until, wait_until
from brainnet.wire.messages import Accepted, Exchange, Forgotten, Redacted, Resumed, ResumeQuery


class Harness(MemoryBrain):
    """A broker; the test plays the clients, the router and the integrator."""

    client: Bus
    brain: Bus
    answers: Mailbox[Received]
    handed_out: Mailbox[Received]

    async def __aenter__(self) -> Harness:
        await super().__aenter__()
        self.client, self.brain = self.bus(), self.bus("integrator", "fuser")
        self.answers = self.client.subscribe("api/result")
        self.handed_out = self.brain.subscribe("brain/accepted")
        return self

    def ask(self, text: str = "where?", **fields: Any) -> Prompt:
        prompt = Prompt(text=text, **fields)
        self.client.publish("api/prompt", prompt)
        return prompt

    def conclude(self, prompt: Prompt, text: str = "there") -> None:
        self.brain.publish("brain/conclusion/fuser", Answer(prompt_id=prompt.prompt_id, text=text))

    async def given(self) -> Prompt:
        """Return the next prompt that the broker hands out."""
        async with asyncio.timeout(PATIENCE_S):
            accepted: Accepted = (await self.handed_out.get()).message
        assert 0 < accepted.left_ms <= accepted.prompt.deadline_ms
        return accepted.prompt

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE_S):
            answer: Answer = (await self.answers.get()).message
        return answer


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[Harness]:
    async with Harness(tmp_path) as brain:
        yield brain


async def test_a_prompt_is_written_down_before_it_is_handed_out(brain: Harness, tmp_path: Path) -> None:
    prompt = brain.ask(image=b"1")
    given = await brain.given()
    assert (given.prompt_id, given.image) == (prompt.prompt_id, b"1")
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        assert db.execute("SELECT prompt_id, answer IS NULL FROM prompt").fetchall() == [(prompt.prompt_id, 1)]
    brain.conclude(prompt)
    answer = await brain.answer()
    assert (answer.prompt_id, answer.text) == (prompt.prompt_id, "there")
    assert answer.latency_ms == answer.latency["total"] > 0
    assert {"journal", "queue", "brain"} <= answer.latency.keys()
    assert brain.broker.open_prompts == 0


async def test_only_the_first_conclusion_counts(brain: Harness) -> None:
    prompt = brain.ask()
    await brain.given()
    brain.conclude(prompt, "first")
    brain.conclude(prompt, "second")
    assert (await brain.answer()).text == "first"
    other = brain.ask()
    await brain.given()
    brain.conclude(other, "other")
    assert (await brain.answer()).text == "other"


async def test_a_conclusion_for_a_prompt_that_nobody_asked_is_ignored(brain: Harness) -> None:
    brain.conclude(Prompt(text="x"))
    prompt = brain.ask()
    await brain.given()
    brain.conclude(prompt)
    assert (await brain.answer()).prompt_id == prompt.prompt_id


async def test_a_query_gets_the_answer_as_its_reply_and_on_the_topic(brain: Harness) -> None:
    prompt = Prompt(text="which digit?")
    asked = asyncio.create_task(brain.bus().call("api/prompt", prompt, timeout=PATIENCE_S))
    assert (await brain.given()).prompt_id == prompt.prompt_id
    brain.conclude(prompt, "7")
    assert await asked == await brain.answer()
    assert brain.answers.statistics().waiting == 0


async def test_asking_again_with_the_same_id_gets_the_same_answer(brain: Harness) -> None:
    prompt = brain.ask()
    await brain.given()
    first_reply = asyncio.create_task(brain.bus().call("api/prompt", prompt, timeout=PATIENCE_S))
    await until("the query to arrive", lambda: _waits(brain, prompt))
    brain.conclude(prompt)
    first = await brain.answer()
    assert await first_reply == first
    assert await brain.bus().call("api/prompt", prompt, timeout=PATIENCE_S) == first
    await brain.stop_broker()
    await brain.start_broker()
    assert await brain.bus().call("api/prompt", prompt, timeout=PATIENCE_S) == first
    assert brain.handed_out.get_nowait() is None


def _waits(brain: Harness, prompt: Prompt) -> bool:
    entry = brain.broker._open.get(prompt.prompt_id)
    return entry is not None and bool(entry.replies)


async def test_foreign_text_and_json_are_answered_in_json(brain: Harness) -> None:
    raw = brain.client.subscribe_raw("test/api/result")
    outlet = brain.client.publish_raw("test/api/prompt", b"which digit?", "text/plain")
    prompt = await brain.given()
    assert prompt.named
    brain.conclude(prompt, "7")
    sample = await raw.get()
    assert sample.encoding == "application/json"
    assert Answer.model_validate_json(sample.payload).text == "7"
    outlet.put(b"   ", None, "text/plain")
    refusal = Answer.model_validate_json((await raw.get()).payload)
    assert "the prompt is empty" in (refusal.error or "")


@pytest.mark.parametrize(
    ("payload", "encoding"),
    [
        (b"\xc1\xff", "application/msgpack"),
        (bytes(50 << 20), "text/plain"),
        (b"[" * 1100, "application/json"),
        (b'{"text":' * 100_000, "application/json"),
        (b"\x91" * 100_000, "application/msgpack"),
        (b"\xff\xfe\x00", "text/plain"),
        (b'{"text": "\\ud800"}', "application/json"),
        (b'{"text": "a", "deadline_ms": 1e400}', "application/json"),
    ],
    ids=["msgpack", "size", "lists", "maps", "deep", "utf8", "surrogate", "number"],
)
async def test_malformed_prompts_get_one_error_answer_and_hurt_no_other(
    brain: Harness, payload: bytes, encoding: str
) -> None:
    stranger = brain.bus()
    stranger.publish_raw("test/api/prompt", payload, encoding)
    refused = await brain.answer()
    assert refused.code == "bad_message"
    assert refused.error
    assert len(refused.error) < 3000
    prompt = brain.ask()
    await brain.given()
    brain.conclude(prompt)
    assert (await brain.answer()).prompt_id == prompt.prompt_id


@pytest.mark.parametrize(
    ("payload", "encoding"),
    [
        (b'{"prompt_id": "mine", "text": ""}', "application/json"),
        (b"\x82\xa9prompt_id\xa4mine\xa4text\x07", "application/msgpack"),
        (b'{"prompt_id": "mine", "text": "a", "deadline_ms": -5}', ""),
    ],
)
async def test_a_malformed_prompt_that_names_its_id_is_answered_under_it(
    brain: Harness, payload: bytes, encoding: str
) -> None:
    brain.bus().publish_raw("test/api/prompt", payload, encoding)
    assert (await brain.answer()).prompt_id == "mine"


async def test_a_malformed_query_is_refused(brain: Harness) -> None:
    empty = Prompt(text="x").model_copy(update={"text": ""})
    with pytest.raises(CallError, match="the prompt is empty"):
        await brain.client.call("api/prompt", empty)


async def test_what_has_no_answer_is_handed_out_again_when_a_node_returns(brain: Harness) -> None:
    first, second = brain.ask(), brain.ask()
    assert {(await brain.given()).prompt_id for _ in range(2)} == {first.prompt_id, second.prompt_id}
    brain.conclude(first)
    await brain.answer()
    assert await brain.brain.call("brain/resume", ResumeQuery()) == Resumed(prompts=1)
    assert (await brain.given()).prompt_id == second.prompt_id
    assert brain.handed_out.get_nowait() is None


async def test_a_prompt_that_nobody_answers_gets_an_error_at_its_deadline(brain: Harness) -> None:
    late = brain.ask(deadline_ms=50)
    await brain.given()
    answer = await brain.answer()
    assert (answer.prompt_id, answer.code) == (late.prompt_id, "deadline")
    brain.conclude(late, "too late")
    following = brain.ask("next")
    await brain.given()
    brain.conclude(following)
    assert (await brain.answer()).prompt_id == following.prompt_id


async def test_a_brain_that_was_ended_answers_when_it_is_back(tmp_path: Path) -> None:
    async with Harness(tmp_path) as first:
        open_prompt, expired = first.ask(deadline_ms=60_000), first.ask(deadline_ms=60_000)
        await first.given()
        await first.given()
        assert first._brokering is not None
        await until("both to be written", lambda: _rows(tmp_path) == 2)
        first._brokering.cancel()
        first.broker._open.clear()  # as a kill: nothing is answered at its end
        await first.stop_broker()
        with sqlite3.connect(tmp_path / "journal.sqlite") as db:
            db.execute("UPDATE prompt SET accepted_s = -1e9 WHERE prompt_id = ?", (expired.prompt_id,))
        await first.start_broker()
        again = await first.given()
        assert again.prompt_id == open_prompt.prompt_id
        answer = await first.answer()
        assert (answer.prompt_id, answer.code) == (expired.prompt_id, "deadline")
        first.conclude(open_prompt)
        assert (await first.answer()).prompt_id == open_prompt.prompt_id


def _rows(folder: Path) -> int:
    with sqlite3.connect(folder / "journal.sqlite") as db:
        return int(db.execute("SELECT count(*) FROM prompt").fetchone()[0])


async def test_a_broker_that_stops_answers_what_is_open(brain: Harness) -> None:
    prompt = brain.ask()
    await brain.given()
    await brain.stop_broker()
    answer = await brain.answer()
    assert (answer.prompt_id, answer.code) == (prompt.prompt_id, "stopping")


async def test_prompts_are_answered_while_the_journal_is_locked(brain: Harness, tmp_path: Path) -> None:
    first = brain.ask()
    await brain.given()
    other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    second = brain.ask()
    assert (await brain.given()).prompt_id == second.prompt_id
    for prompt in (first, second):
        brain.conclude(prompt)
        assert (await brain.answer()).prompt_id == prompt.prompt_id
    assert "locked" in (brain.broker.problem or "")
    other.execute("ROLLBACK")
    await until("the journal to be written again", lambda: brain.broker.problem is None)
    await until("what was answered meanwhile to be in it", lambda: _answered(tmp_path) == 2)


def _answered(folder: Path) -> int:
    with sqlite3.connect(folder / "journal.sqlite") as db:
        return int(db.execute("SELECT count(*) FROM prompt WHERE answer IS NOT NULL").fetchone()[0])


async def test_a_journal_that_cannot_be_opened_does_not_keep_the_brain_from_answering(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").mkdir()
    async with Harness(tmp_path) as brain:
        prompt = brain.ask()
        await brain.given()
        brain.conclude(prompt)
        assert (await brain.answer()).text == "there"
        assert brain.broker.problem is not None


async def test_what_is_refused_is_refused_at_once_with_a_hint(tmp_path: Path) -> None:
    async with Harness(tmp_path, limits=Limits(max_open=2)) as brain:
        for _ in range(2):
            brain.ask()
            await brain.given()
        refused = brain.ask("one too many")
        answer = await brain.answer()
        assert (answer.prompt_id, answer.code) == (refused.prompt_id, "busy")
        assert "2 prompts are open" in (answer.error or "")
        assert answer.retry_after_ms
        urgent = brain.ask("urgent", priority=9)
        assert (await brain.given()).prompt_id == urgent.prompt_id
        background = brain.ask("background", priority=0)
        assert (await brain.answer()).prompt_id == background.prompt_id


async def test_a_prompt_that_comes_again_is_not_refused_when_the_brain_is_full(tmp_path: Path) -> None:
    async with Harness(tmp_path, limits=Limits(max_open=1)) as brain:
        first = brain.ask("first")
        await brain.given()
        brain.client.publish("api/prompt", first)
        other = brain.ask("other")
        answer = await brain.answer()
        assert (answer.prompt_id, answer.code) == (other.prompt_id, "busy")
        brain.conclude(first)
        answer = await brain.answer()
        assert (answer.prompt_id, answer.error) == (first.prompt_id, None)


def put_off_the_event_loop(brain: Harness, *prompts: Prompt) -> None:
    """Send prompts while the event loop, on which the broker runs, does nothing."""
    for prompt in prompts:
        sending = threading.Thread(target=brain.client.publish, args=("api/prompt", prompt))
        sending.start()
        sending.join()


async def test_a_refusal_does_not_wait_for_the_event_loop(tmp_path: Path) -> None:
    async with Harness(tmp_path, limits=Limits(max_open=1)) as brain:
        first = brain.ask("first")
        await brain.given()
        refused = [Prompt(text=f"too many {number}") for number in range(50)]
        put_off_the_event_loop(brain, *refused)
        wait_until("all to be refused", lambda: brain.answers.waiting == len(refused))
        assert [(await brain.answer()).code for _ in refused] == ["busy"] * len(refused)
        assert brain.broker.counts_since_start()["refused"] == len(refused)
        brain.conclude(first)
        assert (await brain.answer()).prompt_id == first.prompt_id


async def test_what_the_brain_is_too_slow_for_is_refused_without_the_event_loop(tmp_path: Path) -> None:
    async with Harness(tmp_path, limits=Limits(max_asked=32)) as brain:
        asked = [brain.ask(f"number {number}") for number in range(32)]
        for _ in asked:
            await brain.given()
        waiting = [brain.ask(f"waiting {number}") for number in range(8)]
        await until("they to wait", lambda: brain.broker.counts["accepted"] == len(asked) + len(waiting))
        for prompt in asked[:6]:
            brain.conclude(prompt)
            await brain.answer()
            await brain.given()
        brain.ask("one more, at which the rate is measured")
        await until("it to wait, too", lambda: brain.broker.open_prompts == 35)
        hasty = Prompt(text="at once", deadline_ms=1)
        put_off_the_event_loop(brain, hasty)
        wait_until("it to be refused", lambda: brain.answers.waiting == 1)
        answer = await brain.answer()
        assert (answer.prompt_id, answer.code) == (hasty.prompt_id, "busy")
        # One may just have been answered when it is counted.
        assert re.search(r"3[45] prompts are before this one", answer.error or "")


async def test_prompts_that_wait_for_the_event_loop_count_as_open(tmp_path: Path) -> None:
    async with Harness(tmp_path, limits=Limits(max_open=3)) as brain:
        prompts = [Prompt(text=f"number {number}") for number in range(5)]
        put_off_the_event_loop(brain, *prompts)
        wait_until("two to be refused", lambda: brain.answers.waiting == 2)
        assert [(await brain.answer()).prompt_id for _ in range(2)] == [prompt.prompt_id for prompt in prompts[3:]]
        assert [(await brain.given()).prompt_id for _ in range(3)] == [prompt.prompt_id for prompt in prompts[:3]]


async def test_a_prompt_that_comes_again_before_it_is_decided_is_not_refused(tmp_path: Path) -> None:
    async with Harness(tmp_path, limits=Limits(max_open=1)) as brain:
        first, other = Prompt(text="first"), Prompt(text="other")
        put_off_the_event_loop(brain, first, first, other)
        wait_until("the other to be refused", lambda: brain.answers.waiting == 1)
        answer = await brain.answer()
        assert (answer.prompt_id, answer.code) == (other.prompt_id, "busy")
        assert (await brain.given()).prompt_id == first.prompt_id
        brain.conclude(first)
        answer = await brain.answer()
        assert (answer.prompt_id, answer.error) == (first.prompt_id, None)
        last = brain.ask("last")
        assert (await brain.given()).prompt_id == last.prompt_id
        assert brain.answers.waiting == 0


async def test_prompts_wait_by_priority_and_expire_without_being_handed_out(tmp_path: Path) -> None:
    async with Harness(tmp_path, limits=Limits(max_asked=1)) as brain:
        first = brain.ask("first")
        await brain.given()
        late = brain.ask("late", deadline_ms=30)
        normal, urgent = brain.ask("normal"), brain.ask("urgent", priority=8)
        answer = await brain.answer()
        assert (answer.prompt_id, answer.code) == (late.prompt_id, "deadline")
        for prompt, following in ((first, urgent), (urgent, normal)):
            brain.conclude(prompt)
            assert (await brain.answer()).prompt_id == prompt.prompt_id
            assert (await brain.given()).prompt_id == following.prompt_id


async def test_a_brain_that_lacks_a_part_says_so_at_once(brain: Harness, tmp_path: Path) -> None:
    await brain.stop_broker()
    down: list[Unavailable] = []
    bus = brain.bus("supervisor", "other")
    broker = Broker(bus, tmp_path / "other.sqlite", unavailable=lambda: down[0] if down else None)
    started = asyncio.Event()
    running = asyncio.create_task(broker.run(started.set))
    try:
        await started.wait()
        held, short = brain.ask("held", deadline_ms=60_000), brain.ask("short", deadline_ms=20_000)
        for _ in range(2):
            await brain.given()
        down.append(Unavailable("the router is failed; it is tried again in 30 s", 30.0))
        answer = await brain.answer()
        assert (answer.prompt_id, answer.code, answer.error) == (short.prompt_id, "unavailable", down[0].reason)
        refused = brain.ask("refused", deadline_ms=20_000)
        answer = await brain.answer()
        assert (answer.prompt_id, answer.code, answer.retry_after_ms) == (refused.prompt_id, "unavailable", 30_000)
        down.clear()
        brain.conclude(held)
        assert (await brain.answer()).prompt_id == held.prompt_id
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_nodes_are_told_what_was_answered(brain: Harness) -> None:
    told = brain.bus("region").subscribe("brain/answered")
    prompts = [brain.ask(f"where is {number}?", session_id="s") for number in range(3)]
    for prompt in prompts:
        await brain.given()
        brain.conclude(prompt, f"at {prompt.text}")
    refused = brain.ask("now?", deadline_ms=1)
    exchanges: list[Exchange] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(exchanges) < 4:
            exchanges += (await told.get()).message.exchanges
    found = {exchange.prompt_id: exchange for exchange in exchanges}
    assert set(found) == {prompt.prompt_id for prompt in [*prompts, refused]}
    for prompt in prompts:
        exchange = found[prompt.prompt_id]
        assert (exchange.prompt, exchange.text) == (prompt.text, f"at {prompt.text}")
        assert (exchange.session_id, exchange.failed) == ("s", False)
    assert (found[refused.prompt_id].text, found[refused.prompt_id].failed) == ("", True)


async def test_of_a_forgotten_prompt_nothing_stays_and_it_is_not_answered_twice(brain: Harness, tmp_path: Path) -> None:
    memory = brain.bus("region", "memory")
    told, other, waiting = (brain.ask(text) for text in ("the code is quince", "the pear?", "the code is quince, no?"))
    for _ in range(3):
        await brain.given()
    for prompt in (told, other):
        brain.conclude(prompt, f"I know: {prompt.text}")
        await brain.answer()

    async def forget(*prompts: Prompt) -> list[str]:
        ids = [prompt.prompt_id for prompt in prompts]
        reply: Redacted = await memory.call("brain/forgotten", Forgotten(prompt_ids=ids), timeout=PATIENCE_S)
        return reply.prompt_ids

    assert await forget(told, waiting) == [told.prompt_id], "one has no answer yet"
    brain.conclude(waiting, "the code is quince")
    await brain.answer()
    assert await forget(waiting) == [waiting.prompt_id]
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert [path.name for path in files if b"quince" in path.read_bytes()] == []
    for _ in range(2):
        for prompt in (told, waiting):
            again = await brain.bus().call("api/prompt", prompt, timeout=PATIENCE_S)
            assert (again.code, again.text, again.prompt) == ("forgotten", "", "")
        assert (await brain.bus().call("api/prompt", other, timeout=PATIENCE_S)).text == "I know: the pear?"
        await brain.stop_broker()
        await brain.start_broker()
    assert brain.handed_out.get_nowait() is None
    assert [path.name for path in files if path.is_file() and b"quince" in path.read_bytes()] == []

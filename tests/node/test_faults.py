"""Whatever one message raises, at whatever stage, belongs to that message; the node goes on, or fails visibly."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from brainnet import Candidate, Partial, Prompt, Query, Region, serve, subscribe
from brainnet.errors import BrainnetError, CallError, ConfigError
from brainnet.node import WorkRecord
from brainnet.prompts import query_packet
from brainnet.testing import MemoryBrain, until
from brainnet.wire.messages import MemoryQuery, MemoryReply
from brainnet.wire.packet import SpikePacket


class Panic(BaseException):
    """As a library in Rust raises it."""


RAISED: dict[str, Callable[[], BaseException]] = {
    "exception": lambda: ZeroDivisionError("oops"),
    "panic": lambda: Panic("index out of bounds"),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "stop_iteration": StopIteration,
    "cancelled": asyncio.CancelledError,
    "recursion": lambda: RecursionError("too deep"),
}


def said(text: str) -> Partial:
    return Partial(candidates=[Candidate(text=text, probability=1.0)], confidence=1.0)


class Raises(Region):
    """Raises what the prompt names, in `answer` and in every handler."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.heard: list[str] = []

    def answer(self, query: Query) -> Partial:
        return self.react(query.prompt.text)

    def react(self, text: str) -> Partial:
        if text in RAISED:
            raise RAISED[text]()
        return said(text)

    @subscribe("spikes/*/{id}")
    async def on_spikes(self, packet: SpikePacket) -> None:
        self.react(packet.metadata["text"])
        self.heard.append(packet.metadata["text"])

    @serve("memory/episodic/query")
    async def find(self, request: MemoryQuery) -> MemoryReply:
        self.react(request.text)
        return MemoryReply()


class RaisesOnLoop(Raises):
    """The same with `answer` on the event loop."""

    async def answer(self, query: Query) -> Partial:  # type: ignore[override]
        return self.react(query.prompt.text)


class RaisesInBatch(Raises):
    """The same with a batch."""

    def answer_batch(self, queries: list[Query]) -> list[Partial]:
        return [self.react(query.prompt.text) for query in queries]


class RaisesInThreadHandler(Raises):
    """The same with a handler in the model thread."""

    @subscribe("spikes/*/{id}")
    def on_spikes(self, packet: SpikePacket) -> None:  # type: ignore[override]
        self.react(packet.metadata["text"])
        self.heard.append(packet.metadata["text"])

    @serve("memory/episodic/query")
    def find(self, request: MemoryQuery) -> MemoryReply:  # type: ignore[override]
        self.react(request.text)
        return MemoryReply()


@pytest.mark.parametrize("program", [Raises, RaisesOnLoop, RaisesInBatch])
@pytest.mark.parametrize("what", RAISED)
async def test_what_answer_raises_is_one_error_partial(tmp_path: Path, program: type[Region], what: str) -> None:
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(program, "eye")
        failed = await brain.query("eye", Prompt(text=what))
        assert (failed.code, failed.confidence) == ("internal", 0.0)
        assert failed.error
        fine = await brain.query("eye", Prompt(text="still here"))
        assert fine.best is not None
        assert fine.best.text == "still here"
        assert node.state == "ready"


@pytest.mark.parametrize("program", [Raises, RaisesInThreadHandler])
@pytest.mark.parametrize("what", RAISED)
async def test_what_a_handler_raises_hurts_no_other_message(tmp_path: Path, program: type[Raises], what: str) -> None:
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(program, "eye")
        sender = brain.bus("region", "ear")
        for text in (what, "after"):
            sender.publish("spikes/ear/eye", SpikePacket(np.zeros((1, 1), bool), metadata={"text": text}))
        await until("the message after it to be heard", lambda: node.heard == ["after"])
        assert node.health().counters["errors"] == 1
        with pytest.raises(CallError) as refused:
            await sender.call("memory/episodic/query", MemoryQuery(text=what))
        assert refused.value.code == "internal"
        assert await sender.call("memory/episodic/query", MemoryQuery(text="after")) == MemoryReply()
        assert node.state == "ready"


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"in": value}
    return value


UNWRITABLE: dict[str, Callable[[], dict[str, Any]]] = {
    "object": lambda: {"content": {"x": object()}},
    "surrogate": lambda: {"content": {"x": "\ud800"}},
    "array": lambda: {"content": {"x": np.zeros(3)}},
    "large": lambda: {"content": {"x": 2**80}},
    "deep": lambda: {"content": deep(2000)},
    "spikes": lambda: {"spikes": np.zeros((2, 2), complex)},
    "text_as_spikes": lambda: {"spikes": "spikes"},
    "flat_spikes": lambda: {"spikes": np.zeros(3, np.uint8)},
    "candidate": lambda: {"candidates": [Candidate(text="\udfff", probability=1.0)]},
}


class Unwritable(Region):
    """Answers with what the prompt names."""

    def answer(self, query: Query) -> Partial:
        made = UNWRITABLE.get(query.prompt.text)
        if made is None:
            return said("fine")
        query.emit(Partial(**made()))
        return Partial(confidence=0.5, **made())


@pytest.mark.parametrize("what", UNWRITABLE)
async def test_what_cannot_be_written_is_one_error_partial(tmp_path: Path, what: str) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Unwritable, "eye")
        prompt = Prompt(text=what)
        failed = await brain.query("eye", prompt)
        assert (failed.code, failed.final) == ("internal", True)
        assert failed.error
        assert len(failed.error) < 1000
        again = await brain.query("eye", prompt)
        assert again.model_dump() == failed.model_dump()
        assert (await brain.query("eye", Prompt(text="next"))).error is None


async def test_a_query_past_its_deadline_is_not_computed(tmp_path: Path) -> None:
    class Counts(Region):
        """Counts what it computes."""

        computed = 0

        async def answer(self, query: Query) -> Partial:
            type(self).computed += 1
            return said("computed")

    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Counts, "eye")
        listener, router = brain.bus("integrator"), brain.bus("router")
        partials = listener.subscribe("brain/result/eye")
        router.publish("brain/query/eye", query_packet(Prompt(prompt_id="late", text="x"), left_ms=0.0))
        assert (await partials.get()).message.metadata["partial"]["code"] == "deadline"
        assert Counts.computed == 0


async def test_a_handler_that_always_fails_degrades_the_node_until_it_succeeds(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(Raises, "eye")
        sender = brain.bus("region", "ear")

        def send(text: str) -> None:
            sender.publish("spikes/ear/eye", SpikePacket(np.zeros((1, 1), bool), metadata={"text": text}))

        for _ in range(5):
            send("exception")
        await until("the node to be degraded", lambda: node.state == "degraded")
        assert "on_spikes fails for every message" in (node.health().last_error or "")
        send("works")
        await until("the node to recover", lambda: node.state == "ready")


async def test_a_fault_that_repeats_is_counted_and_hardly_logged(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(Raises, "eye")
        sender = brain.bus("region", "ear")
        with structlog.testing.capture_logs() as records:
            for _ in range(100):
                sender.publish("spikes/ear/eye", SpikePacket(np.zeros((1, 1), bool), metadata={"text": "panic"}))
            await until("all to be counted", lambda: node.health().counters.get("errors") == 100)
        assert 1 <= sum(record["event"] == "failed" for record in records) <= 5


async def test_a_node_whose_own_work_ends_with_an_error_fails_visibly(tmp_path: Path) -> None:
    class Dies(Region):
        """Raises in `run`."""

        async def run(self) -> None:
            raise Panic("no more")

    states: list[tuple[str, str]] = []
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Dies, "eye", on_state=lambda state, reason: states.append((state, reason)))
        await until("it to fail", lambda: ("failed", "run ended: Panic: no more") in states)
        with pytest.raises(BrainnetError, match="run ended: Panic: no more"):
            await brain.stop("eye")


async def test_a_node_without_an_essential_task_fails_visibly(tmp_path: Path) -> None:
    class Ends(Region):
        """Has a loop that it cannot do without, and that returns."""

        async def setup(self) -> None:
            self.spawn(self.listen(), essential=True)

        async def listen(self) -> None:
            await asyncio.sleep(0)

    states: list[str] = []
    async with MemoryBrain(tmp_path) as brain:

        async def live() -> None:  # the error comes while it starts, or when it stops
            await brain.start(Ends, "eye", on_state=lambda state, reason: states.append(state))
            await until("it to fail", lambda: "failed" in states)
            await brain.stop("eye")

        with pytest.raises(BrainnetError, match="listen ended"):
            await live()
    assert "failed" in states


async def test_kept_answers_are_bounded_by_their_bytes(tmp_path: Path) -> None:
    class Large(Region):
        """Answers with a megabyte."""

        computed = 0

        def answer(self, query: Query) -> Partial:
            type(self).computed += 1
            return Partial(content={"x": b"x" * 1_000_000}, confidence=1.0)

    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Large, "eye")
        prompts = [Prompt(text=str(number)) for number in range(20)]
        for prompt in prompts:
            await brain.query("eye", prompt)
        await brain.query("eye", prompts[-1])
        assert Large.computed == 20
        await brain.query("eye", prompts[0])
        assert Large.computed == 21


# -- blame -----------------------------------------------------------------------------------------------------------


def test_a_record_survives_the_death_of_its_process(tmp_path: Path) -> None:
    path = tmp_path / "working" / "eye"
    first = WorkRecord(path)
    first.begin(["a", "b", "c" * 100])
    first.end(["b"])
    second = WorkRecord(path)
    assert [second.deaths(name) for name in ("a", "b", "c" * 100)] == [1, 0, 1]
    second.begin(["a"])
    third = WorkRecord(path)
    assert [third.deaths(name) for name in ("a", "c" * 100)] == [2, 1]
    third.end(["a"])
    third.close()
    assert WorkRecord(path).deaths("a") == 0


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\x00", b"[]", b'{"working": 3}', b'{"deaths": {"a": "x"}}', b" " * 9]
)
def test_a_damaged_record_is_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "eye"
    path.write_bytes(content)
    record = WorkRecord(path)
    assert record.deaths("a") == 0
    record.begin(["a"])
    assert WorkRecord(path).deaths("a") == 1


def test_a_record_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = WorkRecord(tmp_path / "file" / "eye")
    record.begin(["a"])
    assert record.deaths("a") == 0
    record.close()


@pytest.mark.parametrize("program", [Raises, RaisesOnLoop])
async def test_a_prompt_during_which_the_region_died_twice_is_not_computed(
    tmp_path: Path, program: type[Region]
) -> None:
    for _ in range(2):
        WorkRecord(tmp_path / "working" / "eye").begin(["poison"])
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program, "eye")
        given_up = await brain.query("eye", Prompt(prompt_id="poison", text="x"))
        assert (given_up.code, given_up.best) == ("poison", None)
        assert (await brain.query("eye", Prompt(text="x"))).error is None


async def test_suspects_are_computed_alone(tmp_path: Path) -> None:
    together: list[list[str]] = []

    class Batches(Region):
        """Notes which prompts it computes together."""

        def answer_batch(self, queries: list[Query]) -> list[Partial]:
            together.append([query.prompt.prompt_id for query in queries])
            return [said("x") for _ in queries]

    WorkRecord(tmp_path / "working" / "eye").begin(["a", "b"])
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Batches, "eye")
        await asyncio.gather(*(brain.query("eye", Prompt(prompt_id=name, text="x")) for name in "abcd"))
    assert ["a"] in together
    assert ["b"] in together


# -- what the framework owns -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["publish", "state", "id", "bus", "stop", "spawn", "count", "_accept_work"])
def test_a_class_that_overrides_what_the_framework_owns_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"Mine overrides {name}\b"):
        type("Mine", (Region,), {name: lambda self: None, "__module__": "mine", "__qualname__": "Mine"})


def test_a_method_that_assigns_what_the_framework_owns_is_refused_when_the_class_is_defined() -> None:
    with pytest.raises(ConfigError, match=r"answer \(line \d+\) assigns self.state"):

        class Mine(Region):
            def answer(self, query: Query) -> Partial:
                self.state = {"seen": 1}  # type: ignore[assignment]
                return Partial()


async def test_an_assignment_that_cannot_be_seen_in_the_class_is_refused_when_it_happens(tmp_path: Path) -> None:
    class Sly(Region):
        """Assigns by name."""

        def answer(self, query: Query) -> Partial:
            setattr(self, query.prompt.text, 1)
            return said("done")

    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Sly, "eye")
        assert "assigns self.state" in ((await brain.query("eye", Prompt(text="state"))).error or "")
        assert (await brain.query("eye", Prompt(text="mine"))).error is None


def test_what_a_subclass_may_override_is_accepted() -> None:
    class Fine(Region):
        max_batch = 2
        modality = "smell"
        default_checkpoint = None

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.mine, self.last_error = {"status": 1}, None

        def load(self) -> None:
            self.model = sys

        async def setup(self) -> None: ...
        async def run(self) -> None: ...
        async def teardown(self) -> None: ...
        def params_changed(self, name: str) -> None: ...

        async def answer(self, query: Query) -> Partial:
            return Partial()

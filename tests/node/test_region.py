"""Regions and nodes over the in-memory network: what their authors and their askers rely on."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from brainnet import (
    Candidate,
    MemoryQuery,
    MemoryReply,
    NodeParameters,
    Partial,
    Prompt,
    Query,
    Region,
    RegionError,
    SpikePacket,
    serve,
    subscribe,
)
from brainnet.errors import CallError, ConfigError, LaunchError
from brainnet.testing import MemoryBrain, until
from brainnet.wire.messages import ControlQuery, ParamsQuery, StatusQuery


def said(text: str) -> Partial:
    return Partial(candidates=[Candidate(text=text, probability=1.0)], confidence=1.0)


class Echo(Region):
    """Says what it was asked.

    And nothing more.
    """

    class Parameters(NodeParameters):
        gain: float = Field(1.0, ge=0, description="how loud")
        loud: bool = False

    params: Parameters

    def answer(self, query: Query) -> Partial:
        if query.prompt.text == "refuse":
            raise RegionError("I would rather not")
        if query.prompt.text == "crash":
            raise ZeroDivisionError("oops")
        query.emit(Partial(content={"chunk": "..."}))
        partial = said(query.prompt.text.upper() if self.params.loud else query.prompt.text)
        partial.spikes = np.eye(4, 3, dtype=np.uint8)
        return partial


class Later(Region):
    """Answers on the event loop, several at a time."""

    async def setup(self) -> None:
        self.together = asyncio.Barrier(2)

    async def answer(self, query: Query) -> Partial:
        await self.together.wait()
        return said("both were here")


class Batcher(Region):
    """Shows which queries came together."""

    def load(self) -> None:
        self.gate, self.entered = threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def answer_batch(self, queries: list[Query]) -> list[Partial]:
        self.entered.set()
        self.gate.wait(10)
        self.sizes.append(len(queries))
        return [said(f"one of {len(queries)}") for _ in queries]


class Listener(Region):
    """Listens and serves."""

    async def setup(self) -> None:
        self.heard: asyncio.Queue[tuple[str, SpikePacket]] = asyncio.Queue()

    @subscribe("spikes/*/{id}")
    async def on_spikes(self, packet: SpikePacket, key: str) -> None:
        if packet.metadata.get("poison"):
            raise ValueError("poison")
        await self.heard.put((key, packet))

    @serve("memory/episodic/query")
    def find(self, request: MemoryQuery) -> MemoryReply:
        if request.text == "nothing":
            raise RegionError("nothing here")
        return MemoryReply(hits=[])


async def test_an_answer_reaches_the_asker_with_its_spikes(tmp_path: Path) -> None:
    interim: list[Partial] = []
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Echo, "echo")
        partial = await brain.query("echo", Prompt(text="hello"), interim=interim.append)
    assert partial.best is not None
    assert partial.best.text == "hello"
    assert (partial.region, partial.final, partial.error) == ("echo", True, None)
    np.testing.assert_array_equal(partial.spikes, np.eye(4, 3, dtype=np.uint8))
    assert [p.content for p in interim] == [{"chunk": "..."}]
    assert not interim[0].final


async def test_refusals_and_crashes_become_partials_with_a_reason(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(Echo, "echo")
        refused = await brain.query("echo", Prompt(text="refuse"))
        crashed = await brain.query("echo", Prompt(text="crash"))
        fine = await brain.query("echo", Prompt(text="still here"))
        health = node.health()
    assert (refused.error, refused.confidence) == ("I would rather not", 0.0)
    assert crashed.error == "internal error in echo: ZeroDivisionError: oops"
    assert fine.error is None
    assert health.last_error == "answer: ZeroDivisionError: oops"
    assert health.counters["refusals"] == 2


class NoPartial(Region):
    """Returns what is no Partial."""

    returned: Any = None

    def answer(self, query: Query) -> Any:
        return self.returned


async def test_what_is_no_partial_becomes_one_with_an_error(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        region = await brain.start(NoPartial, "slip")
        for returned in (None, "text"):
            region.returned = returned
            partial = await brain.query("slip", Prompt(text="x"))
            assert partial.error is not None
            assert partial.code == "internal"


async def test_the_same_prompt_is_answered_once_and_said_again(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(Echo, "echo")
        prompt = Prompt(text="hello")
        first = await brain.query("echo", prompt)
        again = await brain.query("echo", prompt)
        assert again.candidates == first.candidates
        assert node.health().counters["queries"] == 1


async def test_async_answers_run_side_by_side(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Later, "later")
        both = await asyncio.gather(*(brain.query("later", Prompt(text=t), timeout=10) for t in "ab"))
    assert [p.best.text for p in both if p.best] == ["both were here"] * 2


async def test_queries_that_wait_together_are_batched(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(Batcher, "batcher")
        first = asyncio.create_task(brain.query("batcher", Prompt(text="first")))
        await until("the node to be asked", node.entered.is_set)
        others = [asyncio.create_task(brain.query("batcher", Prompt(text=str(i)))) for i in range(5)]
        await until("5 queued messages", lambda: node.bus.counters.queued == 5)
        node.gate.set()
        await asyncio.gather(first, *others)
    assert node.sizes == [1, 5]


async def test_subscriptions_survive_a_handler_that_raises(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(Listener, "ear")
        sender = brain.bus("region", "mouth")
        sender.publish("spikes/mouth/ear", SpikePacket(np.eye(2, dtype=np.uint8), metadata={"poison": True}))
        sender.publish("spikes/mouth/ear", SpikePacket(np.eye(2, dtype=np.uint8)))
        key, packet = await node.heard.get()
        assert (key, packet.source, packet.seq) == ("spikes/mouth/ear", "mouth", 2)
        assert node.health().counters["errors"] == 1


async def test_malformed_messages_are_counted_and_harm_nobody(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(Listener, "ear")
        stranger = brain.bus()
        stranger.publish_raw("test/spikes/mouth/ear", b"\xc1 garbage", "")
        brain.bus("region", "mouth").publish("spikes/mouth/ear", SpikePacket(np.eye(2, dtype=np.uint8)))
        await node.heard.get()
        counts = {t.key: t.malformed for t in node.health().topics}
        assert counts["spikes/mouth/ear"] == 1


async def test_served_queries_answer_or_refuse(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Listener, "ear")
        client = brain.bus()
        assert await client.call("memory/episodic/query", MemoryQuery(text="something")) == MemoryReply()
        with pytest.raises(CallError, match="nothing here"):
            await client.call("memory/episodic/query", MemoryQuery(text="nothing"))


async def test_parameters_are_typed_and_set_at_run_time(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Echo, "echo", parameters={"gain": 2})
        client = brain.bus()
        await client.call("node/echo/params", ParamsQuery(name="loud", value=True, set=True))
        partial = await brain.query("echo", Prompt(text="hello"))
        assert partial.best is not None
        assert partial.best.text == "HELLO"
        reply = await client.call("node/echo/params", ParamsQuery())
        assert {p.name: (p.value, p.type) for p in reply.params} == {"gain": (2.0, "float"), "loud": (True, "bool")}
        with pytest.raises(CallError, match=r"parameter gain of echo: .*greater than or equal to 0"):
            await client.call("node/echo/params", ParamsQuery(name="gain", value=-1, set=True))
        with pytest.raises(CallError, match=r"no parameter 'volume'; it has: gain, loud"):
            await client.call("node/echo/params", ParamsQuery(name="volume", value=1, set=True))


async def test_wrong_initial_parameters_keep_a_node_from_starting(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        with pytest.raises(ConfigError, match=r"parameters of echo: gain: .*valid number.*got 'much'"):
            await brain.start(Echo, "echo", parameters={"gain": "much"})


async def test_status_and_stop_over_the_bus(tmp_path: Path) -> None:
    states: list[str] = []
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Echo, "echo", on_state=lambda state, reason: states.append(state))
        client = brain.bus()
        health = await client.call("node/echo/status", StatusQuery())
        assert (health.state, health.about, health.answers) == ("ready", "Says what it was asked.", True)
        assert await client.alive() == ["alive/here/echo"]
        assert (await client.call("node/echo/control", ControlQuery(action="stop"))).done == "echo stops"
        await brain.stop("echo")
        assert await client.alive() == []
    assert states == ["ready", "stopping"]


async def test_two_nodes_of_one_id_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Echo, "echo")
        with pytest.raises(LaunchError, match=r"'echo' is already alive .*give this one another id"):
            await brain.start(Echo, "echo")

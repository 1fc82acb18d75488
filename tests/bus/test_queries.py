"""Queries and liveliness, over both transports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from brainnet.bus import Bus, MemoryNetwork, Sample
from brainnet.bus.transport import RawReply
from brainnet.errors import CallError, CallTimeout, RegionError, TopicError
from brainnet.testing import PATIENCE_S
from brainnet.wire.messages import (
    Answer,
    Health,
    MemoryQuery,
    MemoryReply,
    MemoryStore,
    MemoryStored,
    Message,
    ParamsQuery,
    ParamsReply,
    Prompt,
    StatusQuery,
)
from tests.bus.asking import NeverAnswers, served
from tests.bus.conftest import Network


def _into(queue: asyncio.Queue[RawReply]) -> Callable[[RawReply], None]:
    """Hands replies from the transport's threads to a queue of this event loop."""
    loop = asyncio.get_running_loop()

    def on_reply(reply: RawReply) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, reply)

    return on_reply


async def test_a_query_gets_the_servers_reply(network: Network) -> None:
    server, asker = await network("region", "store"), await network("client")

    async def store(request: MemoryStore, key: str) -> MemoryStored:
        assert key == "memory/episodic/store"
        return MemoryStored(episode_id=len(request.text), created_ns=5)

    server.serve("memory/episodic/store", store)
    assert await served(asker, "memory/episodic/store", MemoryStore(text="1234")) == MemoryStored(
        episode_id=4, created_ns=5
    )


@pytest.mark.parametrize(
    ("raised", "says"), [(RegionError("the disk is full"), "^the disk is full$"), (ValueError("x"), "ValueError: x")]
)
async def test_what_the_server_raises_reaches_the_asker_and_the_server_goes_on(
    network: Network, raised: Exception, says: str
) -> None:
    server, asker = await network("region", "store"), await network("client")
    calls = 0

    async def search(request: MemoryQuery, key: str) -> MemoryReply:
        nonlocal calls
        calls += 1
        if request.text == "bad":
            raise raised
        return MemoryReply()

    server.serve("memory/episodic/query", search)
    await served(asker, "memory/episodic/query", MemoryQuery(text="good"))
    with pytest.raises(CallError, match=says):
        await asker.call("memory/episodic/query", MemoryQuery(text="bad"))
    assert await asker.call("memory/episodic/query", MemoryQuery(text="good")) == MemoryReply()


async def test_nobody_there_is_a_call_timeout(network: Network) -> None:
    asker = await network("client")
    with pytest.raises(CallTimeout, match="memory/episodic/query"):
        await asker.call("memory/episodic/query", MemoryQuery(text="x"), timeout=0.2)


async def test_a_server_that_never_answers_is_a_call_timeout(network: Network) -> None:
    server, asker = await network("region"), await network("client")
    silent = NeverAnswers()
    server.serve("memory/episodic/query", silent)
    async with asyncio.timeout(PATIENCE_S):
        while not silent.asked.is_set():
            with pytest.raises(CallTimeout):
                await asker.call("memory/episodic/query", MemoryQuery(text="x"), timeout=0.2)


async def test_a_server_that_closes_refuses_what_it_has_not_answered(network: Network) -> None:
    server, asker = await network("region", "store"), await network("client")
    silent = NeverAnswers()
    server.serve("memory/episodic/query", silent)
    asking = asyncio.create_task(served(asker, "memory/episodic/query", MemoryQuery(text="x")))
    async with asyncio.timeout(PATIENCE_S):
        await silent.asked.wait()
    await server.close()
    with pytest.raises(CallError, match="store is stopping"):
        await asking


async def test_everybody_who_serves_answers_under_its_own_key(network: Network) -> None:
    asker = await network("client")
    for name in ("a", "b", "c"):
        server = await network("region", name)

        async def status(request: StatusQuery, key: str, name: str = name) -> Health:
            return Health(node_id=name, host="h", pid=1, state="ready", role="region")

        server.serve(f"node/{name}/status", status)
    async with asyncio.timeout(PATIENCE_S):
        while len(replies := await asker.call_all("node/*/status", StatusQuery(), timeout=1.0)) < 3:
            pass
    assert {reply.key: reply.message.node_id for reply in replies} == {f"node/{n}/status": n for n in "abc"}


async def test_a_prompt_in_json_or_text_is_answered_in_json(network: Network) -> None:
    server, asker = await network("supervisor"), await network("client")

    async def answer(prompt: Prompt, key: str) -> Answer:
        return Answer(prompt_id=prompt.prompt_id, text=prompt.text.upper())

    server.serve("api/prompt", answer)
    reply = await served(asker, "api/prompt", Prompt(text="hello"))
    assert isinstance(reply, Answer)
    assert reply.text == "HELLO"
    got: asyncio.Queue[RawReply] = asyncio.Queue()
    on_reply = _into(got)
    for payload, encoding in ((b"plain", "text/plain"), (json.dumps({"text": "plain"}).encode(), "application/json")):
        asker._transport.query(
            "test/api/prompt",
            payload,
            encoding,
            PATIENCE_S,
            on_reply,
            lambda: None,
        )
        async with asyncio.timeout(PATIENCE_S):
            replied = await got.get()
        assert json.loads(replied.payload)["text"] == "PLAIN"
        assert replied.encoding == "application/json"


async def test_a_request_that_is_none_is_refused_with_the_field(network: Network) -> None:
    server, asker = await network("region", "ear"), await network("client")

    async def params(request: ParamsQuery, key: str) -> ParamsReply:
        return ParamsReply(params=[])

    server.serve("node/ear/params", params)
    await served(asker, "node/ear/params", ParamsQuery())
    replies: asyncio.Queue[RawReply] = asyncio.Queue()
    asker._transport.query(
        "test/node/ear/params",
        b'{"name": 5}',
        "application/json",
        PATIENCE_S,
        _into(replies),
        lambda: None,
    )
    async with asyncio.timeout(PATIENCE_S):
        reply = await replies.get()
        assert reply.refused
        assert b"name" in reply.payload
    row = next(row for row in server.counters.snapshot() if row.key == "node/ear/params")
    assert row.malformed == 1


@pytest.mark.parametrize(
    ("role", "key", "request_", "says"),
    [
        ("region", "node/x/control", StatusQuery(), "may not ask .* client, supervisor"),
        ("client", "node/x/status", ParamsQuery(), "asked with StatusQuery"),
        ("client", "spikes/a/b", StatusQuery(), "nothing in the contract answers"),
    ],
)
async def test_questions_are_checked_against_the_contract(
    network: Network, role: str, key: str, request_: Message, says: str
) -> None:
    bus = await network(role)
    with pytest.raises(TopicError, match=says):
        await bus.call(key, request_)


async def test_serving_is_checked_against_the_contract(network: Network) -> None:
    async def handler(request: object, key: str) -> Message:
        return StatusQuery()

    client = await network("client")
    with pytest.raises(TopicError, match=r"may not serve .* supervisor"):
        client.serve("api/prompt", handler)
    with pytest.raises(TopicError, match="nothing in the contract answers"):
        client.serve("spikes/a/b", handler)


async def test_tokens_appear_and_go_with_their_process(network: Network) -> None:
    early, watcher = await network("region", "early"), await network("client")
    early.declare_alive("alive/here/early")
    events = watcher.watch_alive()

    async def event() -> tuple[str, bool]:
        async with asyncio.timeout(PATIENCE_S):
            sample: Sample = await events.get()
        return sample.key, sample.alive

    async def only_alive(*expected: str) -> None:
        """Wait until the network knows these tokens and no others; it may answer a query from another place than it
        delivers the events."""
        async with asyncio.timeout(PATIENCE_S):
            while await watcher.alive(timeout=PATIENCE_S) != list(expected):
                pass  # each round waits for the network

    assert await event() == ("alive/here/early", True)
    late = await network("region", "late")
    handle = late.declare_alive("alive/here/late")
    assert await event() == ("alive/here/late", True)
    await only_alive("alive/here/early", "alive/here/late")
    handle.close()
    assert await event() == ("alive/here/late", False)
    await early.close()
    assert await event() == ("alive/here/early", False)
    await only_alive()


async def test_an_event_that_the_network_delivers_twice_comes_once() -> None:
    memory = MemoryNetwork()
    async with Bus(memory.transport(), namespace="test", role="client") as watcher:
        events = watcher.watch_alive()
        for alive in (False, True, True, False, False, True):
            memory.announce("test/alive/here/ear", alive)
        memory.announce("test/alive/here/end", True)
        seen = [(sample.key, sample.alive) for sample in await events.get_batch(10)]
    ear = "alive/here/ear"
    assert seen == [(ear, True), (ear, False), (ear, True), ("alive/here/end", True)]


async def test_clients_are_not_alive(network: Network) -> None:
    client = await network("client")
    with pytest.raises(TopicError, match="may not publish"):
        client.declare_alive("alive/here/client")

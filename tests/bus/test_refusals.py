"""A refused query says why: a code for programs, a sentence for people, readable by any Zenoh client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from brainnet.bus import Bus
from brainnet.bus.transport import RawReply
from brainnet.errors import CallError, CallTimeout, ConfigError, RegionError
from brainnet.testing import PATIENCE_S
from brainnet.wire.messages import MemoryQuery, MemoryReply, StatusQuery
from tests.bus.asking import NeverAnswers, served

Network = Callable[..., Awaitable[Bus]]
KEY = "memory/episodic/query"


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (ConfigError("no such parameter"), "config", "no such parameter"),
        (RegionError("too dark"), "cannot_answer", "too dark"),
        (RegionError("too dark", code="a_code_of_a_newer_version"), "a_code_of_a_newer_version", "too dark"),
        (ZeroDivisionError("division by zero"), "internal", "internal error in memory: ZeroDivisionError"),
    ],
)
async def test_the_code_of_an_error_reaches_whoever_asked(
    network: Network, raised: Exception, code: str, text: str
) -> None:
    server, asker = await network("region", "memory"), await network("client")

    async def fail(request: MemoryQuery, key: str) -> MemoryReply:
        raise raised

    server.serve(KEY, fail)
    with pytest.raises(CallError, match=text) as caught:
        await served(asker, KEY, MemoryQuery(text="x"))
    assert caught.value.code == code
    assert caught.value.retryable is False


async def test_a_request_that_does_not_follow_the_contract_is_refused_with_its_code(network: Network) -> None:
    server, asker = await network("region", "memory"), await network("client")

    async def never(request: MemoryQuery, key: str) -> MemoryReply:
        raise AssertionError("a malformed request reached the handler")

    server.serve(KEY, never)
    replies: asyncio.Queue[RawReply | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def done() -> None:
        loop.call_soon_threadsafe(replies.put_nowait, None)

    def received(reply: RawReply) -> None:
        loop.call_soon_threadsafe(replies.put_nowait, reply)

    reply: RawReply | None = None
    async with asyncio.timeout(PATIENCE_S):
        while reply is None:  # until the server is known to the asker
            asker._transport.query("test/" + KEY, b"\xc1", "application/msgpack", 1.0, received, done)
            reply = await replies.get()
    assert reply.refused
    assert reply.encoding == "application/json"
    told = json.loads(reply.payload)
    assert told["code"] == "bad_message"
    assert "not msgpack" in told["error"]


async def test_a_server_that_stops_refuses_what_is_open_and_says_that_it_passes(network: Network) -> None:
    server, asker = await network("region", "memory"), await network("client")
    silent = NeverAnswers()
    server.serve(KEY, silent)
    asking = asyncio.create_task(served(asker, KEY, MemoryQuery(text="x")))
    await silent.asked.wait()
    await server.close()
    with pytest.raises(CallError) as caught:
        await asking
    assert (caught.value.code, caught.value.retryable) == ("stopping", True)


async def test_nobody_there_is_a_timeout_that_passes(network: Network) -> None:
    asker = await network("client")
    with pytest.raises(CallTimeout) as caught:
        await asker.call("node/nobody/status", StatusQuery(), timeout=0.2)
    assert (caught.value.code, caught.value.retryable) == ("timeout", True)


async def test_a_slow_server_is_a_timeout_and_not_a_refusal(network: Network) -> None:
    """The network reports its own timeouts as error replies; nobody here may take one for a server's refusal."""
    server, asker = await network("region", "slow"), await network("client")
    server.serve("node/slow/status", NeverAnswers())
    with pytest.raises(CallTimeout):
        await asker.call("node/slow/status", StatusQuery(), timeout=0.3)

"""The client side of queries: sends one query, and collects the replies of all servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from brainnet.bus.transport import RawReply, Transport
from brainnet.errors import CallError, WireError
from brainnet.guard import describe
from brainnet.wire import messages
from brainnet.wire.messages import Message
from brainnet.wire.messages.codec import MAX_ERROR
from brainnet.wire.topics import Topic


@dataclass(slots=True)
class Reply:
    """One server's answer to a query."""

    key: str
    message: Any


class QueryClient:
    """Sends queries and reads their replies.

    Args:
        transport: The session.
        prefix: The namespace with its slash, which is cut off every key.
        call_soon: Runs a function on the event loop, from any thread.
    """

    def __init__(self, transport: Transport, prefix: str, call_soon: Callable[..., None]) -> None:
        self._transport = transport
        self._prefix = prefix
        self._call_soon = call_soon

    async def ask(self, topic: Topic, expression: str, request: Message, timeout: float, *, first: bool) -> list[Reply]:
        """Send a query and return the replies that came in time; see `Bus.call_all`."""
        replies: list[Reply] = []
        done = asyncio.Event()

        def received(raw: RawReply) -> None:
            key = raw.key[len(self._prefix) :]
            try:
                message = _read_reply(topic, raw)
            except BaseException as error:  # of this reply; the query must end all the same
                code = error.code if isinstance(error, WireError) else WireError.code
                message = CallError(f"the reply on {key} cannot be read: {describe(error)}", code=code)
            replies.append(Reply(key, message))
            if first and not isinstance(message, CallError):
                done.set()

        payload = messages.encode(request)
        # In a thread: a query has congestion control BLOCK, and would block the event loop.
        await asyncio.get_running_loop().run_in_executor(
            None,
            lambda: self._transport.query(
                self._prefix + expression,
                payload,
                topic.wire_encoding,
                timeout,
                lambda raw: self._call_soon(received, raw),
                lambda: self._call_soon(done.set),
            ),
        )
        try:
            async with asyncio.timeout(timeout):
                await done.wait()
        except TimeoutError:
            pass
        return list(replies)  # a copy: a late reply is still appended to `replies`


def _read_reply(topic: Topic, raw: RawReply) -> Any:
    if raw.refused:
        return _read_refusal(raw)
    assert topic.reply_message is not None
    return messages.decode(topic.reply_message, raw.payload, raw.encoding)


def _read_refusal(raw: RawReply) -> CallError:
    try:
        refused = messages.decode(messages.Refusal, raw.payload, raw.encoding)
    except WireError:  # a server that is not brainnet puts what it likes into a Zenoh error reply
        return CallError(raw.payload[:MAX_ERROR].decode(errors="replace"))
    return CallError(refused.error, code=refused.code)

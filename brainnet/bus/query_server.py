"""The server side of queries: runs handlers on the event loop, a bounded number at a time, and sends their replies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from brainnet.bus.counters import Counters
from brainnet.bus.incoming import decode_message
from brainnet.bus.log import logger
from brainnet.bus.outbox import Outbox
from brainnet.bus.transport import Request
from brainnet.errors import BrainnetError, WireError
from brainnet.guard import RepeatFilter, describe, ends_task
from brainnet.wire import messages
from brainnet.wire.messages import Encoded, Message, Refusal
from brainnet.wire.messages.codec import JSON_ENCODING
from brainnet.wire.topics import Topic

Handler = Callable[[Any, str], Awaitable[Message | Encoded | Mapping[str, Any]]]
MAX_CONCURRENT: Final = 1024
"""Queries that one bus works on at the same time; one more is refused as `busy`. Each holds a task and its payload."""


def refusal(code: str, reason: str) -> tuple[bytes, str]:
    """Return payload and encoding of a refusal; always JSON, so that any client can read it."""
    return messages.encode(Refusal(code=code, error=reason), as_json=True), JSON_ENCODING


class QueryServer:
    """Replies to queries.

    Guarantees: every query is replied to or refused exactly once, also when the bus closes.

    Replies leave through the outbox, because a client that does not read its replies would block the event loop.
    """

    def __init__(self, source: str, prefix: str, counters: Counters, outbox: Outbox) -> None:
        self._source = source
        self._prefix = prefix
        self._counters = counters
        self._outbox = outbox
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults = RepeatFilter()

    def accept(self, topic: Topic, served: str, request: Request, handler: Handler) -> None:
        """Start to answer a query; on the event loop.

        Args:
            topic: The topic of the queryable.
            served: Its key or key expression, under which the query is counted.
            request: The query.
            handler: Returns the reply.
        """
        count = self._counters.of(served, "in")
        count.count += 1
        count.bytes += len(request.payload)
        if len(self._tasks) >= MAX_CONCURRENT:
            count.dropped += 1
            self._refuse(
                request, "busy", f"{self._source} is working on {MAX_CONCURRENT} queries already; ask again later"
            )
            return
        try:
            message = decode_message(topic, request.payload, request.encoding)
        except WireError as error:
            count.malformed += 1
            self._refuse(request, error.code, str(error))
            return
        except BaseException as error:  # of this query, whatever it is: no query may go without a reply
            count.malformed += 1
            self._refuse(request, WireError.code, f"the query cannot be read: {describe(error)}")
            return
        # A task per query, so that a slow handler does not delay the others.
        task = asyncio.get_running_loop().create_task(self._answer(topic, request, message, served, handler))
        self._tasks.add(task)  # asyncio itself holds only weak references to tasks
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, topic: Topic, request: Request, message: Message, served: str, handler: Handler) -> None:
        try:
            reply = await handler(message, request.key[len(self._prefix) :])
            if isinstance(reply, Mapping):
                reply = topic.make_reply(reply)
            if not isinstance(reply, Encoded):
                # A Prompt in plain text also gets its reply in JSON, and says so in `reply_as`.
                as_json = getattr(message, "reply_as", "msgpack") == "json" or "json" in request.encoding
                reply = Encoded(type(reply), messages.encode(reply, as_json=as_json), as_json)
        except BrainnetError as error:
            self._refuse(request, error.code, str(error))
        except BaseException as error:
            if ends_task(error):  # by `close`: a query without a reply would wait for its whole timeout
                self._refuse(request, "stopping", f"{self._source} is stopping")
                raise
            left_out = self._faults.admit((served, type(error)))
            if left_out is not None:
                logger().error("query handler failed", key=served, exc_info=error, left_out=left_out)
            self._refuse(request, "internal", f"internal error in {self._source}: {describe(error)}")
        else:
            payload = reply.payload
            # The key of the queryable names the server, also when the query had wildcards. A queryable that has
            # wildcards itself replies on the key of the query.
            reply_key = request.key if "*" in served else self._prefix + served
            if not self._outbox.put(len(payload), request.reply, reply_key, payload, reply.wire_encoding()):
                self._counters.of(served, "in").dropped += 1
                reason = f"{self._source} has too many messages waiting to be sent; ask again later"
                request.refuse(*refusal("busy", reason))

    def _refuse(self, request: Request, code: str, reason: str) -> None:
        payload, encoding = refusal(code, reason)
        # Directly when the outbox is full: a refusal is small, and must not be lost.
        if not self._outbox.put(len(payload), request.refuse, payload, encoding):
            request.refuse(payload, encoding)

    async def close(self) -> None:
        """Cancel the handlers that still run; their queries are refused as `stopping`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

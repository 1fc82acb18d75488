"""The serving side of queries: runs handlers on the event loop, bounded, and sends what they return."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from brainnet.bus.complaints import logger
from brainnet.bus.counters import Counters
from brainnet.bus.incoming import decode_message
from brainnet.bus.outbox import Outbox
from brainnet.bus.transport import Request
from brainnet.errors import BrainnetError, WireError
from brainnet.wire import messages
from brainnet.wire.messages import Message, Refusal
from brainnet.wire.topics import Topic

Handler = Callable[[Any, str], Awaitable[Message]]
_JSON: Final = "application/json"
MAX_OPEN: Final = 1024
"""Queries that one bus works on at the same time; one more is refused."""


def refusal(code: str, reason: str) -> tuple[bytes, str]:
    """Payload and encoding of a refusal."""
    return messages.encode(Refusal(code=code, error=reason), as_json=True), _JSON


class Serving:
    """Answers requests. Every request is replied to or refused exactly once, also when the bus closes.

    Replies leave through the outbox: an asker that does not read cannot hold up the event loop.
    """

    def __init__(self, source: str, prefix: str, counters: Counters, outbox: Outbox) -> None:
        self._source = source
        self._prefix = prefix
        self._counters = counters
        self._outbox = outbox
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, topic: Topic, served: str, request: Request, handler: Handler) -> None:
        """Start answering a request on the key that is `served`; on the event loop."""
        count = self._counters.of(served, "in")
        count.count += 1
        count.bytes += len(request.payload)
        if len(self._tasks) >= MAX_OPEN:
            count.dropped += 1
            self._refuse(request, "busy", f"{self._source} is working on {MAX_OPEN} queries already; ask again later")
            return
        try:
            message = decode_message(topic, request.payload, request.encoding)
        except WireError as error:
            count.malformed += 1
            self._refuse(request, error.code, str(error))
            return
        task = asyncio.get_running_loop().create_task(self._answer(request, message, served, handler))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Request, message: Message, served: str, handler: Handler) -> None:
        try:
            reply = await handler(message, request.key[len(self._prefix) :])
            as_json = getattr(message, "reply_as", "msgpack") == "json" or "json" in request.encoding
            payload = messages.encode(reply, as_json=as_json)
        except BrainnetError as error:
            self._refuse(request, error.code, str(error))
        except asyncio.CancelledError:
            self._refuse(request, "stopping", f"{self._source} is stopping")
            raise
        except Exception as error:
            logger().exception("query handler failed", key=served)
            reason = f"internal error in {self._source}: {type(error).__name__}: {error}"
            self._refuse(request, "internal", reason)
        else:
            encoding = _JSON if as_json else reply.wire_encoding()
            replied = request.key if "*" in served else self._prefix + served  # says who, when everybody was asked
            if not self._outbox.put(len(payload), request.reply, replied, payload, encoding):
                self._counters.of(served, "in").dropped += 1
                reason = f"{self._source} has too many messages waiting to be sent; ask again later"
                request.refuse(*refusal("busy", reason))

    def _refuse(self, request: Request, code: str, reason: str) -> None:
        payload, encoding = refusal(code, reason)
        if not self._outbox.put(len(payload), request.refuse, payload, encoding):
            request.refuse(payload, encoding)

    async def close(self) -> None:
        """Cancel what is still open; each is refused."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

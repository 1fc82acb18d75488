"""Bounded, counted mailboxes between transport threads and asyncio, woken in batches."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from brainnet.wire.topics import Overflow

T = TypeVar("T")
_YIELD_EVERY = 64


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """A snapshot: received = taken + waiting + dropped (+ malformed)."""

    capacity: int
    waiting: int
    peak: int
    received: int
    dropped: int
    malformed: int


class Mailbox(Generic[T]):
    """Hands messages from any thread to one asyncio consumer.

    Guarantees: at most `capacity` messages wait; what does not fit is dropped by the `overflow` rule and counted,
    never lost silently; the event loop is woken once for everything that arrives while it is busy; a consumer that
    always finds messages still yields to the loop; a cancelled `get` loses nothing.

    `overflow` is `drop_newest`, `drop_oldest`, or `block`, which holds up the delivering thread and so hands
    the pressure back to the sender: only for a session whose subscriptions may all wait together.

    `read` runs in the consumer and turns what was delivered into a message, or None for one that is malformed.
    """

    def __init__(
        self,
        read: Callable[[Any], T | None],
        *,
        capacity: int = 256,
        overflow: Overflow = "drop_newest",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._read = read
        self._capacity = capacity
        self._overflow = overflow
        self._loop = loop or asyncio.get_running_loop()
        self._items: deque[Any] = deque()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._blocked = 0
        self._waiter: _Waiter | None = None
        self._closed = False
        self._peak = self._received = self._dropped = self._malformed = 0
        self._streak = 0

    def offer(self, raw: Any) -> None:
        """Put one message in; from any thread, returns at once (except for `block`)."""
        with self._lock:
            if self._closed:
                return
            self._received += 1
            items = self._items
            if len(items) >= self._capacity and not self._make_room():
                return
            self._peak = max(self._peak, len(items) + 1)
            items.append(raw)
            waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._wake(waiter)

    def _make_room(self) -> bool:
        if self._overflow == "drop_newest":
            self._dropped += 1
            return False
        if self._overflow == "drop_oldest":
            self._items.popleft()
            self._dropped += 1
            return True
        self._blocked += 1
        self._room.wait_for(lambda: self._closed or len(self._items) < self._capacity)
        self._blocked -= 1
        return not self._closed

    def _wake(self, waiter: _Waiter) -> None:
        try:
            self._loop.call_soon_threadsafe(waiter.resume)
        except RuntimeError:  # the loop was closed: nobody is left to read
            self._closed = True

    async def get(self) -> T:
        """The next message, in order of arrival per sender.

        Raises:
            EOFError: the mailbox was closed and is empty.
        """
        if self._streak >= _YIELD_EVERY:  # before taking, so that a cancellation here loses nothing
            self._streak = 0
            await asyncio.sleep(0)
        while True:
            message = self.get_nowait()
            if message is not None:
                self._streak += 1
                return message
            self._streak = 0
            with self._lock:
                if self._items:
                    continue
                if self._closed:
                    raise EOFError("the mailbox is closed")
                if self._waiter is not None and not self._waiter.done():
                    raise RuntimeError("a mailbox has one consumer, and it is waiting already")
                waiter = self._waiter = _Waiter(loop=self._loop)
            await waiter

    def get_nowait(self) -> T | None:
        """The next message if one waits, else None."""
        items = self._items
        while items:
            try:
                raw = items.popleft()
            except IndexError:
                return None
            if self._blocked and len(items) <= self._capacity // 2:
                with self._lock:
                    self._room.notify_all()
            message = self._read(raw)
            if message is not None:
                return message
            self._malformed += 1
        return None

    async def get_batch(self, limit: int) -> list[T]:
        """At least one message, and with it those that already wait, up to `limit`."""
        batch = [await self.get()]
        while len(batch) < limit and (message := self.get_nowait()) is not None:
            batch.append(message)
        return batch

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.get()
        except EOFError:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Take nothing more in; what waits can still be read, then `get` raises EOFError."""
        with self._lock:
            self._closed = True
            waiter, self._waiter = self._waiter, None
            self._room.notify_all()
        if waiter is not None:
            self._wake(waiter)

    def statistics(self) -> MailboxStatistics:
        """A snapshot of the counts."""
        with self._lock:
            return MailboxStatistics(
                self._capacity, len(self._items), self._peak, self._received, self._dropped, self._malformed
            )


class _Waiter(asyncio.Future[None]):
    """What a consumer awaits. It is resumed by the callback that wakes the loop, not an iteration of the loop later."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._callbacks_now: list[tuple[Callable[[Any], object], Context | None]] = []

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        if self.done():
            super().add_done_callback(fn, context=context)
        else:
            self._callbacks_now.append((fn, context))

    def remove_done_callback(self, fn: Callable[[Any], object], /) -> int:
        kept = [entry for entry in self._callbacks_now if entry[0] != fn]
        removed = len(self._callbacks_now) - len(kept)
        self._callbacks_now = kept
        return removed + super().remove_done_callback(fn)

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            for fn, context in self._take():
                self.get_loop().call_soon(fn, self, context=context)
        return cancelled

    def resume(self) -> None:
        """Be done, and run what waits for it; on the loop."""
        if not self.done():
            self.set_result(None)
            for fn, context in self._take():
                if context is None:
                    fn(self)
                else:
                    context.run(fn, self)

    def _take(self) -> list[tuple[Callable[[Any], object], Context | None]]:
        taken, self._callbacks_now = self._callbacks_now, []
        return taken

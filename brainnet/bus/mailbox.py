"""Bounded, counted queues from transport threads to asyncio; a consumer is woken once per batch."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from brainnet.bus.log import logger
from brainnet.guard import describe
from brainnet.wire.topics import Overflow

T = TypeVar("T")
_YIELD_EVERY = 64
"""Messages after which `get` yields to the event loop. A `get` that finds a message does not suspend, so a consumer of
a fast stream would otherwise block every other task. 64 packets take about 1 ms at the speed that `brainnet bench bus`
measures; a yield per message would cost an iteration of the event loop for each."""


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """A snapshot of the counts: received = taken + waiting + dropped + malformed.

    Attributes:
        capacity: Messages that may wait.
        waiting: Messages that wait now.
        peak: The most that ever waited.
        received: Messages delivered to the mailbox.
        dropped: Of those, the ones that the overflow rule dropped.
        malformed: Of those, the ones that `read` refused.
    """

    capacity: int
    waiting: int
    peak: int
    received: int
    dropped: int
    malformed: int


class Mailbox(Generic[T]):
    """A queue from any thread to one asyncio consumer.

    Guarantees: at most `capacity` messages wait; a message that does not fit is dropped by the `overflow` rule and
    counted, never lost silently; the event loop is woken once for everything that arrives while it is busy; a
    consumer that always finds messages still yields to the loop; a cancelled `get` loses nothing.

    Args:
        read: Runs in the consumer; turns what was delivered into a message, or None for a malformed one.
        capacity: Messages that may wait.
        overflow: `drop_newest`, `drop_oldest`, or `block`. `block` blocks the delivering thread, which puts
            back-pressure on the sender. A session delivers all its subscriptions on the same threads, so `block` also
            delays the others: use it on a session of its own, or with a consumer that is never slow. On the consumer's
            own thread, which would wait for itself, the newest is dropped instead.
        loop: The consumer's event loop; the running one by default.
        wake: Runs a function on that loop from any thread, or raises RuntimeError where the loop is closed;
            `call_soon_threadsafe` by default.
    """

    def __init__(
        self,
        read: Callable[[Any], T | None],
        *,
        capacity: int = 256,
        overflow: Overflow = "drop_newest",
        loop: asyncio.AbstractEventLoop | None = None,
        wake: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._read = read
        self._capacity = capacity
        self._overflow = overflow
        self._loop = loop or asyncio.get_running_loop()
        self._call_soon = wake or self._loop.call_soon_threadsafe
        self._thread = threading.get_ident()
        self._items: deque[Any] = deque()
        self._lock = threading.Lock()
        self._not_full = threading.Condition(self._lock)
        self._blocked = 0
        self._waiter: _Waiter | None = None
        self._closed = False
        self._peak = self._received = self._dropped = self._malformed = 0
        self._since_yield = 0

    def offer(self, raw: Any) -> None:
        """Put one message in, from any thread; returns at once, except with overflow `block`."""
        with self._lock:
            if self._closed:
                return
            self._received += 1
            items = self._items
            if len(items) >= self._capacity and not self._make_room():
                return
            waiting = len(items) + 1
            if waiting > self._peak:  # noqa: PLR1730 - max() is a call, which costs more than the rest of this method
                self._peak = waiting
            items.append(raw)
            # Taken under the lock, so that only the first of many messages wakes the event loop.
            waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._wake(waiter)

    def _make_room(self) -> bool:
        if self._overflow == "drop_newest" or (self._overflow == "block" and threading.get_ident() == self._thread):
            self._dropped += 1
            return False
        if self._overflow == "drop_oldest":  # for states, of which only the newest is of use
            try:
                self._items.popleft()
            except IndexError:  # the consumer, which takes no lock, has just taken it
                return True
            self._dropped += 1
            return True
        self._blocked += 1
        self._not_full.wait_for(lambda: self._closed or len(self._items) < self._capacity)
        self._blocked -= 1
        return not self._closed

    def _wake(self, waiter: _Waiter) -> None:
        try:
            self._call_soon(waiter.resume)
        except RuntimeError:  # the event loop was closed, and the consumer with it
            self._closed = True

    @property
    def waiting(self) -> int:
        """Messages that wait now; from any thread, without the lock of `statistics`."""
        return len(self._items)

    async def get(self) -> T:
        """Wait for the next message and return it; messages of one sender come in order.

        Raises:
            EOFError: The mailbox was closed and is empty.
            RuntimeError: Another consumer is waiting.
        """
        if self._since_yield >= _YIELD_EVERY:  # before a message is taken, so that a cancellation here loses none
            self._since_yield = 0
            await asyncio.sleep(0)
        while True:
            message = self.get_nowait()
            if message is not None:
                self._since_yield += 1
                return message
            self._since_yield = 0
            with self._lock:
                if self._items:  # delivered since `get_nowait` looked, which does so without the lock
                    continue
                if self._closed:
                    raise EOFError("the mailbox is closed")
                if self._waiter is not None and not self._waiter.done():
                    raise RuntimeError("a mailbox has one consumer, and it is waiting already")
                waiter = self._waiter = _Waiter(self._loop)
            await waiter

    def get_nowait(self) -> T | None:
        """Return the next message if one waits, else None."""
        # Without the lock, which would cost time for every message: `deque.popleft` is atomic, and there is one
        # consumer.
        items = self._items
        while items:
            try:
                raw = items.popleft()
            except IndexError:  # `offer` dropped the oldest, which was the last
                return None
            # At half full, not at one free place: each wake-up of a blocked thread costs a switch between threads.
            if self._blocked and len(items) <= self._capacity // 2:
                with self._lock:
                    self._not_full.notify_all()
            try:
                message = self._read(raw)
            except BaseException as error:
                # Of this message, whatever it is. Nothing is awaited here, so it cannot be a cancellation.
                logger().warning("a message could not be read", error=describe(error))
                message = None
            if message is not None:
                return message
            self._malformed += 1
        return None

    async def get_batch(self, limit: int) -> list[T]:
        """Wait for one message and return it with those that already wait, at most `limit` together."""
        batch = [await self.get()]
        # A model computes a batch in little more time than one message; waiting for more would delay the first.
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
        """Accept no more messages; those that wait can still be read, then `get` raises EOFError."""
        with self._lock:
            self._closed = True
            waiter, self._waiter = self._waiter, None
            self._not_full.notify_all()
        if waiter is not None:
            self._wake(waiter)

    def statistics(self) -> MailboxStatistics:
        """Return a snapshot of the counts."""
        with self._lock:
            return MailboxStatistics(
                self._capacity, len(self._items), self._peak, self._received, self._dropped, self._malformed
            )


class _Waiter:
    """What a waiting `get` awaits: like a future, but `resume` continues the task itself.

    `Future.set_result` schedules the step of the task that awaits with `call_soon`. That is one more iteration of the
    event loop, with one more `select` system call, for every wake-up. Here the callback that wakes the event loop
    continues the task.

    It has what tasks need of a future that they await, and one task awaits it. As a subclass of asyncio.Future it
    took longer: to make it, and to keep its callbacks from the list of the base class.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_done", "_loop", "_message")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._done = self._cancelled = False
        self._message: Any = None

    def __await__(self) -> Generator[Any, None, None]:
        if not self._done:
            self._asyncio_future_blocking = True  # tells the task that this is awaited and not just yielded
            yield self
        self.result()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop; a task awaits futures of its own loop only."""
        return self._loop

    def done(self) -> bool:
        """Return whether it was resumed or cancelled."""
        return self._done

    def result(self) -> None:
        """Raise CancelledError if it was cancelled; the task calls this before it continues."""
        if self._cancelled:
            raise asyncio.CancelledError(*(() if self._message is None else (self._message,)))

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        """Keep the step of the task for `resume`; the task calls this when it awaits."""
        if self._done:
            self._loop.call_soon(fn, self, context=context)
        else:
            self._callback, self._context = fn, context

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the wait; the step of the task is scheduled, as by any future."""
        if self._done:
            return False
        self._done = self._cancelled = True
        self._message = msg
        if self._callback is not None:
            self._loop.call_soon(self._callback, self, context=self._context)
            self._callback = None
        return True

    def resume(self) -> None:
        """Continue the task; on the event loop, outside of any task."""
        if self._done:
            return
        self._done = True
        callback, self._callback = self._callback, None
        if callback is not None:
            if self._context is None:
                callback(self)
            else:
                self._context.run(callback, self)

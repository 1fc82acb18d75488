"""A send queue for reliable messages, with a thread of its own.

Reliable messages have Zenoh's congestion control BLOCK: `put` blocks while the link is congested. Zenoh has no
asynchronous put, so a thread is the only way to keep that wait off the event loop. It is one thread, because messages
must leave in order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from brainnet.bus.log import logger
from brainnet.guard import describe


class Outbox:
    """A bounded queue of send operations and the thread that runs them in order; it starts with the first one.

    Args:
        capacity: Messages that may wait. With 8192 a burst on a congested link drops nothing.
        max_bytes: Bytes that may wait. 256 MiB bounds the memory of a node whose link stays congested; a prompt with a
            picture may have 8 MiB, so the number of messages alone would not bound it.
        later: Runs a function later in the thread that makes the outbox, in which all that is put before is sent with
            one wake-up. Without it each message that finds the thread asleep wakes it.
    """

    def __init__(
        self,
        capacity: int = 8192,
        max_bytes: int = 256 << 20,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._capacity, self._max_bytes = capacity, max_bytes
        self._later = later
        self._owner = threading.get_ident()
        self._waking = False
        self._items: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()
        self._bytes = 0
        self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, size: int, send: Callable[..., None], *args: Any) -> bool:
        """Queue `send(*args)`, which carries `size` bytes; return False when the outbox is full or closed."""
        with self._changed:
            if self._closed or len(self._items) >= self._capacity or self._bytes + size > self._max_bytes:
                return False
            self._items.append((size, send, args))
            self._bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="brainnet-outbox", daemon=True)
                self._thread.start()
            elif self._busy:  # it looks at the queue before it waits again
                pass
            elif self._later is not None and threading.get_ident() == self._owner:
                # Once for what is put in this turn of the event loop: each wake-up costs a switch of threads.
                if self._waking:
                    return True
                self._waking = True
                try:
                    self._later(self._wake)
                except RuntimeError:  # the event loop was closed
                    self._wake_now()
            else:
                self._changed.notify_all()
        return True

    def _wake(self) -> None:
        with self._changed:
            self._wake_now()

    def _wake_now(self) -> None:
        self._waking = False
        if self._items:
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                if not self._items:
                    self._changed.notify_all()  # for `drain`
                self._changed.wait_for(lambda: self._items or self._closed)
                if not self._items:
                    return
                size, send, args = self._items.popleft()
                self._bytes -= size
                self._busy = True
            try:
                send(*args)
            except BaseException as error:
                # The session was closed, or a library panicked. This thread sends for the whole node and must go on;
                # receivers see the loss as a gap in the sequence numbers.
                logger().warning("a reliable message could not be sent", error=describe(error))

    @property
    def waiting(self) -> int:
        """Messages that are queued."""
        return len(self._items)

    def drain(self, timeout: float) -> bool:
        """Block until the queue is empty; return False after `timeout` seconds. Not for event loops."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._changed.notify_all()  # the wake-up that was put off may not have come
            if self._thread is None:
                return True
            while self._items or self._busy:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def close(self) -> None:
        """Accept no more messages; those queued are still sent if the link accepts them within half a second."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(0.5)  # no longer: a congested link may never accept them, and the thread is a daemon

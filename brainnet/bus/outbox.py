"""One thread that hands reliable messages to the network, so that a congested link never holds up an event loop."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from brainnet.bus.complaints import logger


class Outbox:
    """A bounded queue of sends and the thread that does them, in order. The thread starts with the first one."""

    def __init__(self, capacity: int = 8192, max_bytes: int = 256 << 20) -> None:
        self._capacity, self._max_bytes = capacity, max_bytes
        self._items: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()
        self._bytes = 0
        self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, size: int, send: Callable[..., None], *args: Any) -> bool:
        """Queue `send(*args)`, which carries `size` bytes; False when the outbox is full or closed."""
        with self._changed:
            if self._closed or len(self._items) >= self._capacity or self._bytes + size > self._max_bytes:
                return False
            self._items.append((size, send, args))
            self._bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="brainnet-outbox", daemon=True)
                self._thread.start()
            elif not self._busy:
                self._changed.notify_all()
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                if not self._items:
                    self._changed.notify_all()  # whoever drains
                self._changed.wait_for(lambda: self._items or self._closed)
                if not self._items:
                    return
                size, send, args = self._items.popleft()
                self._bytes -= size
                self._busy = True
            try:
                send(*args)
            except Exception:  # the session went; the loss shows as a gap in the sequence numbers
                logger().warning("a reliable message could not be sent", exc_info=True)

    @property
    def waiting(self) -> int:
        """Messages not handed over yet."""
        return len(self._items)

    def drain(self, timeout: float) -> bool:
        """Wait until nothing waits; False after `timeout` seconds. Blocks: not for event loops."""
        deadline = time.monotonic() + timeout
        with self._changed:
            if self._thread is None:
                return True
            while self._items or self._busy:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def close(self) -> None:
        """Take nothing more; what waits is still sent if the link takes it within a moment."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(0.5)

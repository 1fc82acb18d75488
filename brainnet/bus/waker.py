"""Runs functions on an event loop from other threads, for less than `call_soon_threadsafe` costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable


class Waker:
    """Wakes one event loop from any thread.

    For every call, `call_soon_threadsafe` makes a handle with a copy of the context and writes to a socket, from which
    the loop then reads until it is empty. Here it is one write to an eventfd and one read, and the loop's handle is
    made once.

    Guarantees: functions run in the order of the calls, also when one of them raises; a function that is given while
    others run, runs in a later iteration of the loop.

    Args:
        loop: The event loop; the waker is made and closed on its thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: deque[Callable[[], object]] = deque()
        self._signalled = False
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        loop.add_reader(self._fd, self._run)

    def __del__(self) -> None:
        # Not before: a thread may be about to write, and the number of a closed file is given to the next one.
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def call_soon(self, function: Callable[[], object]) -> None:
        """Run a function on the event loop, from any thread.

        Raises:
            RuntimeError: The event loop is closed.
        """
        if self._loop.is_closed():
            raise RuntimeError("the event loop is closed")
        self._due.append(function)
        # Without a lock: `_run` takes the signal back before it looks at what is due, so a function that was added
        # without a signal is seen.
        if not self._signalled:
            self._signalled = True
            os.eventfd_write(self._fd, 1)

    def _run(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        self._signalled = False
        # No more than what is due now: functions that cause each other would keep the loop from everything else.
        left = len(self._due)
        try:
            while left:
                left -= 1
                self._due.popleft()()
        finally:
            if left:  # one of them raised
                self._signalled = True
                os.eventfd_write(self._fd, 1)

    def close(self) -> None:
        """Stop watching; what is due runs in the next iteration of the loop."""
        self._loop.remove_reader(self._fd)
        while self._due:
            self._loop.call_soon(self._due.popleft())

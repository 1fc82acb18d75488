"""Keeps the fault of one message with that message: what a loop that reads many may catch, and how often it is logged.

A loop that reads messages ends for one reason only: its own task was asked to end. Whatever else is raised while one
message is read, handled or answered belongs to that message, `BaseException` included: a panic inside a library in
Rust arrives as one, and so does `sys.exit` in the code of a region.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from brainnet.texts import shorten

_FIRST: Final = 3
"""Repeats of one fault that are logged in full before the rest is only counted."""
_INTERVAL_S: Final = 60.0
"""Seconds between two records of one fault after that: a fault at 1 kHz must not fill the disk with its records."""
_MAX_KINDS: Final = 1000
"""Kinds of faults are made by senders, so the table of them is bounded."""


def call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    """Call a function on an event loop, from any thread; does nothing once the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


def ends_task(error: BaseException) -> bool:
    """Return whether an exception asks the running task to end, and so may not be caught by a loop of the task.

    That is the cancellation of the task itself. A `CancelledError` that user code raises by hand, while nobody has
    cancelled the task, is a fault like any other.
    """
    if isinstance(error, GeneratorExit):
        return True
    if not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # not on an event loop
        return False
    return task is None or task.cancelling() > 0


def describe(error: BaseException) -> str:
    """Return the kind and the text of an exception in one short line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception class of somebody else, with a faulty `__str__`
        text = ""
    return f"{type(error).__name__}: {shorten(text, 500)}" if text else type(error).__name__


class RepeatFilter:
    """Decides which repeats of one fault are logged: the first three, then one a minute, with the number left out."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[Hashable, tuple[int, int, float]] = OrderedDict()  # seen, left out, when last logged

    def admit(self, kind: Hashable) -> int | None:
        """Count one fault; return how many were left out since the last record, or None when this one is left out."""
        seen, left_out, logged = self._kinds.get(kind, (0, 0, 0.0))
        now = time.monotonic()
        admitted = seen < _FIRST or now - logged >= _INTERVAL_S
        self._kinds[kind] = (seen + 1, 0 if admitted else left_out + 1, now if admitted else logged)
        self._kinds.move_to_end(kind)
        if len(self._kinds) > _MAX_KINDS:
            self._kinds.popitem(last=False)
        return left_out if admitted else None

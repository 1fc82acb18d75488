"""How often Python's garbage collector runs."""

from __future__ import annotations

import gc
from typing import Final

_THRESHOLDS: Final = (20_000, 20, 20)
_THRESHOLDS_OF_COMMAND: Final = (100_000, 20, 20)


def collect_less_often() -> None:
    """Set the thresholds of the garbage collector for a process that handles many messages.

    A message makes hundreds of objects, and reference counting frees nearly all of them. With Python's own thresholds
    (700, 10, 10), the collector looks through all that are alive many times a second.
    """
    gc.set_threshold(*_THRESHOLDS)


def collect_rarely() -> None:
    """Set the thresholds of the garbage collector for a command.

    Nearly all objects of a short command are those that its imports make, and these stay. To look through them at each
    of Python's own thresholds would take a sixth of its CPU time.
    """
    gc.set_threshold(*_THRESHOLDS_OF_COMMAND)


def end_uncollected() -> None:
    """Spare a process that now ends the search for garbage among all that it has imported."""
    gc.freeze()

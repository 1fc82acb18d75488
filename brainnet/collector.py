"""How often Python's garbage collector runs in processes that handle many messages."""

from __future__ import annotations

import gc
from typing import Final

_THRESHOLDS: Final = (20_000, 20, 20)


def collect_less_often() -> None:
    """Set the thresholds of the garbage collector for a process that handles many messages.

    A message makes hundreds of objects, and reference counting frees nearly all of them. With Python's own thresholds
    (700, 10, 10), the collector looks through all that are alive many times a second.
    """
    gc.set_threshold(*_THRESHOLDS)

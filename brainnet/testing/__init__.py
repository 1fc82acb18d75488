"""Tools for tests of regions: an in-memory brain, waiting for conditions, free ports.

Importing this package imports neither torch nor zenoh.
"""

from __future__ import annotations

from brainnet.testing.memory_brain import MemoryBrain
from brainnet.testing.ports import free_port
from brainnet.testing.waiting import PATIENCE_S, until, wait_until

__all__ = ["PATIENCE_S", "MemoryBrain", "free_port", "until", "wait_until"]

"""For tests of regions, ours and yours: a brain in one process without sockets."""

from __future__ import annotations

from brainnet.testing.memory_brain import MemoryBrain, until

__all__ = ["MemoryBrain", "until"]

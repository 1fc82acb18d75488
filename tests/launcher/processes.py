"""The processes of a brain besides its nodes."""

from __future__ import annotations

from pathlib import Path

from brainnet.launcher.run.lock import current_holder
from tests.support import Brain


def state_of(brain: Brain) -> Path:
    """Return the state folder of a brain with the default namespace."""
    return brain.home / "brainnet" / f"evospikenet-{brain.port}"


def launcher_of(brain: Brain) -> int:
    """Return the process id of the launcher, which must run."""
    holder = current_holder(state_of(brain))
    assert holder is not None
    return holder.pid


def zygotes_of(brain: Brain) -> list[int]:
    """Return the process ids of the zygotes that run."""
    return [pid for pid, name in brain.processes().items() if name == "brainnet-zygote"]

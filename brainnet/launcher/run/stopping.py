"""Stopping a launcher that runs on this host."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final

from brainnet.errors import LaunchError
from brainnet.launcher.run.lock import Holder, current_holder

_POLL_INTERVAL_S: Final = 0.02


def stop_local_launcher(holder: Holder, state: Path, timeout: float) -> None:
    """Stop the launcher with SIGTERM and return when it has exited: no process is left, and its port is free.

    Args:
        holder: The launcher.
        state: The state folder of its brain.
        timeout: Seconds after which it is killed; its zygote and nodes then end by themselves.

    Raises:
        LaunchError: It belongs to another user, or does not exit.
    """
    for number, limit_s in ((signal.SIGTERM, timeout), (signal.SIGKILL, 3.0)):
        try:
            os.kill(holder.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise LaunchError(f"launcher {holder.pid} belongs to another user; stop it as that user") from None
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            # Both: the lock is released when the process exits, but a process id may already belong to another one.
            if current_holder(state) != holder and not _exists(holder.pid):
                return
            time.sleep(_POLL_INTERVAL_S)
    raise LaunchError(f"launcher {holder.pid} does not end")


def _exists(pid: int) -> bool:
    """Return whether a process runs; a zombie, which its parent has not reaped, does not."""
    with contextlib.suppress(OSError, IndexError):
        # The name, in parentheses, may itself hold spaces and parentheses; the state is the first field after it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False

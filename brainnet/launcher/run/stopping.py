"""Stopping a launcher that runs on this host, and what an earlier one has left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final

from brainnet.errors import LaunchError
from brainnet.launcher.run.kernel import exists, is_frozen
from brainnet.launcher.run.lock import Holder, current_holder
from brainnet.launcher.run.orphans import end_orphans

_POLL_INTERVAL_S: Final = 0.02
_ORPHANS_END_S: Final = 2.5
"""Seconds in which the nodes of a killed launcher end by themselves."""


def stop_local_launcher(holder: Holder, state: Path, timeout: float) -> None:
    """Stop the launcher with SIGTERM and return when it has exited: no process is left, and its port is free.

    A frozen launcher is continued, so that it stops its nodes in order.

    Args:
        holder: The launcher.
        state: The state folder of its brain.
        timeout: Seconds after which it is killed; its zygote and nodes are then ended here.

    Raises:
        LaunchError: It belongs to another user, or does not exit.
    """
    for number, limit_s in ((signal.SIGTERM, timeout), (signal.SIGKILL, 3.0)):
        try:
            os.kill(holder.pid, number)
            if is_frozen(holder.pid):
                os.kill(holder.pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise LaunchError(f"launcher {holder.pid} belongs to another user; stop it as that user") from None
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            # Both: the lock is released when the process exits, but a process id may already belong to another one.
            if current_holder(state) != holder and not exists(holder.pid):
                end_orphans(state, patience_s=_ORPHANS_END_S)
                return
            time.sleep(_POLL_INTERVAL_S)
    raise LaunchError(f"launcher {holder.pid} does not end")

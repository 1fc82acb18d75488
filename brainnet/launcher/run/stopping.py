"""Ending a launcher that runs on this host, and waiting until it is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final

from brainnet.errors import LaunchError
from brainnet.launcher.run.lock import Holder, running

_POLL_S: Final = 0.02


def stop_here(holder: Holder, state: Path, timeout: float) -> None:
    """Tell the launcher to stop in order, and return when it is gone: no process, no port in use.

    One that does not end in `timeout` seconds is killed; its zygote and nodes then end by themselves.

    Raises:
        LaunchError: it is another user's, or does not even die.
    """
    for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, 3.0)):
        try:
            os.kill(holder.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise LaunchError(f"launcher {holder.pid} belongs to another user; stop it as that user") from None
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if running(state) != holder and not _exists(holder.pid):
                return
            time.sleep(_POLL_S)
    raise LaunchError(f"launcher {holder.pid} does not end")


def _exists(pid: int) -> bool:
    """Whether a process is there and not merely unreaped."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False

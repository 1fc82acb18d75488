"""Finds and ends what is left of a brain whose launcher has exited."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brainnet.errors import LaunchError
from brainnet.launcher.run.kernel import exists, is_frozen

MARK: Final = "_BRAINNET_LAUNCHER"
"""Environment variable of a zygote and of all that comes from it; its value is the process id of the launcher."""
_GRACE_S: Final = 2.0
_POLL_INTERVAL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process of a brain that no launcher supervises."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} {self.pid}"


class OrphansError(LaunchError):
    """Processes of an earlier launcher of this brain still run."""


def find_orphans(state: Path, launcher: int | None = None) -> list[Orphan]:
    """Return the processes of a brain on this host, by process id, without its launcher.

    They are those that come from a zygote, and whose output goes to a log file of the brain.

    Args:
        state: The state folder of the brain.
        launcher: Process id of the launcher that runs; what it has started is no orphan.
    """
    found = []
    folder = str((state / "logs").resolve()) + "/"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile, or belongs to another user
            if not any(str((entry / "fd" / number).readlink()).startswith(folder) for number in "12"):
                continue
            mark = _variable(entry / "environ", MARK)
            if mark is not None and mark != str(launcher):
                found.append(Orphan(int(entry.name), (entry / "comm").read_text().strip()))
    return sorted((o for o in found if exists(o.pid)), key=lambda o: o.pid)


def _variable(environ: Path, name: str) -> str | None:
    """Return the value of an environment variable of a process, or None."""
    beginning = name.encode() + b"="
    for variable in environ.read_bytes().split(b"\0"):
        if variable.startswith(beginning):
            return variable[len(beginning) :].decode(errors="replace")
    return None


def end_orphans(state: Path, patience_s: float = 0.0) -> list[Orphan]:
    """End what is left of a brain whose launcher has exited, and return what was ended.

    Args:
        state: The state folder of the brain.
        patience_s: Seconds in which the processes may end by themselves, as they do after `kill -9` of a launcher.

    Raises:
        LaunchError: A process does not end, or belongs to another user.
    """
    wait_for_orphans(state, patience_s)
    ended = find_orphans(state)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for orphan in find_orphans(state):
            with contextlib.suppress(ProcessLookupError):
                try:
                    os.kill(orphan.pid, number)
                    if is_frozen(orphan.pid):
                        os.kill(orphan.pid, signal.SIGCONT)  # a frozen process would not handle SIGTERM
                except PermissionError:
                    raise LaunchError(f"{orphan} belongs to another user; end it as that user") from None
        if not wait_for_orphans(state, _GRACE_S):
            return ended
    raise LaunchError(f"these processes do not end: {', '.join(map(str, find_orphans(state)))}")


def wait_for_orphans(state: Path, patience_s: float) -> list[Orphan]:
    """Wait until the processes of a brain without a launcher have ended; return those that have not."""
    deadline = time.monotonic() + patience_s
    while (left := find_orphans(state)) and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL_S)
    return left

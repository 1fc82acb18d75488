"""What the launcher asks of the Linux kernel beyond Python's `os` module."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path
from typing import Final

# From <linux/prctl.h>; Python's os module has no prctl.
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36


def set_process_name(name: str) -> None:
    """Set the name of this process as `ps` shows it; the kernel keeps 15 bytes."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def become_subreaper() -> None:
    """Become the parent of every descendant whose own parent has ended, in place of the init process."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent(wanted: bool) -> None:
    """Make the kernel kill this process when its parent exits, or no longer."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL) if wanted else 0, 0, 0, 0)


def process_state(pid: int) -> str:
    """Return the state letter of a process as proc(5) lists them, or an empty string when there is none."""
    with contextlib.suppress(OSError, IndexError):
        # The name, in parentheses, may itself hold spaces and parentheses; the state is the first field after it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def exists(pid: int) -> bool:
    """Return whether a process runs; a zombie, which its parent has not reaped, does not."""
    return process_state(pid) not in ("", "Z", "X", "x")


def is_frozen(pid: int) -> bool:
    """Return whether a process is stopped by a signal such as SIGSTOP, or by a debugger."""
    return process_state(pid) in ("T", "t")


def signal_name(number: int) -> str:
    """Return the name of a signal; real-time signals have numbers only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def thread_names() -> list[str]:
    """Return the names of the threads of this process besides its first."""
    names = []
    for entry in Path("/proc/self/task").iterdir():
        if int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                names.append((entry / "comm").read_text().strip())
    return names

"""Child processes that end with the process that started them, even when that one is killed."""

from __future__ import annotations

import os
import sys
from typing import Final

_TIE: Final = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)\n"  # PR_SET_PDEATHSIG; it outlives exec
    # The kernel sends the signal only for a death after prctl.
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


def tied(*command: str) -> list[str]:
    """Return a command that runs another one, which gets SIGTERM when this process ends.

    Start it from the main thread: the kernel takes the end of the starting thread for that of the process.

    Args:
        command: The command; its first word is the path of a program.
    """
    return [sys.executable, "-c", _TIE, str(os.getpid()), *command]

"""Where the output of a background process goes."""

from __future__ import annotations

import os
from pathlib import Path


def redirect_output(log: Path) -> None:
    """Send the descriptors of standard output and standard error to a log file; standard input reads from /dev/null.

    The objects `sys.stdout` and `sys.stderr` stay as they are: what becomes of them is the caller's decision.
    """
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    devnull = os.open(os.devnull, os.O_RDONLY)
    for source, descriptor in ((devnull, 0), (target, 1), (target, 2)):
        os.dup2(source, descriptor)
    os.close(target)
    os.close(devnull)

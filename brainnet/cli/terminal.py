"""The session of prompts that come from one terminal."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from typing import Final

VARIABLE: Final = "BRAINNET_SESSION"
"""Environment variable that names the session of all prompts; empty for none."""


def terminal_session() -> str:
    """Return the session of this terminal: the same for all its commands, another one for each terminal.

    Empty where the command runs without a terminal, in a script or a service: such prompts have nothing to do with each
    other unless they say so.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return named
    if not any(_is_terminal(descriptor) for descriptor in (0, 1, 2)):
        return ""
    # The process that leads the session of the terminal is its shell. Ids of processes are used again, so its start
    # belongs to the name.
    leader = os.getsid(0)
    started = 0.0
    with contextlib.suppress(Exception):  # the shell has gone, or belongs to somebody else
        import psutil

        started = psutil.Process(leader).create_time()
    name = f"{socket.gethostname()}/{os.getuid()}/{leader}/{started:.2f}"
    return f"terminal-{uuid.uuid5(uuid.NAMESPACE_OID, name)}"


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False

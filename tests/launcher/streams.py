"""Launches in the foreground with streams of one's own, whose brain must go on whatever becomes of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brainnet.testing import PATIENCE_S
from tests.support import Brain


@contextlib.contextmanager
def launched(brain: Brain, path: Path, *words: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Launch a brain in the foreground, with streams of one's own; words come before the command."""
    command = [*words, *brain.command("launch", str(path))]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams}
    with subprocess.Popen(command, env=brain.env, start_new_session=True, **streams) as launcher:
        try:
            yield launcher
        finally:
            launcher.kill()


def check_supervised(brain: Brain, id: str = "one") -> None:
    """Check that changes of state, which are printed, end nothing."""
    before = brain.wait_state(id, "ready")
    os.kill(brain.pid(id), signal.SIGKILL)
    after = brain.wait_state(id, "ready", but_pid=before.pid)
    assert after.restarts == before.restarts + 1


def stop(launcher: subprocess.Popen[bytes]) -> None:
    launcher.terminate()
    assert launcher.wait(PATIENCE_S) == 0

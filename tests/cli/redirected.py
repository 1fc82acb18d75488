"""Verbs whose streams are redirected as a shell does."""

from __future__ import annotations

import os
import subprocess
import sys

from brainnet.testing import PATIENCE_S


def shell(redirection: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a verb with its streams redirected as a shell does; the test's own streams are pipes."""
    command = [sys.executable, "-m", "brainnet", *words]
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", *command] if redirection else command,
        capture_output=True,
        encoding="utf-8",
        errors="strict",
        env={**os.environ, **env},
        timeout=PATIENCE_S,
        check=False,
    )

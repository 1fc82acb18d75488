"""Allocations of tests, from their text."""

from __future__ import annotations

from pathlib import Path

from brainnet.launcher.describe.allocation import Allocation, load
from tests.support import PROGRAMS

ECHO = PROGRAMS / "echo.py"


def parsed(tmp_path: Path, text: str) -> Allocation:
    path = tmp_path / "allocation.yaml"
    path.write_text(text.replace("ECHO", str(ECHO)))
    return load(path)

"""The folder and the brain of a page of the documentation."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT
from tests.support import Brain


def new_brain(home: Path) -> Brain:
    """Make a brain whose commands find `brainnet` and `pytest` as a reader does in the project's environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return Brain(home, BRAINNET_STOP_GRACE_S="0.5", PATH=path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like the root of a checkout, which a page may write to."""
    made = tmp_path / "checkout"
    (made / "nodes").mkdir(parents=True)
    for name in ("config", "launch", "topics", "scripts", "pyproject.toml"):
        (made / name).symlink_to(ROOT / name)
    for part in (ROOT / "nodes").iterdir():
        (made / "nodes" / part.name).symlink_to(part)
    return made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Brain]:
    """A brain that is not launched."""
    with new_brain(tmp_path / "brain") as brain:
        yield brain

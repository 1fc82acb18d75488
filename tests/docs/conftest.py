"""A brain that the pages of the documentation share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Brain


def new_brain(home: Path) -> Brain:
    """Make a brain whose commands find `brainnet` and `pytest` as a reader does in the project's environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return Brain(home, BRAINNET_STOP_GRACE_S="0.5", PATH=path)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brain]:
    """Run the default brain, for pages that ask one and launch none."""
    with new_brain(tmp_path_factory.mktemp("shared")) as brain:
        brain.launch()
        yield brain

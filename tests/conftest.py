"""Fixtures of all tests: an isolated environment, and brains of real processes."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from brainnet.bus import open_hub
from brainnet.testing import free_port
from tests.small_brain import SmallBrain
from tests.support import Brain, MakeBrain


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the settings of the person who tests from a test, and the state of a test from that person."""
    for name in [n for n in os.environ if n.startswith("BRAINNET_")]:
        monkeypatch.delenv(name)
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    return state


@pytest.fixture
def make_brain(tmp_path: Path) -> Iterator[MakeBrain]:
    """Make brains that are not launched yet; whatever a test leaves of them is killed."""
    with contextlib.ExitStack() as made:
        numbers = itertools.count(1)

        def make(**options: Any) -> Brain:
            return made.enter_context(Brain(tmp_path / f"brain-{next(numbers)}", **options))

        yield make


@pytest.fixture
def brain(make_brain: MakeBrain) -> Brain:
    """Make a brain that is not launched yet."""
    return make_brain(BRAINNET_STOP_GRACE_S="0.5")


@pytest.fixture
async def small_brain() -> AsyncIterator[SmallBrain]:
    """Open the hub of a brain in this process."""
    async with contextlib.AsyncExitStack() as stack:
        port = free_port()
        stack.callback(open_hub([f"tcp/127.0.0.1:{port}"], []).close)
        yield SmallBrain(port, stack)

"""Fixtures of all tests: an isolated environment, a fixed random state, and brains of real processes.

Tests depend neither on their order, which is random, nor on chance: each begins with the same state of every random
generator, and hypothesis draws the same examples in every run. `--hypothesis-profile=explore` draws new ones.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from hypothesis import HealthCheck, settings

from brainnet.bus import open_hub
from brainnet.testing import free_port
from tests.small_brain import SmallBrain
from tests.support import Brain, MakeBrain, node, write_allocation
from tests.warm import forked_commands

# No deadline, and no complaint about slowness: a test is not judged by the speed of the machine.
_FREE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("same", _FREE, derandomize=True, database=None)
settings.register_profile("explore", _FREE, max_examples=1000)
settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the folder of data that is not part of the project; without it the tests that need it are left out."""
    parser.addoption(
        "--data", type=Path, metavar="DIR", help="data for training and evaluation, as nodes/README.md lists"
    )


@pytest.fixture(scope="session")
def data_folder(pytestconfig: pytest.Config) -> Path:
    """Return the folder of data, or leave the test out."""
    folder: Path | None = pytestconfig.getoption("--data")
    if folder is None:
        pytest.skip("needs pytest --data=DIR")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Shuffle the tests, but leave the random state to `same_random_state`, and let signals act on what tests start.

    A run with `nohup`, or in the background of a script, inherits that these signals are ignored, and so would all
    processes that tests start and then interrupt.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False


_LONG = {
    "docs/test_pages.py": 40,
    "cli/test_memory.py": 40,
    "streams/test_processes.py": 35,
    "cli/test_chaos.py": 30,
    "bench/test_prompt_bench.py": 25,
    "cli/test_validate.py": 25,
    "docs/test_pages_that_ask.py": 25,
    "test_accepted_prompts.py": 25,
    "test_brain.py": 25,
    "test_brain_that_loses_nodes.py": 25,
    "cli/test_output.py": 20,
    "launcher/test_launch.py": 20,
    "launcher/test_supervision_of_zygote.py": 20,
    "streams/test_hosts.py": 20,
    "test_two_hosts.py": 20,
    "bench/test_streams_bench.py": 15,
    "cli/test_streams.py": 15,
    "cli/test_weights.py": 15,
    "fuzz/test_readers.py": 15,
    "launcher/test_end.py": 15,
    "launcher/test_logs_of_nodes.py": 15,
    "launcher/test_output.py": 15,
    "launcher/test_start_errors.py": 15,
    "launcher/test_supervision.py": 15,
    "launcher/test_supervision_of_launcher.py": 15,
    "regions/test_nir_region.py": 15,
    "regions/test_torch_region.py": 15,
    "simulation/test_long_windows.py": 15,
    "test_patterns.py": 15,
    "training/test_language.py": 15,
    "cli/test_lifecycle.py": 10,
    "cli/test_topic.py": 10,
    "cli/test_training.py": 10,
    "launcher/test_allocation.py": 10,
    "launcher/test_failed_nodes.py": 10,
    "regions/test_any_prompt.py": 10,
    "regions/test_warm.py": 10,
    "sensors/test_cochlea.py": 10,
    "sensors/test_encoders.py": 10,
    "sensors/test_event_files.py": 10,
    "simulation/test_connectivity.py": 10,
    "snn/test_nir.py": 10,
    "snn/test_nir_hostile.py": 10,
    "test_arm.py": 10,
    "test_wheel.py": 10,
    "testing/test_faults.py": 10,
    "training/test_prefrontal.py": 10,
    "training/test_vision.py": 10,
}
"""Files that take long, and roughly how many seconds. The others need no entry."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that none of them is what a run ends with.

    The order of other files, and that inside a file, stays as it was shuffled.
    """
    folder = Path(__file__).parent
    unknown = [file for file in _LONG if not (folder / file).is_file()]
    if unknown:
        raise pytest.UsageError(f"tests/conftest.py names files that are not there: {', '.join(unknown)}")
    items.sort(key=lambda item: -_LONG.get(os.path.relpath(item.path, folder), 0))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Set the random state before the fixtures of a test, and of its file when it is the first one."""
    _set_random_state()


@pytest.fixture(scope="session", autouse=True)
def short_commands_are_forks() -> Iterator[None]:
    """Start short commands in a fork of a process that has imported what they need."""
    with forked_commands():
        yield


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> None:
    """Log tracebacks in this process as Python prints them: with variables one takes a tenth of a second."""
    *others, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, renderer])


@pytest.fixture(autouse=True)
def same_random_state() -> None:
    """Set the random state before a test, whatever its fixtures have drawn."""
    _set_random_state()


def _set_random_state() -> None:
    random.seed(0)
    np.random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None:  # one that is imported later begins with a state of its own, which is the same each time
        # as `torch.manual_seed`, which also writes down the call stack for each kind of accelerator, in milliseconds
        torch.default_generator.manual_seed(0)


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
def home(make_brain: MakeBrain, tmp_path: Path) -> Brain:
    """Mark every process of a run that starts brains of its own, so that one that is left can be found."""
    return make_brain(TMPDIR=str(tmp_path), BRAINNET_STOP_GRACE_S="0.5")


@pytest.fixture
def answering(tmp_path: Path) -> Path:
    """Write the allocation of a small brain with one region, which repeats what it is asked."""
    return write_allocation(
        tmp_path / "allocation.yaml",
        node("prefrontal", "nodes/prefrontal/prefrontal.py"),
        node("memory_integrator", "nodes/memory_integrator/memory_integrator.py"),
        node("right", "Answers"),
    )


@pytest.fixture
async def small_brain() -> AsyncIterator[SmallBrain]:
    """Open the hub of a brain in this process."""
    async with contextlib.AsyncExitStack() as stack:
        port = free_port()
        stack.callback(open_hub([f"tcp/127.0.0.1:{port}"], []).close)
        yield SmallBrain(port, stack)

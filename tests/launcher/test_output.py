"""What becomes of the output of a launcher or a node has no influence on the brain."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from brainnet.testing import PATIENCE_S
from tests.launcher.processes import launcher_of, state_of, zygotes_of
from tests.launcher.streams import check_supervised, launched, stop
from tests.support import Brain, node

SNOW = "☃ die Kälte, το κρύο, 寒さ"


def test_a_reader_that_leaves(brain: Brain, allocation: Callable[..., Path]) -> None:
    with launched(brain, allocation(node("one")), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        assert launcher.stderr is not None
        assert launcher.stdout.readline()
        launcher.stdout.close()
        launcher.stderr.close()
        check_supervised(brain)
        stop(launcher)
    brain.wait_gone()


def test_a_reader_that_does_not_read(brain: Brain, allocation: Callable[..., Path]) -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.write(write, b"-" * 4096)  # the next write blocks
    with launched(brain, allocation(node("one")), stdout=write, stderr=write) as launcher:
        os.close(write)
        check_supervised(brain)
        stop(launcher)
    os.close(read)
    brain.wait_gone()


def test_a_full_disk(brain: Brain, allocation: Callable[..., Path]) -> None:
    with (
        Path("/dev/full").open("w") as full,
        launched(brain, allocation(node("one")), stdout=full, stderr=full) as done,
    ):
        check_supervised(brain)
        stop(done)
    brain.wait_gone()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("detach", ["", "--detach"])
def test_closed_streams(brain: Brain, allocation: Callable[..., Path], closed: str, detach: str) -> None:
    """The numbers of the closed ones are given to no file or socket of the brain."""
    shell = ["sh", "-c", f'exec "$@" {detach} {closed}', "sh"]
    with launched(brain, allocation(node("one")), *shell) as launcher:
        check_supervised(brain)
        for descriptor in (0, 1, 2):
            target = str(Path(f"/proc/{launcher_of(brain)}/fd/{descriptor}").readlink())
            assert target.startswith(("/dev/null", str(state_of(brain) / "logs"))), target
        brain.run("stop")
        launcher.wait(PATIENCE_S)
    brain.wait_gone()


@pytest.mark.parametrize(
    "encoding",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=str,
)
def test_encodings_that_lack_a_character(
    brain: Brain, allocation: Callable[..., Path], encoding: dict[str, str]
) -> None:
    brain.env |= encoding
    crash = {
        "program": "brainnet.testing.faults.crashes:CrashAtOnce",
        "parameters": {"message": SNOW},
        "restart": {"max_restarts": 0, "retry_failed_s": 0},
    }
    path = allocation({"id": "snow", **crash}, node("one"))
    with launched(brain, path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as launcher:
        assert SNOW in brain.wait_state("snow", "failed").reason
        check_supervised(brain)
        launcher.terminate()
        out, _ = launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == 0
    assert b"snow: failed" in out
    brain.wait_gone()


def test_a_hang_up_that_is_ignored_stays_ignored(brain: Brain, allocation: Callable[..., Path]) -> None:
    with launched(brain, allocation(node("one")), "nohup") as launcher:
        before = brain.wait_state("one", "ready").pid
        os.kill(launcher.pid, signal.SIGHUP)
        os.kill(zygotes_of(brain)[0], signal.SIGHUP)
        check_supervised(brain)  # the restart takes longer than the stop that began before it would
        assert launcher.poll() is None
        assert brain.pid("one") != before
        stop(launcher)

"""What becomes of the output of a launcher or a node has no influence on the brain."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brainnet.testing import PATIENCE_S, wait_until
from tests.launcher.processes import launcher_of, state_of, zygotes_of
from tests.support import Brain, node

SNOW = "☃ die Kälte, το κρύο, 寒さ"


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


@pytest.mark.parametrize("which", [["one.log"], ["launcher.log"], ["one.log", "launcher.log"]], ids=str)
@pytest.mark.parametrize("detach", [True, False])
def test_logs_on_a_full_disk(brain: Brain, allocation: Callable[..., Path], which: list[str], detach: bool) -> None:
    """A node that prints and logs becomes ready, and stays so."""
    folder = state_of(brain) / "logs"
    folder.mkdir(parents=True)
    for name in which:
        (folder / name).symlink_to("/dev/full")
    path = allocation(node("one", "talks"))
    if detach:
        brain.launch(path)
        check_supervised(brain)
        brain.run("stop")
    else:
        with launched(brain, path) as launcher:
            check_supervised(brain)
            stop(launcher)
    brain.wait_gone()


def test_a_log_file_that_cannot_be_opened_does_not_stop_a_node(brain: Brain, allocation: Callable[..., Path]) -> None:
    (state_of(brain) / "logs" / "one.log").mkdir(parents=True)
    brain.launch(allocation(node("one", "talks")))
    check_supervised(brain)


def test_log_files_stay_within_their_limit(brain: Brain, allocation: Callable[..., Path]) -> None:
    brain.env["BRAINNET_LOG_MAX_MB"] = "0.1"
    brain.launch(allocation(node("one")))
    log = state_of(brain) / "logs" / "one.log"
    following = brain.start("logs", "--follow", "--lines", "1", "one")
    assert following.stdout is not None
    assert following.stdout.readline()
    with log.open("a") as other:
        other.writelines(f"line {number} of a program that prints too much\n" for number in range(20_000))
    wait_until("the cut", lambda: log.stat().st_size < 50_000)
    kept = log.with_name("one.log.1")
    assert kept.stat().st_size <= 50_000
    assert kept.read_text().splitlines()[-1] == "line 19999 of a program that prints too much"
    # what is written afterwards is seen by whoever follows, and by the launcher as the reason of an end
    with log.open("a") as other:
        other.write("terminate called: the device is on fire\n")
    assert any("on fire" in line for line in iter(following.stdout.readline, ""))
    pid = brain.pid("one")
    os.kill(pid, signal.SIGKILL)
    assert "on fire" in brain.wait_state("one", "ready", but_pid=pid).reason
    assert any(row.get("text", "").startswith("line 19999") for row in brain.rows("logs", "one", "--lines", "0"))

"""Log files that cannot be written, or grow too much, have no influence on the brain."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from brainnet.testing import wait_until
from tests.launcher.processes import state_of
from tests.launcher.streams import check_supervised, launched, stop
from tests.support import Brain, node


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

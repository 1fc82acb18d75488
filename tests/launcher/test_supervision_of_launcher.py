"""A launcher that is frozen or was killed: commands say so at once, and what is left can be ended."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from brainnet.testing import PATIENCE_S, wait_until
from tests.launcher.processes import launcher_of, zygotes_of
from tests.support import Brain, node


@pytest.fixture
def frozen(brain: Brain, allocation: Callable[..., Path]) -> Brain:
    """A brain whose launcher is frozen."""
    brain.launch(allocation(node("one"), node("two", "IgnoresSignals")))
    os.kill(launcher_of(brain), signal.SIGSTOP)
    return brain


@pytest.fixture
def orphaned(brain: Brain, allocation: Callable[..., Path]) -> Brain:
    """A brain whose launcher was killed while its zygote and one of its nodes were frozen."""
    brain.launch(allocation(node("one"), node("two")))
    (zygote,) = zygotes_of(brain)
    launcher = launcher_of(brain)
    for pid in (zygote, brain.pid("one")):
        os.kill(pid, signal.SIGSTOP)
    os.kill(launcher, signal.SIGKILL)
    wait_until("the end of the others", lambda: sorted(brain.processes().values()) == ["brainnet-zygote", "one"])
    return brain


class TestFrozen:
    def test_commands_say_that_the_launcher_is_frozen_and_stop_ends_it(self, frozen: Brain, tmp_path: Path) -> None:
        """One brain for all of them, since none but the last changes it."""
        launcher = launcher_of(frozen)
        verbs = ["status", "prompt hello", "node list", "node info one", "node restart one", "topic list"]
        for words in verbs:
            failed = frozen.run(*words.split(), check=False)
            assert failed.returncode == 1, words
            assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr
            for said in (f"launcher {launcher}", "frozen", f"kill -CONT {launcher}", "brainnet stop"):
                assert said in failed.stderr, words
        # what is in the files needs no launcher
        following = frozen.start("logs", "--follow", "one")
        assert following.stdout is not None
        assert following.stdout.readline()
        following.kill()
        following.wait()
        failed = frozen.run("launch", str(tmp_path / "allocation.yaml"), "--detach", check=False)
        assert failed.returncode == 1
        assert "already running" in failed.stderr
        assert "frozen" in failed.stderr
        frozen.run("stop")
        assert frozen.processes() == {}
        frozen.wait_gone()

    def test_it_goes_on_when_it_is_continued(self, frozen: Brain) -> None:
        os.kill(launcher_of(frozen), signal.SIGCONT)
        nodes = frozen.nodes()
        assert {(record.state, record.restarts) for record in nodes.values()} == {("ready", 0)}


class TestOrphans:
    def test_a_launch_refuses_and_names_them_and_ends_them_when_it_is_told_to(
        self, orphaned: Brain, tmp_path: Path
    ) -> None:
        failed = orphaned.run("launch", str(tmp_path / "allocation.yaml"), "--detach", check=False)
        assert failed.returncode == 1
        assert len(failed.stderr.strip().splitlines()) == 1
        for pid in orphaned.processes():
            assert str(pid) in failed.stderr
        for said in ("earlier launcher", "--end-orphans", "brainnet stop"):
            assert said in failed.stderr

        # in the foreground, too
        failed = orphaned.run("launch", str(tmp_path / "allocation.yaml"), check=False)
        assert failed.returncode == 1
        assert "--end-orphans" in failed.stderr
        left = orphaned.processes()
        orphaned.launch(tmp_path / "allocation.yaml", "--end-orphans")
        assert not left.keys() & orphaned.processes().keys()
        assert {record.state for record in orphaned.nodes().values()} == {"ready"}

    def test_a_launch_asks_on_a_terminal(self, orphaned: Brain, tmp_path: Path) -> None:
        ours, theirs = pty.openpty()
        try:
            launching = subprocess.Popen(
                orphaned.command("launch", str(tmp_path / "allocation.yaml"), "--detach"),
                env=orphaned.env,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
            os.close(theirs)
            os.set_blocking(ours, False)
            shown = b""

            def asked() -> bool:
                nonlocal shown
                with contextlib.suppress(BlockingIOError):
                    shown += os.read(ours, 4096)
                return b"[y/N]" in shown

            wait_until("the question", asked)
            os.write(ours, b"y\n")
            assert launching.wait(PATIENCE_S) == 0
        finally:
            os.close(ours)
        assert {record.state for record in orphaned.nodes().values()} == {"ready"}

    def test_stop_ends_them_and_leaves_alone_what_else_writes_to_a_log_file(self, orphaned: Brain) -> None:
        log = next(orphaned.home.rglob("one.log"))
        with log.open("a") as file, subprocess.Popen(["sleep", "1000"], stdout=file, stderr=file) as other:
            done = orphaned.run("stop")
            assert other.poll() is None
            other.kill()
        assert "earlier launcher" in done.stderr
        assert orphaned.processes() == {}

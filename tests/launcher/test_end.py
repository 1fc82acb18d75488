"""Ends leave nothing behind: stops, signals and kills, with real processes over real Zenoh."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from brainnet.testing import PATIENCE_S
from tests.support import Brain, MakeBrain, node


class TestEnd:
    def test_what_a_node_started_ends_with_it(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.launch_foreground(allocation(node("one", "parent", restart={"policy": "never"})))
        brain.wait_state("one", "failed")
        assert "sleep" not in brain.processes().values()

    def test_a_killed_launcher_leaves_no_process(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        launcher = brain.launch_foreground(allocation(node("one"), node("two", "IgnoresSignals")))
        for id in ("one", "two"):
            brain.wait_state(id, "ready")
        launcher.kill()
        launcher.wait(PATIENCE_S)
        brain.wait_gone()

    def test_launcher_and_zygote_killed_together_leave_no_process(
        self, brain: Brain, allocation: Callable[..., Path]
    ) -> None:
        launcher = brain.launch_foreground(allocation(node("one", "IgnoresSignals")))
        brain.wait_state("one", "ready")
        (zygote,) = (pid for pid, name in brain.processes().items() if name == "brainnet-zygote"[:15])
        launcher.kill()
        with contextlib.suppress(ProcessLookupError):  # it may have seen the launcher end, and have ended
            os.kill(zygote, signal.SIGKILL)
        launcher.wait(PATIENCE_S)
        brain.wait_gone()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_is_an_orderly_stop(
        self, brain: Brain, allocation: Callable[..., Path], number: signal.Signals
    ) -> None:
        launcher = brain.launch_foreground(allocation(node("one")))
        brain.wait_state("one", "ready")
        launcher.send_signal(number)
        out, err = launcher.communicate(timeout=PATIENCE_S)
        assert launcher.returncode == 0, err
        assert "one: stopped" in out
        brain.wait_gone()

    def test_a_node_that_ignores_signals_is_killed(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.launch(allocation(node("one", "IgnoresSignals"), node("two")))
        brain.run("stop")
        assert brain.processes() == {}

    def test_a_second_ctrl_c_does_not_wait(self, make_brain: MakeBrain, allocation: Callable[..., Path]) -> None:
        brain = make_brain(BRAINNET_STOP_GRACE_S="60")
        launcher = brain.launch_foreground(allocation(node("one", "IgnoresSignals")))
        brain.wait_state("one", "ready")
        launcher.send_signal(signal.SIGINT)
        brain.wait_state("one", "stopping")
        launcher.send_signal(signal.SIGINT)
        launcher.communicate(timeout=PATIENCE_S)
        brain.wait_gone()

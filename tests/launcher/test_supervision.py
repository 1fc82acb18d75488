"""Watching and restarting, with real processes over real Zenoh."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import Brain, node

NO_WAIT = {"backoff_s": 0.05, "max_backoff_s": 0.1, "max_restarts": 2, "retry_failed_s": 0}


class TestSupervision:
    def test_a_killed_node_comes_back(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.launch(allocation(node("one"), node("two")))
        before = brain.nodes()
        os.kill(brain.pid("one"), signal.SIGKILL)
        after = brain.wait_state("one", "ready", but_pid=before["one"].pid)
        assert after.restarts == 1
        assert "SIGKILL" in after.reason
        assert brain.nodes()["two"].pid == before["two"].pid

    def test_a_frozen_node_is_replaced(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.launch(allocation(node("one")))
        pid = brain.pid("one")
        os.kill(pid, signal.SIGSTOP)
        after = brain.wait_state("one", "ready", but_pid=pid)
        assert "no heartbeat" in after.reason
        assert pid not in brain.processes()

    def test_a_crash_loop_ends_in_failed_and_the_others_go_on(
        self, brain: Brain, allocation: Callable[..., Path]
    ) -> None:
        brain.launch_foreground(allocation(node("bad", "CrashAtOnce", restart=NO_WAIT), node("good")))
        failed = brain.wait_state("bad", "failed")
        assert failed.restarts == NO_WAIT["max_restarts"]
        assert failed.exit_code == 3
        assert "segment 4 is out of spikes" in failed.reason
        assert brain.wait_state("good", "ready").restarts == 0

    @pytest.mark.parametrize(
        ("policy", "exit_code", "state"),
        [("never", 3, "failed"), ("never", 0, "stopped"), ("on-failure", 0, "stopped")],
    )
    def test_a_policy_that_does_not_restart(
        self, brain: Brain, allocation: Callable[..., Path], policy: str, exit_code: int, state: str
    ) -> None:
        bad = node("one", "CrashAtOnce", parameters={"exit_code": exit_code}, restart={"policy": policy})
        brain.launch_foreground(allocation(bad))
        assert brain.wait_state("one", state).restarts == 0

    def test_restart_and_stop_of_one_node(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.launch(allocation(node("one"), node("two")))
        before = brain.nodes()
        brain.run("node", "restart", "one")
        restarted = brain.nodes()["one"]
        assert restarted.state == "ready"
        assert restarted.pid != before["one"].pid
        brain.run("node", "stop", "one")
        assert brain.nodes()["one"].state == "stopped"
        assert before["one"].pid not in brain.processes()
        brain.run("node", "restart", "one")
        after = brain.nodes()
        assert after["one"].state == "ready"
        assert after["two"].pid == before["two"].pid

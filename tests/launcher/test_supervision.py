"""Launching, watching, restarting and stopping, with real processes over real Zenoh."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainnet.testing import PATIENCE_S, free_port, wait_until
from tests.support import Brain, MakeBrain, node

NO_WAIT = {"backoff_s": 0.05, "max_backoff_s": 0.1, "max_restarts": 2, "retry_failed_s": 0}


def logged(brain: Brain, id: str, event: str) -> dict[str, Any]:
    return next(row for row in brain.rows("logs", id) if row.get("event") == event)


class TestLaunch:
    def test_detach_returns_when_every_node_is_ready(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        done = brain.launch(allocation(node("one"), node("two")))
        assert "2 nodes ready" in done.stderr
        nodes = brain.nodes()
        assert set(nodes) == {"one", "two"}
        for record in nodes.values():
            assert record.state == "ready"
            assert record.pid in brain.processes()
            assert record.memory_bytes > 1_000_000
            assert record.restarts == 0

    def test_stop_returns_when_nothing_is_left(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.launch(allocation(node("one")))
        brain.run("stop")
        assert brain.processes() == {}
        brain.wait_gone()
        again = brain.run("stop", check=False)
        assert again.returncode == 1
        assert "no brain runs" in again.stderr

    def test_a_brain_can_be_launched_again_at_once(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        for _ in range(2):
            brain.launch(allocation(node("one")))
            brain.run("stop")

    def test_a_second_launch_of_the_same_brain_is_refused(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        path = allocation(node("one"))
        brain.launch(path)
        second = brain.run("launch", str(path), "--detach", check=False)
        assert second.returncode == 1
        assert "already running" in second.stderr
        assert brain.nodes()["one"].state == "ready"

    def test_a_port_in_use_is_one_error_that_names_it(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        with socket.create_server(("127.0.0.1", brain.port)):
            failed = brain.run("launch", str(allocation(node("one"))), "--detach", check=False)
        assert failed.returncode == 1
        assert str(brain.port) in failed.stderr
        assert "--port" in failed.stderr
        assert brain.processes() == {}

    def test_two_brains_side_by_side(self, make_brain: MakeBrain, allocation: Callable[..., Path]) -> None:
        path = allocation(node("one"))
        first, second = make_brain(), make_brain()
        second.env["XDG_STATE_HOME"] = first.env["XDG_STATE_HOME"]
        first.launch(path)
        second.launch(path, "--namespace", "other")
        second.run("stop", "--namespace", "other")
        assert first.nodes()["one"].state == "ready"

    def test_a_port_option_wins_over_the_allocation(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        other = free_port()
        del brain.env["BRAINNET_PORT"]
        brain.launch(allocation(node("one"), port=free_port(), namespace="named"), "--port", str(other))
        (row,) = brain.rows("status", "--port", str(other), "--namespace", "named")
        assert row["id"] == "one"

    def test_only_some_nodes(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        path = allocation(node("one"), node("two"), node("three"))
        brain.launch(path, "--only", "one,three")
        assert set(brain.nodes()) == {"one", "three"}

    def test_each_process_gets_what_its_entry_says(
        self, brain: Brain, allocation: Callable[..., Path], tmp_path: Path
    ) -> None:
        weights = tmp_path / "weights.bin"
        weights.write_bytes(b"w")
        cpu = min(os.sched_getaffinity(0))
        one = node(
            "one",
            "surroundings",
            threads=2,
            cpu_affinity=[cpu],
            checkpoint="weights.bin",
            environment={"COLOUR": "red"},
        )
        brain.launch(allocation(one, node("two", "surroundings")))
        first, second = logged(brain, "one", "surroundings"), logged(brain, "two", "surroundings")
        assert (first["variable"], second["variable"]) == ("red", None)
        assert (first["threads"], second["threads"]) == ("2", "1")
        assert first["cpus"] == [cpu]
        assert (first["checkpoint"], second["checkpoint"]) == (str(weights), "None")
        assert first["leader"]
        assert first["draw"][0] != second["draw"][0]
        assert first["draw"][1] != second["draw"][1]


class TestFailedLaunch:
    def expect(self, brain: Brain, path: Path, *texts: str) -> None:
        failed = brain.run("launch", str(path), "--detach", check=False)
        assert failed.returncode == 1
        for text in texts:
            assert text in failed.stderr
        assert "Traceback" not in failed.stderr
        assert brain.processes() == {}

    def test_a_program_that_ends(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        self.expect(brain, allocation(node("good"), node("bad", "exits")), "bad", "7", "the sensor is not plugged in")

    def test_a_parameter_of_the_wrong_type(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        path = allocation(node("one", parameters={"gain": "loud"}))
        self.expect(brain, path, "one", "gain", "valid number", "'loud'")

    def test_a_model_that_never_loads(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.env["BRAINNET_READY_TIMEOUT_S"] = "1"
        self.expect(brain, allocation(node("slow", "HangInLoad")), "slow", "not ready after 1 s")

    def test_a_preload_that_is_not_there(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        self.expect(brain, allocation(node("one"), preload=["no_such_library"]), "preload", "no_such_library")

    def test_ctrl_c_while_waiting_leaves_nothing(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        launching = brain.start("launch", str(allocation(node("slow", "HangInLoad"))), "--detach")
        wait_until("the node's process", lambda: "slow" in brain.processes().values())
        launching.send_signal(signal.SIGINT)
        assert launching.wait(PATIENCE_S) == 130
        brain.wait_gone()


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

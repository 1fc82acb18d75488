"""Launching, and launches that fail, with real processes over real Zenoh."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brainnet.testing import PATIENCE_S, free_port, wait_until
from tests.support import Brain, MakeBrain, node


def logged(brain: Brain, id: str, event: str) -> dict[str, Any]:
    return next(row for row in brain.rows("logs", id) if row.get("event") == event)


class TestLaunch:
    def test_detach_returns_when_every_node_is_ready_and_stop_when_nothing_is_left(
        self, brain: Brain, allocation: Callable[..., Path]
    ) -> None:
        path = allocation(node("one"), node("two"))
        for _ in range(2):  # it can be launched again at once
            done = brain.launch(path)
            assert "2 nodes ready" in done.stderr
            nodes = brain.nodes()
            assert set(nodes) == {"one", "two"}
            for record in nodes.values():
                assert record.state == "ready"
                assert record.pid in brain.processes()
                assert record.memory_bytes > 1_000_000
                assert record.restarts == 0
            brain.run("stop")
            assert brain.processes() == {}
        brain.wait_gone()
        again = brain.run("stop", check=False)
        assert again.returncode == 1
        assert "no brain runs" in again.stderr

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
        brain.env["BRAINNET_READY_TIMEOUT_S"] = "10"  # long enough for what the process of the node needs before
        self.expect(brain, allocation(node("slow", "HangInLoad")), "slow", "not ready after 10 s")

    def test_a_preload_that_is_not_there(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        self.expect(brain, allocation(node("one"), preload=["no_such_library"]), "preload", "no_such_library")

    def test_ctrl_c_while_waiting_leaves_nothing(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        launching = brain.start("launch", str(allocation(node("slow", "HangInLoad"))), "--detach")
        wait_until("the node's process", lambda: "slow" in brain.processes().values())
        launching.send_signal(signal.SIGINT)
        assert launching.wait(PATIENCE_S) == 130
        brain.wait_gone()

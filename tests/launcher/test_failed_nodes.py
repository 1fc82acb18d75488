"""A node that fails says why, is tried again with growing pauses, and says what can be done."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainnet.errors import LaunchError
from brainnet.launcher.run.managed_node import ManagedNode
from brainnet.node.spec import NodeSpec, Restart
from brainnet.testing import until, wait_until
from brainnet.wire.messages import NodeRecord
from tests.support import Brain, node


def restart(**more: Any) -> dict[str, Any]:
    return {"backoff_s": 0.05, "max_backoff_s": 0.1, "max_restarts": 2, **more}


class TestFailedNode:
    def test_it_is_tried_again_and_again(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        path = allocation(node("bad", "CrashAtOnce", restart=restart(retry_failed_s=0.05)), node("good"))
        brain.launch_foreground(path)

        def tried_again() -> NodeRecord | None:
            record = brain.nodes().get("bad")
            return record if record is not None and record.restarts >= 5 else None

        record = wait_until("more tries than the window allows", tried_again)
        assert record.starts >= 5
        assert brain.wait_state("good", "ready").restarts == 0

    def test_status_says_why_and_when_and_what_to_do(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.launch_foreground(allocation(node("bad", "CrashAtOnce", restart=restart(retry_failed_s=600))))
        brain.wait_state("bad", "failed")
        (row,) = brain.rows("status")
        assert row["state"] == "failed"
        assert "segment 4 is out of spikes" in row["reason"]
        assert 500 < row["next_start_s"] <= 600
        assert "brainnet node restart bad" in row["advice"]
        assert "brainnet logs bad" in row["advice"]
        shown = " ".join(brain.run("status").stdout.split())
        for said in ("failed", "segment 4", "next start in", "brainnet node restart bad"):
            assert said in shown

    def test_one_that_is_killed_says_what_it_said_last(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.launch(allocation(node("one", restart={"policy": "never"})))
        with next(brain.home.rglob("one.log")).open("a") as log:
            log.write("terminate called: the device is on fire\n")
        os.kill(brain.pid("one"), signal.SIGKILL)
        reason = brain.wait_state("one", "failed").reason
        assert "SIGKILL" in reason
        assert "the device is on fire" in reason
        assert brain.nodes()["one"].next_start_s is None

    def test_a_restart_by_hand_does_not_wait(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.launch(allocation(node("one", "Answers", restart={"max_restarts": 0, "retry_failed_s": 600})))
        os.kill(brain.pid("one"), signal.SIGKILL)
        brain.wait_state("one", "failed")
        brain.run("node", "restart", "one")
        assert brain.nodes()["one"].state == "ready"

    def test_a_restart_by_hand_that_fails_says_why(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        at_once = restart(max_restarts=0, retry_failed_s=600)
        brain.launch_foreground(allocation(node("bad", "exits", restart=at_once)))
        brain.wait_state("bad", "failed")
        failed = brain.run("node", "restart", "bad", check=False)
        assert failed.returncode == 1
        assert "the sensor is not plugged in" in failed.stderr

    def test_one_that_is_stopped_stays_stopped(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        path = allocation(
            node("waits", "CrashAtOnce", restart=restart(retry_failed_s=600)),
            node("failed", "CrashAtOnce", restart=restart(retry_failed_s=0)),
        )
        brain.launch_foreground(path)
        for id in ("waits", "failed"):
            brain.wait_state(id, "failed")
            brain.run("node", "stop", id)
            record = brain.nodes()[id]
            assert (record.state, record.next_start_s, record.advice) == ("stopped", None, "")


class TestReportedFailure:
    @pytest.mark.parametrize("policy", ["always", "on-failure"])
    def test_it_is_restarted_and_its_reason_is_shown(
        self, brain: Brain, allocation: Callable[..., Path], policy: str
    ) -> None:
        brain.launch_foreground(allocation(node("one", "fails", restart=restart(policy=policy, retry_failed_s=600))))
        record = brain.wait_state("one", "failed")
        assert (record.reason, record.restarts, record.exit_code) == ("the sensor is gone", 2, 1)

    def test_one_that_does_not_end_after_its_report_is_ended(
        self, brain: Brain, allocation: Callable[..., Path]
    ) -> None:
        never = {"policy": "never"}
        brain.launch_foreground(allocation(node("one", "fails", parameters={"hang": True}, restart=never)))
        assert brain.wait_state("one", "failed").reason == "the sensor is gone"
        assert "one" not in brain.processes().values()


class TestWhyDown:
    async def test_a_node_that_cannot_be_made(self, tmp_path: Path) -> None:
        def spawn(*_: Any) -> Any:
            raise LaunchError("Too many open files")

        policy = Restart(max_restarts=1, retry_failed_s=600)
        spec = NodeSpec(id="one", program="one.py", restart=policy)
        managed = ManagedNode(spec, tmp_path / "one.log", spawn, lambda record: None)
        assert managed.why_down is None  # it is about to be started
        supervising = asyncio.create_task(managed.supervise())
        await until("the failure", lambda: managed.record.state == "failed")
        why = managed.why_down
        assert why is not None
        assert why.startswith("one is failed: Too many open files; next start in ")
        assert managed.next_start_s is not None
        await managed.stop(1.0, "stop asked for")
        assert managed.why_down == "one is stopped: stop asked for"
        assert managed.next_start_s is None
        supervising.cancel()

"""A node that fails says why, is tried again with growing pauses, and says what can be done."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brainnet.errors import LaunchError
from brainnet.launcher.run.managed_node import ManagedNode
from brainnet.node.spec import NodeSpec, Restart
from brainnet.testing import until, wait_until
from brainnet.wire.messages import NodeRecord
from tests.support import Brain, node, write_allocation

POLICIES = ["always", "on-failure"]


def restart(**more: Any) -> dict[str, Any]:
    return {"backoff_s": 0.05, "max_backoff_s": 0.1, "max_restarts": 2, **more}


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brain]:
    """A brain with a node, and nothing but it, for each test that asks for it."""
    folder = tmp_path_factory.mktemp("failing")
    late, at_once = restart(retry_failed_s=3600), restart(max_restarts=0, retry_failed_s=600)
    path = write_allocation(
        folder / "allocation.yaml",
        node("bad", "CrashAtOnce", restart=late),
        node("killed", restart={"policy": "never"}),
        node("answers", "Answers", restart={"max_restarts": 0, "retry_failed_s": 600}),
        node("exits", "exits", restart=at_once),
        node("waits", "CrashAtOnce", restart=late),
        node("failed", "CrashAtOnce", restart=restart(retry_failed_s=0)),
        *(node(policy, "fails", restart=restart(policy=policy, retry_failed_s=600)) for policy in POLICIES),
        node("hangs", "fails", parameters={"hang": True}, restart={"policy": "never"}),
    )
    with Brain(folder / "brain", BRAINNET_STOP_GRACE_S="0.5") as brain:
        brain.launch_foreground(path)
        for id in ("killed", "answers"):
            brain.wait_state(id, "ready")
        yield brain


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

    def test_status_says_why_and_when_and_what_to_do(self, failing: Brain) -> None:
        failing.wait_state("bad", "failed")
        row = failing.status()["bad"]
        assert row["state"] == "failed"
        assert "segment 4 is out of spikes" in row["reason"]
        assert 3000 < row["next_start_s"] <= 3600
        assert "brainnet node restart bad" in row["advice"]
        assert "brainnet logs bad" in row["advice"]
        shown = " ".join(failing.run("status").stdout.split())
        for said in ("failed", "segment 4", "next start in", "brainnet node restart bad"):
            assert said in shown

    def test_one_that_is_killed_says_what_it_said_last(self, failing: Brain) -> None:
        with next(failing.home.rglob("killed.log")).open("a") as log:
            log.write("terminate called: the device is on fire\n")
        os.kill(failing.pid("killed"), signal.SIGKILL)
        reason = failing.wait_state("killed", "failed").reason
        assert "SIGKILL" in reason
        assert "the device is on fire" in reason
        assert failing.nodes()["killed"].next_start_s is None

    def test_a_restart_by_hand_does_not_wait(self, failing: Brain) -> None:
        os.kill(failing.pid("answers"), signal.SIGKILL)
        failing.wait_state("answers", "failed")
        failing.run("node", "restart", "answers")
        assert failing.nodes()["answers"].state == "ready"

    def test_a_restart_by_hand_that_fails_says_why(self, failing: Brain) -> None:
        failing.wait_state("exits", "failed")
        failed = failing.run("node", "restart", "exits", check=False)
        assert failed.returncode == 1
        assert "the sensor is not plugged in" in failed.stderr

    def test_one_that_is_stopped_stays_stopped(self, failing: Brain) -> None:
        for id in ("waits", "failed"):
            failing.wait_state(id, "failed")
            failing.run("node", "stop", id)
            record = failing.nodes()[id]
            assert (record.state, record.next_start_s, record.advice) == ("stopped", None, "")


class TestReportedFailure:
    @pytest.mark.parametrize("policy", POLICIES)
    def test_it_is_restarted_and_its_reason_is_shown(self, failing: Brain, policy: str) -> None:
        record = failing.wait_state(policy, "failed")
        assert (record.reason, record.restarts, record.exit_code) == ("the sensor is gone", 2, 1)

    def test_one_that_does_not_end_after_its_report_is_ended(self, failing: Brain) -> None:
        assert failing.wait_state("hangs", "failed").reason == "the sensor is gone"
        assert "hangs" not in failing.processes().values()


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

"""Faults of the nodes that come along: each kind is noticed and replaced."""

from __future__ import annotations

import os
import signal

from tests.support import Brain


def test_every_kind_of_node_that_freezes_is_replaced(brain: Brain) -> None:
    brain.launch()
    before = brain.nodes()
    assert len(before) == 8
    for record in before.values():
        assert record.pid is not None
        os.kill(record.pid, signal.SIGSTOP)
    for id, record in before.items():
        after = brain.wait_state(id, "ready", but_pid=record.pid)
        assert "no heartbeat" in after.reason
    assert not {record.pid for record in before.values()} & brain.processes().keys()
    brain.run("stop")
    assert brain.processes() == {}

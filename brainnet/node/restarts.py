"""What the supervisors say about nodes that are away: which are being started again, and why others are not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from brainnet.bus import Bus
from brainnet.wire.keys import key
from brainnet.wire.messages import HostStatus, NodeRecord, NodeState, StatusQuery

_DOWN: Final[tuple[NodeState, ...]] = ("failed", "stopped", "backoff")


@dataclass(frozen=True)
class Restarts:
    """The records of all nodes, by id, as the supervisors gave them.

    Attributes:
        nodes: The records; empty when no supervisor replied.
    """

    nodes: Mapping[str, NodeRecord] = field(default_factory=dict)

    def start_in_s(self, node_id: str) -> float:
        """Return the seconds until the process of a node runs or is started; infinity when no start is due.

        Zero for a node that runs, starts, or is being ended after it was frozen.
        """
        record = self.nodes.get(node_id)
        if record is None or record.state in _DOWN:
            due = None if record is None else record.next_start_s
            return math.inf if due is None else due
        return 0.0

    def why_down(self, node_id: str) -> str:
        """Return why a node does not run and what to do, as one sentence; empty when it runs or is not known."""
        record = self.nodes.get(node_id)
        why = "" if record is None else why_down(record)
        return f"{why}; {record.advice}" if record is not None and why and record.advice else why


def why_down(record: NodeRecord) -> str:
    """Return why a node does not run and when it is started again, as one sentence; empty when it runs."""
    if record.state not in _DOWN:
        return ""
    state = "waits for its next start" if record.state == "backoff" else f"is {record.state}"
    due = "" if record.next_start_s is None else f"; next start in {record.next_start_s:.0f} s"
    return f"{record.id} {state}{': ' + record.reason if record.reason else ''}{due}"


async def ask_restarts(bus: Bus, timeout: float = 1.0) -> Restarts:
    """Ask the supervisors of all hosts about their nodes; who does not reply in time is left out."""
    replies = await bus.call_all(key("host_status"), StatusQuery(), timeout=timeout)
    statuses = [reply.message for reply in replies if isinstance(reply.message, HostStatus)]
    return Restarts({record.id: record for status in statuses for record in status.nodes})

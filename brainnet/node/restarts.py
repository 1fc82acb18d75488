"""What the supervisors say about nodes that are away: which are being started again, and why others are not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from brainnet.bus import Bus
from brainnet.wire.keys import key
from brainnet.wire.messages import HostStatus, NodeRecord, StatusQuery


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
        if record is None or record.state in ("failed", "stopped", "backoff"):
            due = None if record is None else record.next_start_s
            return math.inf if due is None else due
        return 0.0

    def why_down(self, node_id: str) -> str:
        """Return why a node does not run and what to do, as one sentence; empty when it runs or is not known."""
        record = self.nodes.get(node_id)
        if record is None or record.state not in ("failed", "stopped", "backoff"):
            return ""
        parts = [f"{node_id} is {record.state}" if record.state != "backoff" else f"{node_id} waits for its next start"]
        if record.reason:
            parts[0] += f": {record.reason}"
        if record.next_start_s is not None:
            parts.append(f"next start in {record.next_start_s:.0f} s")
        if record.advice:
            parts.append(record.advice)
        return "; ".join(parts)


async def ask_restarts(bus: Bus, timeout: float = 1.0) -> Restarts:
    """Ask the supervisors of all hosts about their nodes; who does not reply in time is left out."""
    replies = await bus.call_all(key("host_status"), StatusQuery(), timeout=timeout)
    statuses = [reply.message for reply in replies if isinstance(reply.message, HostStatus)]
    return Restarts({record.id: record for status in statuses for record in status.nodes})

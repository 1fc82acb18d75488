"""What the supervisors say about nodes that are away: which are being started again, and why others are not."""

from __future__ import annotations

import math
import time
from typing import Final

from brainnet.bus import Bus
from brainnet.wire.keys import key
from brainnet.wire.messages import HostStatus, NodeRecord, NodeState, StatusQuery

_DOWN: Final[tuple[NodeState, ...]] = ("failed", "stopped", "backoff")
KEEP_S: Final = 5.0
"""Seconds for which what a supervisor said about its nodes holds: longer than it takes a busy machine to reply."""


class Restarts:
    """What the supervisors of all hosts said about their nodes. Not thread-safe.

    A supervisor that does not reply in time, on a busy machine, has not said that its nodes are gone: what it said last
    holds for `keep_s` seconds. While none has replied for longer, nothing is known.

    Args:
        bus: A bus whose role may ask the supervisors.
        keep_s: Seconds for which what a supervisor said holds.

    Attributes:
        known: Whether a supervisor has replied, or there is none; False while a reply is awaited.
    """

    def __init__(self, bus: Bus, keep_s: float = KEEP_S) -> None:
        self.known = False
        self._bus = bus
        self._keep_s = keep_s
        self._heard: dict[tuple[str, str], tuple[float, dict[str, NodeRecord]]] = {}

    async def ask(self, timeout: float = 1.0) -> None:
        """Ask the supervisors of all hosts about their nodes; what those say that do not reply in time is kept."""
        asked = time.monotonic()
        replies = await self._bus.call_all(key("host_status"), StatusQuery(), timeout=timeout)
        now = time.monotonic()
        for reply in replies:
            if isinstance(reply.message, HostStatus):
                status = reply.message
                self._heard[status.namespace, status.host] = now, {record.id: record for record in status.nodes}
        self._heard = {name: heard for name, heard in self._heard.items() if now - heard[0] < self._keep_s}
        # Where nobody serves the query it ends at once: that is a reply too. One that took all its time is none.
        self.known = bool(self._heard) or now - asked < timeout

    @property
    def nodes(self) -> dict[str, NodeRecord]:
        """The records of all nodes, by id; empty while nothing is known."""
        return {name: record for _, records in self._heard.values() for name, record in records.items()}

    def start_in_s(self, node_id: str) -> float:
        """Return the seconds until the process of a node runs or is started; infinity when no start is due.

        Zero for a node that runs, starts, or is being ended after it was frozen.
        """
        record = self._record(node_id)
        if record is None or record.state in _DOWN:
            due = None if record is None else record.next_start_s
            return math.inf if due is None else due
        return 0.0

    def why_down(self, node_id: str) -> str:
        """Return why a node does not run and what to do, as one sentence; empty when it runs or is not known."""
        record = self._record(node_id)
        why = "" if record is None else why_down(record)
        return f"{why}; {record.advice}" if record is not None and why and record.advice else why

    def _record(self, node_id: str) -> NodeRecord | None:
        return next((records[node_id] for _, records in self._heard.values() if node_id in records), None)


def why_down(record: NodeRecord) -> str:
    """Return why a node does not run and when it is started again, as one sentence; empty when it runs."""
    if record.state not in _DOWN:
        return ""
    state = "waits for its next start" if record.state == "backoff" else f"is {record.state}"
    due = "" if record.next_start_s is None else f"; next start in {record.next_start_s:.0f} s"
    return f"{record.id} {state}{': ' + record.reason if record.reason else ''}{due}"

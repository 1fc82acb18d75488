"""The traffic of a brain, from the counters of every node."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from brainnet.bus import Bus
from brainnet.errors import TopicError
from brainnet.observe import keys
from brainnet.wire.keys import key
from brainnet.wire.messages import Health, HostStatus, StatusQuery, TopicCount
from brainnet.wire.topics import Contract, Topic


@dataclass
class Flow:
    """Traffic on one key: counts and rates of its publishers, drops and gaps of all nodes."""

    key: str
    topic: str = ""
    payload: str = ""
    plane: str = "data"
    publishers: set[str] = field(default_factory=set)
    subscribers: set[str] = field(default_factory=set)
    rate_hz: float = 0.0
    bytes_per_s: float = 0.0
    count: int = 0
    dropped: int = 0
    lost: int = 0
    malformed: int = 0

    @classmethod
    def of(cls, key: str, contract: Contract) -> Flow:
        """Return the flow of a key, or key expression, without any traffic yet."""
        try:
            topic: Topic | None = contract.find(key)
        except TopicError:
            topic = next(iter(contract.covering(key)), None) if "*" in key else None
        return cls(key) if topic is None else cls(key, topic.name, topic.payload, topic.plane)

    def add(self, node: str, row: TopicCount) -> None:
        """Add the counters of one node on this key."""
        self.dropped += row.dropped
        self.lost += row.lost
        self.malformed += row.malformed
        if row.direction == "out":
            self.publishers.add(node)
            self.count += row.count
            self.rate_hz += row.rate_hz
            self.bytes_per_s += row.bytes_per_s
        else:
            self.subscribers.add(node)


@dataclass
class Traffic:
    """The flows of a brain, and the nodes whose counters they are."""

    flows: list[Flow]
    nodes: list[str]


async def collect(bus: Bus, *, timeout: float = 0.5) -> Traffic:
    """Query the counters of every node and launcher; one that does not reply within `timeout` seconds is left out."""
    asked = [bus.call_all(key(topic), StatusQuery(), timeout=timeout) for topic in ("node_status", "host_status")]
    replies = [reply.message for part in await asyncio.gather(*asked) for reply in part]
    reports = [(reply.node_id, reply.topics) for reply in replies if isinstance(reply, Health)]
    reports += [(f"launcher@{reply.host}", reply.topics) for reply in replies if isinstance(reply, HostStatus)]
    flows: dict[str, Flow] = {}
    for name, rows in reports:
        for row in rows:
            if keys.expression_of(row.key) is None:  # what a node reports need not be true
                continue
            if row.key not in flows:
                flows[row.key] = Flow.of(row.key, bus.contract)
            flows[row.key].add(name, row)
    _merge_wildcards(flows)
    return Traffic(sorted(flows.values(), key=lambda flow: flow.key), [name for name, _ in reports])


def _merge_wildcards(flows: dict[str, Flow]) -> None:
    """Add the subscribers of a key expression to the keys that it includes.

    The expression remains a flow of its own only if it includes no key, or if its mailbox dropped messages.
    """
    import zenoh

    concrete = [(zenoh.KeyExpr(flow.key), flow) for flow in flows.values() if _is_key(flow.key)]
    for flow in [flow for flow in flows.values() if "*" in flow.key]:
        expression = zenoh.KeyExpr(flow.key)
        covered = [other for key, other in concrete if expression.includes(key)]
        for other in covered:
            other.subscribers |= flow.subscribers
        if covered and not flow.dropped:
            del flows[flow.key]


def _is_key(text: str) -> bool:
    return "*" not in text and not text.startswith("(")  # "(more)" holds the counters of keys beyond the limit

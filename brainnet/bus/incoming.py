"""Turns what a subscription was handed into checked messages, and keeps the counts of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brainnet.bus.complaints import Complaints
from brainnet.bus.counters import Count, Counters
from brainnet.bus.stamp import Gaps, Stamp, read_stamp
from brainnet.bus.transport import Sample, Transport
from brainnet.errors import PacketError, WireError
from brainnet.wire import messages, packet
from brainnet.wire.messages import Message
from brainnet.wire.packet import SpikePacket
from brainnet.wire.topics import PACKET, Topic, contract

OnMalformed = Callable[[Sample, WireError], None]
_MAX_ROUTES: Final = 4096


class Received:
    """A message and the key it came on, relative to the namespace."""

    __slots__ = ("_stamp", "encoding", "key", "message")

    def __init__(self, message: Any, key: str, stamp: Stamp | None = None, encoding: str = "") -> None:
        self.message = message
        self.key = key
        self.encoding = encoding
        self._stamp = stamp

    @property
    def stamp(self) -> Stamp | None:
        """Who sent it, its number and when; None when the sender gave no stamp."""
        message = self.message
        if isinstance(message, SpikePacket):
            return Stamp(message.source, message.seq, message.timestamp_ns)
        return self._stamp

    def __repr__(self) -> str:
        return f"Received({self.message!r}, {self.key!r})"


class _Route:
    """What is known of one key: looked up once, then found by the raw key."""

    __slots__ = ("count", "error", "gaps", "is_packet", "key", "topic")

    def __init__(self, key: str, topic: Topic | None, count: Count, error: WireError | None) -> None:
        self.key = key
        self.topic = topic
        self.is_packet = topic is not None and topic.payload == PACKET
        self.count = count
        self.error = error
        self.gaps = Gaps()


def reader(
    transport: Transport,
    prefix: str,
    counters: Counters,
    complaints: Complaints,
    on_malformed: OnMalformed | None = None,
) -> Callable[[Any], Received | None]:
    """The `read` of one subscription's mailbox: a message, or None for one that does not follow the contract.

    Sequence numbers are followed per subscription, because two of them may be read at different times.
    """
    routes: dict[str, _Route] = {}
    decode_packet = packet.decode
    key_and_payload = transport.key_and_payload

    def find(full: str) -> _Route:
        key = full[len(prefix) :]
        try:
            route = _Route(key, contract().find(key), counters.of(key, "in"), None)
        except WireError as error:
            route = _Route(key, None, counters.of(key, "in"), error)
        if len(routes) < _MAX_ROUTES:
            routes[full] = route
        return route

    def read(raw: Any) -> Received | None:
        full, payload = key_and_payload(raw)
        route = routes.get(full) or find(full)
        count = route.count
        count.count += 1
        count.bytes += len(payload)
        try:
            if route.is_packet:
                message = decode_packet(payload)
                count.lost += route.gaps.missing(message.source, message.seq)
                return Received(message, route.key)
            if route.error is not None:
                raise route.error
            return read_typed(route, transport.read(raw))
        except WireError as error:
            count.malformed += 1
            sample = transport.read(raw)
            complaints.report(route.key, sample, error)
            if on_malformed is not None:
                on_malformed(sample, error)
            return None

    def read_typed(route: _Route, sample: Sample) -> Received:
        assert route.topic is not None
        typed = decode_message(route.topic, sample.payload, sample.encoding)
        stamp = read_stamp(route.topic, b"", sample.attachment)
        if stamp is not None:
            route.count.lost += route.gaps.missing(stamp.source, stamp.seq)
        return Received(typed, route.key, stamp, sample.encoding)

    return read


def decode_message(topic: Topic, payload: bytes, encoding: str) -> Message:
    """Read a typed message of a topic; raises `WireError` for what is none."""
    kind = topic.message
    if kind is None:
        raise PacketError(f"{topic.key} carries {topic.payload}, which is no typed message")
    if kind is messages.Prompt:
        return messages.read_prompt(payload, encoding)
    return messages.decode(kind, payload, encoding)

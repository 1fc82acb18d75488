"""Who sent a message, its number and when: in a SpikePacket's header, or beside a typed message as its attachment."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgpack

from brainnet.wire.topics import PACKET, Topic

_MAX_SOURCES: Final = 256
_MAX_GAP: Final = 1 << 32  # a forged sequence number must not overflow the counters


class Stamp(NamedTuple):
    """`seq` counts up by one per source and key, so a gap is a loss."""

    source: str
    seq: int
    timestamp_ns: int


def write_stamp(stamp: Stamp) -> bytes:
    """The attachment of a typed message."""
    packed: bytes = msgpack.packb(tuple(stamp))
    return packed


def read_stamp(topic: Topic | None, payload: bytes, attachment: bytes | None) -> Stamp | None:
    """The stamp of a message, without decoding the message; None when it has none (a foreign client's)."""
    try:
        if topic is not None and topic.payload == PACKET:
            unpacker = msgpack.Unpacker(max_buffer_size=len(payload) + 1)
            unpacker.feed(payload)
            if unpacker.read_array_header() < 4:
                return None
            _version, timestamp_ns, source, seq = (unpacker.unpack() for _ in range(4))
        elif attachment:
            source, seq, timestamp_ns = msgpack.unpackb(attachment)
        else:
            return None
    except Exception:  # whatever a foreign client attached is not a stamp
        return None
    if isinstance(source, str) and isinstance(seq, int) and isinstance(timestamp_ns, int):
        return Stamp(source, seq, timestamp_ns)
    return None


class Gaps:
    """Follows the sequence numbers of one key, by source."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def missing(self, source: str, seq: int) -> int:
        """How many messages of this source are missing before this one. A restart (seq back to 1) is no gap."""
        last = self._last.get(source)
        if last is None:
            if len(self._last) < _MAX_SOURCES:
                self._last[source] = seq
            return 0
        self._last[source] = seq
        return min(seq - last - 1, _MAX_GAP) if seq > last + 1 else 0

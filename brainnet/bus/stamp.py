"""Who sent a message, its number and when: in a SpikePacket's header, or beside a typed message as its attachment."""

from __future__ import annotations

from typing import NamedTuple

import msgpack

from brainnet.topics import PACKET, Topic


class Stamp(NamedTuple):
    """``seq`` counts up by one per source and key, so a gap is a loss."""

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

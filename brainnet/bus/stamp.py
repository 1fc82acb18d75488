"""Source, sequence number and timestamp of a message: fields of a SpikePacket, or the attachment of a typed message."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack

from brainnet.wire.packet import MAX_NAME
from brainnet.wire.topics import PACKET, Topic

_MAX_SOURCES: Final = 256
"""Sources tracked per key. They are chosen by senders, so the table of them is bounded."""
_MAX_GAP: Final = 1 << 32
"""Most messages that one gap counts. A sender may claim any sequence number up to 2**64, and a few forged ones would
add up to loss counters that msgpack cannot carry."""

_HEAD_BYTES: Final = 4 * MAX_NAME + 64
"""Bytes in which a stamp ends: a source of `MAX_NAME` characters of up to four bytes, and the numbers."""
_NO_CONTAINERS: Final[dict[str, Any]] = {
    "max_array_len": 0,
    "max_map_len": 0,
    "max_bin_len": 0,
    "max_ext_len": 0,
    "max_str_len": 4 * MAX_NAME,
}
_ATTACHMENT: Final[dict[str, Any]] = _NO_CONTAINERS | {"max_array_len": 3}


class Stamp(NamedTuple):
    """Identifies one message of one source; `seq` counts up by one per source and key, so a gap is a loss."""

    source: str
    seq: int
    timestamp_ns: int


def write_stamp(stamp: Stamp) -> bytes:
    """Return the attachment of a typed message."""
    packed: bytes = msgpack.packb(tuple(stamp))
    return packed


def read_stamp(topic: Topic | None, payload: bytes, attachment: bytes | None) -> Stamp | None:
    """Return the stamp of a message without decoding the message; None when it has none, as from foreign clients.

    Args:
        topic: The topic of the key; None when it is unknown.
        payload: The payload, read only for a topic of SpikePackets.
        attachment: The attachment, read for every other topic.
    """
    try:
        if topic is not None and topic.payload == PACKET:
            # Streaming, and no more than the bytes in which the first four fields end, so that the data of a packet
            # are not read.
            unpacker = msgpack.Unpacker(max_buffer_size=_HEAD_BYTES, **_NO_CONTAINERS)
            unpacker.feed(payload[:_HEAD_BYTES])
            if unpacker.read_array_header() < 4:
                return None
            _version, timestamp_ns, source, seq = (unpacker.unpack() for _ in range(4))
        elif attachment and len(attachment) <= _HEAD_BYTES:
            source, seq, timestamp_ns = msgpack.unpackb(attachment, **_ATTACHMENT)
        else:
            return None
    except Exception:  # msgpack raises many kinds of errors for bytes that are not msgpack
        return None
    # Not isinstance: bool is a subclass of int.
    if type(source) is str and len(source) <= MAX_NAME and type(seq) is int and type(timestamp_ns) is int:
        return Stamp(source, seq, timestamp_ns) if seq >= 0 and timestamp_ns >= 0 else None
    return None


class SequenceTracker:
    """Tracks the sequence numbers of one key, by source."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def missing(self, source: str, seq: int) -> int:
        """Return how many messages of this source are missing before this one.

        A number that is not above the last one is a restart of the source, and no gap.
        """
        last = self._last.get(source)
        if last is None:
            if len(self._last) < _MAX_SOURCES:
                self._last[source] = seq
            return 0
        self._last[source] = seq
        return min(seq - last - 1, _MAX_GAP) if seq > last + 1 else 0

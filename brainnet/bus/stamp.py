"""Source, sequence number and timestamp of a message: fields of a SpikePacket, or the attachment of a typed message."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgpack

from brainnet.wire.topics import PACKET, Topic

_MAX_SOURCES: Final = 256
"""Sources tracked per key. They are chosen by senders, so the table of them is bounded."""
_MAX_GAP: Final = 1 << 32
"""Most messages that one gap counts. A sender may claim any sequence number up to 2**64, and a few forged ones would
add up to loss counters that msgpack cannot carry."""


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
            # Streaming, so that only the first four of a packet's fields are unpacked, not its data. The limit is set
            # because the default of msgpack is 100 MiB; + 1 because 0, for an empty payload, means no limit.
            unpacker = msgpack.Unpacker(max_buffer_size=len(payload) + 1)
            unpacker.feed(payload)
            if unpacker.read_array_header() < 4:
                return None
            _version, timestamp_ns, source, seq = (unpacker.unpack() for _ in range(4))
        elif attachment:
            source, seq, timestamp_ns = msgpack.unpackb(attachment)
        else:
            return None
    except Exception:  # msgpack raises many kinds of errors for bytes that are not msgpack
        return None
    if isinstance(source, str) and isinstance(seq, int) and isinstance(timestamp_ns, int):
        return Stamp(source, seq, timestamp_ns)
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

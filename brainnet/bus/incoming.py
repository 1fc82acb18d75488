"""Decodes and checks the samples of a subscription, and counts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brainnet.bus.counters import Count, Counters
from brainnet.bus.lesions import Lesions
from brainnet.bus.log import MalformedMessageLog, logger
from brainnet.bus.stamp import SequenceTracker, Stamp, read_stamp
from brainnet.bus.transport import Sample, Transport
from brainnet.errors import MessageError, PacketError, WireError
from brainnet.guard import RepeatFilter, describe, ends_task
from brainnet.wire import messages, packet
from brainnet.wire.messages import Message
from brainnet.wire.packet import SpikePacket
from brainnet.wire.topics import PACKET, Contract, Topic

OnMalformed = Callable[[Sample, WireError], None]
Screen = Callable[[bytes, str], bool]
"""Looks at a payload and its Zenoh encoding on the subscription's thread; returns whether the message is done with."""
_MAX_CACHED_KEYS: Final = 4096
"""Keys are chosen by senders, so the cache of them is bounded; a key beyond it is looked up for every message."""


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
        """Source, sequence number and timestamp; None when the sender gave no stamp."""
        message = self.message
        if isinstance(message, SpikePacket):
            return Stamp(message.source, message.seq, message.timestamp_ns)
        return self._stamp

    def __repr__(self) -> str:
        return f"Received({self.message!r}, {self.key!r})"


class _KeyEntry:
    """Topic, counters and sequence numbers of one key, looked up at its first message."""

    __slots__ = ("count", "error", "is_packet", "key", "sequence", "topic")

    def __init__(self, key: str, topic: Topic | None, count: Count, error: WireError | None) -> None:
        self.key = key
        self.topic = topic
        self.is_packet = topic is not None and topic.payload == PACKET
        self.count = count
        self.error = error
        self.sequence = SequenceTracker()


def reader(
    transport: Transport,
    prefix: str,
    counters: Counters,
    malformed_log: MalformedMessageLog,
    contract: Contract,
    lesions: Lesions,
    on_malformed: OnMalformed | None = None,
    *,
    counted: bool = False,
) -> Callable[[Any], Received | None]:
    """Return the `read` function of one subscription's mailbox.

    The function returns a message, or None for one that does not follow the contract. Sequence numbers are tracked
    per subscription, because two subscriptions may read the same message at different times.

    Args:
        transport: Decodes its own samples.
        prefix: The namespace with its slash, which is cut off every key.
        counters: Where messages, bytes, gaps and malformed messages are counted.
        malformed_log: Where malformed messages are logged.
        contract: Has the topics of the keys.
        lesions: What is done to the spikes.
        on_malformed: Called with every malformed message.
        counted: Whether messages and bytes are counted already when they get here, by `screened`.
    """
    entries: dict[str, _KeyEntry] = {}
    # Local names: `read` runs for every message, and a local is found faster than a global or an attribute.
    decode_packet = packet.decode
    key_and_payload = transport.key_and_payload

    def find(full: str) -> _KeyEntry:
        key = full[len(prefix) :]
        try:
            entry = _KeyEntry(key, contract.find(key), counters.of(key, "in"), None)
        except WireError as error:
            entry = _KeyEntry(key, None, counters.of(key, "in"), error)
        if len(entries) < _MAX_CACHED_KEYS:
            entries[full] = entry
        return entry

    def read(raw: Any) -> Received | None:
        # Key and payload only: a SpikePacket needs no more, and converting encoding, attachment and kind costs time.
        full, payload = key_and_payload(raw)
        entry = entries.get(full) or find(full)
        count = entry.count
        if not counted:
            count.count += 1
            count.bytes += len(payload)
        try:
            if entry.is_packet:
                message = decode_packet(payload)
                count.lost += entry.sequence.missing(message.source, message.seq)
                if lesions:
                    lesions.apply(message)
                return Received(message, entry.key)
            if entry.error is not None:  # the contract has no such key; counted as malformed below
                raise entry.error
            return read_typed(entry, transport.read(raw))
        except BaseException as error:  # of this message, whatever it is: the reader must go on to the next
            if ends_task(error):
                raise
            refused(entry, raw, error)
            return None

    def refused(entry: _KeyEntry, raw: Any, error: BaseException) -> None:
        entry.count.malformed += 1
        wrong = error if isinstance(error, WireError) else MessageError(f"cannot be read: {describe(error)}")
        try:
            sample = transport.read(raw)
            malformed_log.warn(entry.key, sample, wrong)
            if on_malformed is not None:
                on_malformed(sample, wrong)
        except BaseException as second:
            if ends_task(second):
                raise
            logger().warning("a malformed message could not be reported", key=entry.key, error=describe(second))

    def read_typed(entry: _KeyEntry, sample: Sample) -> Received:
        assert entry.topic is not None
        typed = decode_message(entry.topic, sample.payload, sample.encoding)
        stamp = read_stamp(entry.topic, b"", sample.attachment)
        if stamp is not None:
            entry.count.lost += entry.sequence.missing(stamp.source, stamp.seq)
        return Received(typed, entry.key, stamp, sample.encoding)

    return read


def screened(transport: Transport, count: Count, screen: Screen, offer: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a callback for a subscription of one key: what `screen` is not done with is offered to the mailbox.

    It counts every message, on its own thread only, and a message that `screen` fails on is offered, too: the reader
    finds out what is wrong with it.
    """
    faults = RepeatFilter()

    def received(raw: Any) -> None:
        sample = transport.read(raw)
        count.count += 1
        count.bytes += len(sample.payload)
        try:
            done = screen(sample.payload, sample.encoding)
        except BaseException as error:  # of this message, whatever it is; no task ends on this thread
            done = False
            left_out = faults.admit(type(error).__name__)
            if left_out is not None:
                logger().warning(
                    "a message could not be screened", key=sample.key, error=describe(error), left_out=left_out
                )
        if not done:
            offer(raw)

    return received


def decode_message(topic: Topic, payload: bytes, encoding: str) -> Message:
    """Read a typed message of a topic.

    Raises:
        WireError: The payload is not the topic's message, or the topic carries SpikePackets.
    """
    kind = topic.message
    if kind is None:
        raise PacketError(f"{topic.key} carries {topic.describe_payload()}, which is no typed message")
    if kind is messages.Prompt:
        return messages.read_prompt(payload, encoding)
    return messages.decode(kind, payload, encoding)

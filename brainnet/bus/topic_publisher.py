"""The publisher of one key: it numbers, stamps and encodes the messages that a bus sends on the key."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brainnet.bus.counters import Count
from brainnet.bus.stamp import Stamp, write_stamp
from brainnet.bus.transport import Publisher
from brainnet.errors import TopicError
from brainnet.wire import messages, packet
from brainnet.wire.messages import Encoded, Message
from brainnet.wire.messages.codec import JSON_ENCODING
from brainnet.wire.packet import SpikePacket
from brainnet.wire.topics import Topic

Payload = SpikePacket | Message | Encoded | Mapping[str, Any]
"""What can be published; a map holds the fields of a typed message."""


@dataclass(slots=True)
class TopicPublisher:
    """A declared publisher with what every message on it needs, looked up once per key.

    Attributes:
        key: Its key, relative to the namespace.
        source: Id of the sender in every message.
        publisher: The publisher of the transport.
        topic: The topic of the contract.
        count: Where its messages are counted.
        reliable: Whether the topic is delivered reliably.
        is_packet: Whether the topic carries SpikePackets.
        seq: The sequence number of the last message.
        lock: Held while a message is numbered and sent, so that numbers leave in order from several threads.
    """

    key: str
    source: str
    publisher: Publisher
    topic: Topic
    count: Count
    reliable: bool
    is_packet: bool
    seq: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def encode(self, message: Payload, *, as_json: bool) -> tuple[bytes, bytes | None, str | None]:
        """Assign number and stamp to one message and encode it; `lock` is held by the caller.

        Returns:
            Payload, attachment, and the Zenoh encoding where it differs from the publisher's.

        Raises:
            TopicError: The topic carries another payload.
            WireError: The message cannot be encoded.
        """
        if isinstance(message, SpikePacket):
            if not self.is_packet:
                raise TopicError(f"{self.key} carries {self.topic.describe_payload()}, not a SpikePacket")
            message.source = self.source
            message.seq = self.seq + 1
            if not message.timestamp_ns:
                message.timestamp_ns = time.time_ns()
            payload = packet.encode(message)
            self.seq += 1  # after encoding: a message that cannot be encoded must not leave a gap in the numbers
            return payload, None, None
        if isinstance(message, Mapping):
            message = self.topic.make(message)
        kind = message.kind if isinstance(message, Encoded) else type(message)
        if self.topic.message is not kind:
            raise TopicError(f"{self.key} carries {self.topic.describe_payload()}, not {kind.__name__}")
        if isinstance(message, Encoded):
            payload, as_json = message.payload, message.as_json
        else:
            payload = messages.encode(message, as_json=as_json)
        self.seq += 1
        return payload, write_stamp(Stamp(self.source, self.seq, time.time_ns())), JSON_ENCODING if as_json else None

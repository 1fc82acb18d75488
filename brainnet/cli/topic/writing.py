"""Makes payloads from the arguments of `brainnet topic pub`, and sends them."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.bus import Publisher, QoS, Stamp
from brainnet.bus.stamp import write_stamp
from brainnet.cli.topic.argument import bytes_of, fields_of
from brainnet.cli.topic.samples import sample_fields
from brainnet.errors import MessageError, PacketError, TopicError
from brainnet.observe import keys
from brainnet.texts import did_you_mean
from brainnet.wire import messages, packet
from brainnet.wire.declared import describe
from brainnet.wire.messages import Message, SensorSample
from brainnet.wire.messages.codec import JSON_ENCODING
from brainnet.wire.packet import SpikePacket
from brainnet.wire.topics import PACKET, Contract, check_key
from brainnet.wire.topics import contract as installed_contract

Make = Callable[[Stamp], tuple[bytes, bytes | None]]
"""Makes payload and attachment of one message."""
_PACKET_FIELDS: Final = ("data", "modality", "dt_us", "metadata")


@dataclass(frozen=True)
class Writer:
    """Makes and sends the messages on one key.

    Attributes:
        full_key: The key with the namespace.
        qos: Quality of service of the publisher.
        make: Makes one message.
        hint: Added to the message that there is no subscriber.
    """

    full_key: str
    qos: QoS
    make: Make
    hint: str = ""

    def send(
        self, publisher: Publisher, source: str, count: int | None, rate: float | None, stop: threading.Event
    ) -> int:
        """Send messages, which blocks, and return how many were sent.

        Args:
            publisher: Where to send.
            source: Id of the sender.
            count: Number of messages; None for no limit.
            rate: Messages per second; None for as fast as possible.
            stop: Ends the sending from another thread.
        """
        start, sent = time.monotonic(), 0
        while sent != count and not stop.is_set():
            # Until a time that follows from the start, so that the delays of single messages do not add up.
            if rate is not None and stop.wait(max(0.0, start + sent / rate - time.monotonic())):
                break
            payload, attachment = self.make(Stamp(source, sent + 1, time.time_ns()))
            publisher.put(payload, attachment)
            sent += 1
        return sent


def writer(key: str, namespace: str, data: str | None, random: str | None, contract: Contract | None = None) -> Writer:
    """Return the writer for a key.

    Args:
        key: A key without wildcards.
        namespace: Of the brain.
        data: The message as text, as the user wrote it.
        random: Size and density of random spikes.
        contract: Of the brain; that of this installation by default.

    Raises:
        TopicError: The key has wildcards, or nothing can be published on it.
        MessageError: The data are not the topic's message; names the field.
        PacketError: The data are not a SpikePacket; names the field.
    """
    full = keys.resolve(key, namespace, contract)
    check_key(full)
    topic = keys.topic_of(full, namespace, contract)
    if topic is None:
        inside = keys.relative(full, namespace)
        if inside is not None:
            # raises, because only topics of the contract are allowed in the namespace
            (contract or installed_contract()).find(inside)
        if random is not None:
            return Writer(full, QoS(True, encoding=packet.WIRE_ENCODING), _packets(None, random))
        return _foreign(full, data)
    qos = QoS(topic.delivery == "reliable", topic.priority, topic.express, topic.wire_encoding)
    if topic.payload == PACKET:
        return Writer(full, qos, _packets(data, random))
    if random is not None:
        raise TopicError(f"{topic.key} carries {topic.describe_payload()}; --random makes SpikePackets")
    if topic.message is None:
        raise TopicError(f"{topic.key} carries no message: {topic.about}")
    hint = f"; {topic.key} is asked with a query" if topic.reply else ""
    if topic.message is SensorSample:
        return Writer(full, qos, _samples(data), hint)
    return Writer(full, qos, _typed(topic.message, data), hint)


def _foreign(full: str, data: str | None) -> Writer:
    if data is None:
        raise MessageError(f"DATA is missing: text for {full}, or @FILE")
    if data.startswith("@"):
        payload, encoding = bytes_of(Path(data[1:])), "application/octet-stream"
    else:
        # As the shell has it: the bytes of an argument need not be UTF-8.
        payload, encoding = os.fsencode(data), JSON_ENCODING if data[:1] in ("{", "[") else "text/plain"
    return Writer(full, QoS(True, encoding=encoding), lambda stamp: (payload, None))


def _samples(data: str | None) -> Make:
    """Make samples of a sensor, which are numbered and have the time at which they are sent."""
    fields = sample_fields(data)
    given = _checked(SensorSample, fields)

    def make(stamp: Stamp) -> tuple[bytes, bytes]:
        numbered = {"source": stamp.source, "sequence": stamp.seq, "timestamp_ns": stamp.timestamp_ns} | given
        return messages.encode(messages.validate(SensorSample, numbered)), write_stamp(stamp)

    return make


def _typed(kind: type[Message], data: str | None) -> Make:
    given = _checked(kind, fields_of(data, describe(kind)))

    def make(stamp: Stamp) -> tuple[bytes, bytes]:
        return messages.encode(messages.validate(kind, given)), write_stamp(stamp)

    return make


def _checked(kind: type[Message], fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that were given, each with its type.

    Raises:
        MessageError: A field is unknown or wrong; says what the message is.
    """
    unknown = sorted(set(fields) - set(kind.model_fields))
    if unknown:
        name = str(unknown[0])
        hint = did_you_mean(name, kind.model_fields)
        raise MessageError(f"{kind.__name__} has no field {name!r}{hint}; it is {describe(kind)}")
    # As JSON, in which the bytes of a picture are base64, as in a message that another program sends as JSON.
    as_json = json.dumps(fields, default=lambda binary: base64.b64encode(binary).decode())
    try:
        return messages.decode(kind, as_json.encode(), JSON_ENCODING).model_dump(exclude_unset=True)
    except MessageError as error:
        raise MessageError(f"{error}; it is {describe(kind)}") from None


def _packets(data: str | None, random: str | None) -> Make:
    fields = {} if data is None else fields_of(data, PACKET)
    unknown = sorted(set(fields) - set(_PACKET_FIELDS))
    if unknown:
        raise PacketError(f"a SpikePacket has no field {unknown[0]!r} to give; it has {', '.join(_PACKET_FIELDS)}")
    if random is not None:
        draw = _random(random)
    elif "data" in fields:
        array = _array(fields.pop("data"))

        def draw() -> NDArray[Any]:
            return array
    else:
        raise PacketError("a SpikePacket needs data: {data: [[0, 1], [1, 0]]} with a row per neuron, or --random")
    modality, dt_us, metadata = fields.get("modality", "spikes"), fields.get("dt_us", 1000), fields.get("metadata", {})
    for name, value, wanted in (("modality", modality, str), ("dt_us", dt_us, int), ("metadata", metadata, dict)):
        if type(value) is not wanted:
            raise PacketError(f"field {name} must be {_KINDS[wanted]}, got {value!r}")

    def make(stamp: Stamp) -> tuple[bytes, None]:
        source, seq, timestamp_ns = stamp
        return packet.encode(SpikePacket(draw(), modality, dt_us, source, seq, timestamp_ns, metadata)), None

    make(Stamp("", 1, 1))  # raises for data that cannot be encoded, before a connection is opened
    return make


_KINDS: Final[dict[type, str]] = {str: "text", int: "a whole number", dict: "a map"}


def _random(text: str) -> Callable[[], NDArray[Any]]:
    match = re.fullmatch(r"(\d{1,12})x(\d{1,12})@([\d.]{1,30})", text)
    try:
        if match is None:
            raise ValueError
        neurons, steps, density = int(match[1]), int(match[2]), float(match[3])
    except ValueError:
        raise PacketError(f"--random is NEURONSxSTEPS@DENSITY, such as 1024x16@0.05, got {text!r}") from None
    if neurons * steps > packet.MAX_ELEMENTS or not 0 <= density <= 1:
        raise PacketError(f"--random {text}: at most {packet.MAX_ELEMENTS} neuron-steps, density between 0 and 1")
    generator = np.random.default_rng()
    return lambda: generator.random((neurons, steps)) < density


def _array(value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, object)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise PacketError("field data must be rows of equal length, one per neuron: [[0, 1, 0], [1, 0, 0]]")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            narrow = array.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise PacketError("field data: numbers must be finite 32-bit floats, so at most 3.4e38")
        return narrow
    if array.size and (array.min() < 0 or array.max() > 255):
        raise PacketError("field data: whole numbers must be between 0 and 255; write 1.0 for a float")
    return array.astype(np.uint8)

"""Reads whatever comes on a key: packets, typed messages, other people's payloads, and garbage."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from brainnet.bus import Sample, Stamp, read_stamp
from brainnet.errors import WireError
from brainnet.observe import keys
from brainnet.wire import messages, packet
from brainnet.wire.messages import Message
from brainnet.wire.packet import SpikePacket
from brainnet.wire.topics import PACKET

_LONG: Final = 160


@dataclass(frozen=True, slots=True)
class Seen:
    """One message: `kind` is the message's type, or text, json, msgpack, bytes, malformed for what has none."""

    key: str
    kind: str
    value: Any
    stamp: Stamp | None
    size: int
    encoding: str
    payload: bytes

    @property
    def packet(self) -> SpikePacket | None:
        return self.value if isinstance(self.value, SpikePacket) else None


def stamp_of(sample: Sample, namespace: str) -> Stamp | None:
    """Source, number and time of a message, without reading the message."""
    return read_stamp(keys.topic_of(sample.key, namespace), sample.payload, sample.attachment)


def read(sample: Sample, namespace: str) -> Seen:
    """Read one sample; what cannot be read as the contract says is `malformed` and its value is the reason."""
    topic = keys.topic_of(sample.key, namespace)
    stamp = read_stamp(topic, sample.payload, sample.attachment)
    key = keys.shown(sample.key, namespace)

    def seen(kind: str, value: Any) -> Seen:
        return Seen(key, kind, value, stamp, len(sample.payload), sample.encoding, sample.payload)

    try:
        if topic is not None and topic.payload == PACKET:
            return seen(PACKET, packet.decode(sample.payload))
        if topic is not None and topic.message is messages.Prompt:
            return seen("Prompt", messages.read_prompt(sample.payload, sample.encoding))
        if topic is not None and topic.message is not None:
            return seen(topic.payload, messages.decode(topic.message, sample.payload, sample.encoding))
        if sample.encoding == packet.WIRE_ENCODING:
            return seen(PACKET, packet.decode(sample.payload))
    except WireError as error:
        return seen("malformed", str(error))
    return seen(*_foreign(sample.payload, sample.encoding))


def _foreign(payload: bytes, encoding: str) -> tuple[str, Any]:
    if "msgpack" in encoding:
        try:
            return "msgpack", msgpack.unpackb(payload)
        except Exception:  # msgpack raises many kinds; the bytes are shown instead
            return "bytes", payload
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return "bytes", payload
    if "json" in encoding or text.lstrip()[:1] in ("{", "["):
        try:
            return "json", json.loads(text)
        except ValueError:
            return "text", text
    unprintable = any(c < " " and c not in "\t\r\n" for c in text)
    return ("bytes", payload) if unprintable else ("text", text)


def as_json(seen: Seen) -> dict[str, Any]:
    """One message as a JSON object; bytes are base64, except foreign ones, which are hex."""
    row: dict[str, Any] = {"key": seen.key, "kind": seen.kind, "bytes": seen.size}
    if seen.stamp is not None:
        row |= {"source": seen.stamp.source, "seq": seen.stamp.seq, "timestamp_ns": seen.stamp.timestamp_ns}
    if seen.packet is not None:
        return row | _summary(seen.packet, seen.payload) | {"metadata": plain(seen.packet.metadata)}
    if isinstance(seen.value, Message):
        return row | {"message": seen.value.model_dump(mode="json")}
    if seen.kind == "malformed":
        return row | {"error": seen.value}
    value = seen.value.hex() if isinstance(seen.value, bytes) else plain(seen.value)
    return row | {"encoding": seen.encoding, "value": value}


def as_lines(seen: Seen) -> list[str]:
    """One message for people: a headline, then its fields."""
    if seen.packet is not None:
        fields = seen.packet.metadata
        extra = "  ".join(f"{name} {_brief(value)}" for name, value in _summary(seen.packet, seen.payload).items())
        return [f"{headline(seen)}  {extra}", *(f"  {name}: {_brief(value)}" for name, value in fields.items())]
    if isinstance(seen.value, Message):
        fields = seen.value.model_dump()
        return [headline(seen), *(f"  {name}: {_brief(value)}" for name, value in fields.items() if _says(value))]
    value = seen.value.hex(" ") if isinstance(seen.value, bytes) else seen.value
    return [headline(seen), f"  {_brief(value)}"]


def headline(seen: Seen) -> str:
    """Key, type, sender and number."""
    sender = f"  from {seen.stamp.source} #{seen.stamp.seq}" if seen.stamp else ""
    return f"{seen.key}  {seen.kind}{sender}  {seen.size} B"


def plain(value: Any) -> Any:
    """The value with bytes as base64, all the way down."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def _summary(shown: SpikePacket, payload: bytes) -> dict[str, Any]:
    neurons, steps = shown.shape
    return {
        "modality": shown.modality,
        "shape": [neurons, steps],
        "dt_us": shown.dt_us,
        "encoding": packet.body_encoding(payload),
        "density": round(shown.density, 6),
    }


def _says(value: Any) -> bool:
    return value is not None and value not in ([], {}, "")


def _brief(value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    text = value if isinstance(value, str) else repr(_without_bytes(value))
    return text if len(text) <= _LONG else f"{text[: _LONG - 3]}..."


def _without_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return {k: _without_bytes(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_bytes(v) for v in value]
    return value

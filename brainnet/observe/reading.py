"""Decodes any sample: packets, typed messages, foreign payloads, and malformed ones."""

from __future__ import annotations

import base64
import contextlib
import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from brainnet.bus import Sample, Stamp, read_stamp
from brainnet.errors import PacketError, WireError
from brainnet.observe import keys
from brainnet.texts import printable, shorten
from brainnet.wire import bounded, messages, packet
from brainnet.wire.codes import texts
from brainnet.wire.messages import Message
from brainnet.wire.packet import SpikePacket
from brainnet.wire.topics import PACKET, Contract

_MAX_LINE: Final = 160
_MAX_FIELDS: Final = 100
_MAX_VALUES: Final = 50


@dataclass(frozen=True, slots=True)
class DecodedSample:
    """One decoded message.

    Attributes:
        key: As it is shown to users.
        kind: The type of the message, or text, json, msgpack, bytes or malformed.
        value: The message; for a malformed one, the reason.
        stamp: Source, sequence number and timestamp, if it has them.
        size: Bytes of the payload.
        encoding: The Zenoh encoding.
        payload: The bytes.
    """

    key: str
    kind: str
    value: Any
    stamp: Stamp | None
    size: int
    encoding: str
    payload: bytes

    @property
    def packet(self) -> SpikePacket | None:
        """The message if it is a SpikePacket, else None."""
        return self.value if isinstance(self.value, SpikePacket) else None


def stamp_of(sample: Sample, namespace: str, contract: Contract | None = None) -> Stamp | None:
    """Return source, sequence number and timestamp of a message without decoding the message."""
    return read_stamp(keys.topic_of(sample.key, namespace, contract), sample.payload, sample.attachment)


def read(sample: Sample, namespace: str, contract: Contract | None = None) -> DecodedSample:
    """Decode one sample; one that does not follow the contract is `malformed`, with the reason as its value.

    Args:
        sample: The sample.
        namespace: Of the brain.
        contract: Of the brain, as `Bus.contract` has it; that of this installation by default.
    """
    topic = keys.topic_of(sample.key, namespace, contract)
    stamp = read_stamp(topic, sample.payload, sample.attachment)
    key = keys.display_name(sample.key, namespace)

    def decoded(kind: str, value: Any) -> DecodedSample:
        return DecodedSample(key, kind, value, stamp, len(sample.payload), sample.encoding, sample.payload)

    try:
        if topic is not None and topic.payload == PACKET:
            return decoded(PACKET, packet.decode(sample.payload))
        if topic is not None and topic.message is messages.Prompt:
            return decoded("Prompt", messages.read_prompt(sample.payload, sample.encoding))
        if topic is not None and topic.message is not None:
            return decoded(topic.payload, messages.decode(topic.message, sample.payload, sample.encoding))
        if sample.encoding == packet.WIRE_ENCODING:
            return decoded(PACKET, packet.decode(sample.payload))
    except WireError as error:
        return decoded("malformed", str(error))
    return decoded(*_foreign(sample.payload, sample.encoding))


def _foreign(payload: bytes, encoding: str) -> tuple[str, Any]:
    if "msgpack" in encoding:
        try:
            value = bounded.unpack(payload)
            bounded.check(value)
        except ValueError:
            return "bytes", payload
        return "msgpack", value
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return "bytes", payload
    if "json" in encoding or text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        try:
            value = bounded.read_json(payload)
            bounded.check(value)
        except ValueError:
            return "text", text
        return "json", value
    unprintable = any(c < " " and c not in "\t\r\n" for c in text)
    return ("bytes", payload) if unprintable else ("text", text)


def as_json(decoded: DecodedSample, *, data: bool = False) -> dict[str, Any]:
    """Return a message as a JSON object; bytes are base64, except foreign payloads, which are hexadecimal.

    Args:
        decoded: The message.
        data: Add the values of a packet: spikes as `[step, neuron]` by step, graded values as `[neurons][steps]`.
    """
    row: dict[str, Any] = {"key": decoded.key, "kind": decoded.kind, "bytes": decoded.size}
    if decoded.stamp is not None:
        row |= {"source": decoded.stamp.source, "seq": decoded.stamp.seq, "timestamp_ns": decoded.stamp.timestamp_ns}
    if decoded.packet is not None:
        row |= _summary(decoded.packet, decoded.payload) | {"metadata": plain(decoded.packet.metadata)}
        if data:
            spikes = _events(decoded)
            values = {"values": decoded.packet.data.tolist()} if spikes is None else {"spikes": list(map(list, spikes))}
            row |= values
        return row
    if isinstance(decoded.value, Message):
        return row | {"message": decoded.value.model_dump(mode="json")}
    if decoded.kind == "malformed":
        return row | {"error": decoded.value}
    value = decoded.value.hex() if isinstance(decoded.value, bytes) else plain(decoded.value)
    return row | {"encoding": decoded.encoding, "value": value}


def as_lines(decoded: DecodedSample, *, data: bool = False) -> list[str]:
    """Return a message as lines of text: a headline, then its fields. What others wrote is in it as it came.

    The number of lines and their length are bounded; `brainnet.texts.printable` makes a line safe for a terminal.

    Args:
        decoded: The message.
        data: Add the values of a packet: a line for each step with spikes, or for each neuron with graded values. In
            a typed message a list of numbers is not cut at the length of a line, but after 50 values.
    """
    if decoded.packet is not None:
        fields = decoded.packet.metadata
        extra = "  ".join(
            f"{name} {_abbreviate(value)}" for name, value in _summary(decoded.packet, decoded.payload).items()
        )
        return [f"{headline(decoded)}  {extra}", *_fields(fields), *(_values(decoded) if data else ())]
    if isinstance(decoded.value, Message):
        fields = {name: value for name, value in decoded.value.model_dump().items() if _has_content(value)}
        numbers = {name: value for name, value in fields.items() if data and _is_numbers(value)}
        others = {name: value for name, value in fields.items() if name not in numbers}
        return [headline(decoded), *_fields(others), *(_numbers(name, value) for name, value in numbers.items())]
    value = decoded.value[:_MAX_LINE].hex(" ") if isinstance(decoded.value, bytes) else decoded.value
    return [headline(decoded), f"  {_abbreviate(value)}"]


def _values(decoded: DecodedSample) -> list[str]:
    """Return the values of a packet as lines."""
    assert decoded.packet is not None
    spikes = _events(decoded)
    if spikes is None:
        rows = {f"neuron {neuron}": values for neuron, values in enumerate(decoded.packet.data.tolist())}
    else:
        steps = itertools.groupby(spikes, key=lambda event: event[0])
        rows = {f"step {step}": [neuron for _, neuron in fired] for step, fired in steps}
    lines = [_numbers(name, values) for name, values in itertools.islice(rows.items(), _MAX_FIELDS)]
    return lines if len(rows) <= _MAX_FIELDS else [*lines, f"  and {len(rows) - _MAX_FIELDS} more"]


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) in (int, float) for item in value[:_MAX_VALUES])


def _numbers(name: str, values: list[Any]) -> str:
    shown = " ".join(f"{value:g}" for value in values[:_MAX_VALUES])
    return f"  {name}: {shown}" + (f" and {len(values) - _MAX_VALUES} more" if len(values) > _MAX_VALUES else "")


def _events(decoded: DecodedSample) -> list[tuple[int, int]] | None:
    """Return the spikes of a packet as (step, neuron), by step; None for graded values.

    In a window of a stream the steps are counted from the start of the network. A neuron that fired several times in a
    step, as a Poisson source may, is there several times.
    """
    shown = decoded.packet
    assert shown is not None
    first = shown.first_step
    if shown.data.dtype.kind == "f" or (first is None and not shown.is_spikes):
        return None
    steps, neurons = np.nonzero(shown.data.T)
    times = shown.data.T[steps, neurons].astype(int)
    return list(zip((np.repeat(steps, times) + (first or 0)).tolist(), np.repeat(neurons, times).tolist(), strict=True))


def _fields(fields: dict[str, Any]) -> list[str]:
    lines = [
        f"  {_abbreviate(name)}: {_abbreviate(value)}" for name, value in itertools.islice(fields.items(), _MAX_FIELDS)
    ]
    return lines if len(fields) <= _MAX_FIELDS else [*lines, f"  and {len(fields) - _MAX_FIELDS} more"]


def headline(decoded: DecodedSample) -> str:
    """Return key, type, sender, sequence number and size as one line."""
    sender = f"  from {decoded.stamp.source} #{decoded.stamp.seq}" if decoded.stamp else ""
    return f"{decoded.key}  {decoded.kind}{sender}  {decoded.size} B"


def plain(value: Any) -> Any:
    """Return a nested value with all bytes as base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def _summary(shown: SpikePacket, payload: bytes) -> dict[str, Any]:
    neurons, steps = shown.shape
    summary: dict[str, Any] = {
        "modality": shown.modality,
        "shape": [neurons, steps],
        "dt_us": shown.dt_us,
        "encoding": packet.body_encoding(payload),
        "density": round(shown.density, 6),
    }
    if shown.first_step is not None:
        summary["first_step"] = shown.first_step
    if shown.modality == texts.MODALITY:
        with contextlib.suppress(PacketError):  # spikes of somebody's own code, which is no text that can be read
            summary["text"] = texts.decode(shown)
    return summary


def _has_content(value: Any) -> bool:
    return value is not None and value not in ([], {}, "")


def _abbreviate(value: Any) -> str:
    """Return a value as one line of at most `_MAX_LINE` characters, in a time that does not depend on its size."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    text = printable(value[:_MAX_LINE] if isinstance(value, str) else repr(_part(value)))
    cut = isinstance(value, str) and len(value) > _MAX_LINE
    return shorten(text + "..." if cut else text, _MAX_LINE)


def _part(value: Any) -> Any:
    """Return a nested value without its bytes, and with no more of it than one line may show."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, str):
        return value[:_MAX_LINE]
    if isinstance(value, dict):
        return {_part(k): _part(v) for k, v in itertools.islice(value.items(), _MAX_LINE)}
    if isinstance(value, list | tuple):
        return [_part(v) for v in value[:_MAX_LINE]]
    return value

"""SpikePacket, the message that regions exchange, and its codec.

On the wire a packet is one msgpack array, by position:

    0 version      major * 1000 + minor
    1 timestamp_ns ns since the epoch when the packet was made
    2 source       node id of the sender
    3 seq          counts up by one per source and topic, so that every gap is seen
    4 modality     "image", "text", "motor", "lidar", ...
    5 neurons      rows
    6 steps        columns
    7 dt_us        duration of one step in microseconds
    8 encoding     one of ENCODINGS
    9 data         bin
    10 metadata    map
    11 first_step  number of the first step; in packets of version 1001 and later

Encodings of `data`, over the row-major flattened [neurons, steps] array:

    bits    1 bit per neuron-step, most significant bit first
    aer8    address events: one byte per event, the distance from the previous event's address (the first from 0);
            255 means "advance by 255, no event here"
    aer32   address events: the same distances as little-endian u32
    u8 f16 f32   graded values, little-endian

The encoder chooses the smallest encoding that fits. The decoder checks everything; any mistake is a `PacketError`.
A packet of a newer minor version may carry more array elements and metadata; they are ignored. So is a first_step that
is no whole number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from brainnet.errors import PacketError
from brainnet.texts import shorten
from brainnet.wire import bounded

VERSION: Final = 1000
STEP_VERSION: Final = VERSION + 1
"""Version of packets that say which step they begin with."""
WIRE_ENCODING: Final = "application/msgpack;brainnet.SpikePacket/1"
MAX_ELEMENTS: Final = 1 << 24
"""neurons x steps of one packet. A larger packet is refused before anything is allocated: 2**24 elements are 16 MiB of
spikes, while the few bytes of an empty `aer8` packet could claim any shape."""
MAX_NAME: Final = 256
"""Characters of source and modality."""
ENCODINGS: Final = ("bits", "aer8", "aer32", "u8", "f16", "f32")

_GRADED: Final[dict[str, np.dtype[Any]]] = {"u8": np.dtype("u1"), "f16": np.dtype("<f2"), "f32": np.dtype("<f4")}
_GRADED_NAME: Final[dict[np.dtype[Any], str]] = {np.dtype("u1"): "u8", np.dtype("f2"): "f16", np.dtype("f4"): "f32"}
_FIELDS: Final = 11
_BOOL: Final = np.dtype(np.bool_)
_U8: Final = np.dtype(np.uint8)
_ONE: Final = np.uint8(1)
# Methods of ufuncs: ndarray.max() and ndarray.cumsum() call them through Python functions that check their many
# arguments, which for arrays of a packet's size takes as long as the work itself.
_largest: Final = np.maximum.reduce
_accumulate: Final = np.add.accumulate


@dataclass(slots=True, eq=False)
class SpikePacket:
    """Spikes or graded values of one source over one window of time.

    Attributes:
        data: [neurons, steps]. bool or 0/1 uint8 are spikes; other uint8, float16 and float32 are graded values.
        modality: What the values describe.
        dt_us: Duration of one step in microseconds, > 0.
        source: Node id of the sender.
        seq: Its number among that source's packets on the topic.
        timestamp_ns: Nanoseconds since the epoch.
        metadata: Anything that msgpack can carry; keys are strings.
        first_step: Number of its first step, >= 0, on a clock that sender and receiver share; None without one.
    """

    data: NDArray[Any]
    modality: str = "spikes"
    dt_us: int = 1000
    source: str = ""
    seq: int = 0
    timestamp_ns: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    first_step: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(neurons, steps)."""
        neurons, steps = self.data.shape
        return neurons, steps

    @property
    def is_spikes(self) -> bool:
        """Whether every value is 0 or 1 of an integer or boolean type."""
        return self.data.dtype == np.bool_ or (
            self.data.dtype == np.uint8 and (self.data.size == 0 or int(self.data.max()) <= 1)
        )

    @property
    def density(self) -> float:
        """Fraction of neuron-steps that are not zero."""
        return float(np.count_nonzero(self.data)) / self.data.size if self.data.size else 0.0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpikePacket):
            return NotImplemented
        return (
            self.modality == other.modality
            and self.dt_us == other.dt_us
            and self.source == other.source
            and self.seq == other.seq
            and self.timestamp_ns == other.timestamp_ns
            and self.metadata == other.metadata
            and self.first_step == other.first_step
            and np.array_equal(self.data, other.data)
        )

    __hash__ = None  # type: ignore[assignment]  # equality compares contents that can change

    def encode(self) -> bytes:
        """Write the wire form, with the smallest encoding that fits. See `encode`."""
        return encode(self)

    @staticmethod
    def decode(payload: bytes) -> SpikePacket:
        """Read the wire form. See `decode`."""
        return decode(payload)


def encode(packet: SpikePacket) -> bytes:
    """Write a packet in wire form.

    Raises:
        PacketError: Data that is not a 2-d array of bool, uint8, float16 or float32 (the caller must convert float64
            and wider integers, because the caller knows which precision is needed), non-finite values, metadata that
            msgpack cannot carry or whose keys are not strings, or a field that `decode` would refuse.
    """
    data = packet.data
    if not isinstance(data, np.ndarray) or data.ndim != 2:
        got = f"shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise PacketError(f"packet data must be a numpy array [neurons, steps], got {got}")
    if data.size > MAX_ELEMENTS:
        raise PacketError(f"packet data of shape {data.shape} exceeds {MAX_ELEMENTS} elements; send it in parts")
    if type(packet.dt_us) is not int or packet.dt_us <= 0 or packet.seq < 0 or packet.timestamp_ns < 0:
        raise PacketError(_out_of_range(packet.dt_us, packet.seq, packet.timestamp_ns))
    if len(packet.source) > MAX_NAME or len(packet.modality) > MAX_NAME:
        raise PacketError(f"source and modality may have {MAX_NAME} characters")
    encoding, body = _encode_data(data)
    first_step = packet.first_step
    if first_step is not None and (type(first_step) is not int or first_step < 0):
        raise PacketError(f"first_step must be a whole number, not negative, got {_describe(first_step)}")
    try:
        wire: bytes = msgpack.packb(
            (
                VERSION if first_step is None else STEP_VERSION,
                packet.timestamp_ns or time.time_ns(),
                packet.source,
                packet.seq,
                packet.modality,
                data.shape[0],
                data.shape[1],
                packet.dt_us,
                encoding,
                body,
                packet.metadata,
                *(() if first_step is None else (first_step,)),
            ),
            default=bounded.number,
        )
        if packet.metadata:
            # packb accepts more than `decode` does, such as keys that are not strings. Metadata of a node must not be
            # refused by its receivers only.
            bounded.check(packet.metadata)
    except Exception as error:  # what a region puts into its metadata may raise anything while it is written
        reason = shorten(str(error) or type(error).__name__, 200)
        raise PacketError(f"packet metadata of source {packet.source!r} cannot be sent: {reason}") from None
    return wire


def decode(payload: bytes) -> SpikePacket:
    """Read a packet in wire form.

    Spikes are returned as uint8 0/1, graded values in their own type; the array is writable and shares no memory.

    Raises:
        PacketError: The bytes are not a packet of this major version.
    """
    try:
        fields = bounded.unpack(payload)
    except ValueError as error:
        raise PacketError(f"{len(payload)} bytes are not msgpack: {error}") from None
    if not isinstance(fields, list) or len(fields) < _FIELDS:
        raise PacketError(f"a SpikePacket is an array of {_FIELDS} fields, got {_describe(fields)}")
    version, timestamp_ns, source, seq, modality, neurons, steps, dt_us, encoding, body, metadata = fields[:_FIELDS]
    if type(version) is not int or version // 1000 != VERSION // 1000:
        raise PacketError(
            f"SpikePacket version {shorten(repr(version), 40)} is not readable; this side reads {VERSION // 1000}.x"
        )
    # One expression of `type(...) is`, because this runs for every packet: a loop over names and types, which
    # `_wrong_type` uses for the message, takes several times as long. Not isinstance: bool is a subclass of int.
    if (
        type(timestamp_ns) is not int
        or type(seq) is not int
        or type(neurons) is not int
        or type(steps) is not int
        or type(dt_us) is not int
        or type(source) is not str
        or type(modality) is not str
        or type(encoding) is not str
        or type(body) is not bytes
        or type(metadata) is not dict
    ):
        raise PacketError(_wrong_type(fields))
    if len(source) > MAX_NAME or len(modality) > MAX_NAME:
        raise PacketError(f"source and modality may have {MAX_NAME} characters")
    if neurons < 0 or steps < 0:
        raise PacketError(f"shape [{neurons}, {steps}] is negative")
    if dt_us <= 0 or seq < 0 or timestamp_ns < 0:
        raise PacketError(_out_of_range(dt_us, seq, timestamp_ns))
    if neurons * steps > MAX_ELEMENTS:
        raise PacketError(f"shape [{neurons}, {steps}] exceeds {MAX_ELEMENTS} elements")
    if metadata:
        try:
            bounded.check(metadata)
        except ValueError as error:
            raise PacketError(f"packet metadata: {error}") from None
    data = _decode_data(encoding, body, neurons * steps).reshape(neurons, steps)
    return SpikePacket(data, modality, dt_us, source, seq, timestamp_ns, metadata, _first_step(fields))


def body_encoding(payload: bytes) -> str:
    """Return which of ENCODINGS a packet in wire form has; `decode` must accept the payload."""
    encoding: str = bounded.unpack(payload)[8]
    return encoding


def _first_step(fields: list[Any]) -> int | None:
    first = fields[_FIELDS] if len(fields) > _FIELDS and fields[0] > VERSION else None
    return first if type(first) is int and first >= 0 else None


def _encode_data(data: NDArray[Any]) -> tuple[str, bytes]:
    flat = data.ravel()
    kind = flat.dtype
    if kind == _BOOL:
        return _encode_spikes(flat)
    if kind == _U8:
        if flat.size and _largest(flat) > 1:
            return "u8", flat.tobytes()
        return _encode_spikes(flat.view(_BOOL))  # nonzero() has a fast path for bool, ten times as fast as for uint8
    name = _GRADED_NAME.get(kind.newbyteorder("="))
    if name is None:
        raise PacketError(f"packet data of type {kind} cannot be sent; use bool, uint8, float16 or float32")
    if not np.isfinite(flat).all():
        raise PacketError("packet data holds NaN or infinity")
    return name, flat.astype(_GRADED[name], copy=False).tobytes()


def _encode_spikes(flat: NDArray[np.bool_]) -> tuple[str, bytes]:
    return encode_addresses(flat.nonzero()[0], flat.size, lambda: flat)


def encode_addresses(
    addresses: NDArray[np.intp], size: int, dense: Callable[[], NDArray[np.bool_]]
) -> tuple[str, bytes]:
    """Write spikes as address events or as bits, whichever is smaller.

    Args:
        addresses: Rising addresses of the spikes in the flattened array.
        size: Elements of the array.
        dense: Returns the flattened array, for spikes that are smaller as bits.

    Returns:
        The encoding and the bytes.
    """
    dense_size = (size + 7) >> 3
    events = addresses.size
    if events == 0:
        return "aer8", b""
    # Comparisons that cost little and decide most packets come first: the number of events is a lower bound of every
    # address-event encoding, so no distance is computed for dense spikes.
    if events < dense_size:
        first = int(addresses[0])
        gaps = addresses[1:] - addresses[:-1]
        # No distance needs an escape byte: one byte per event, which is smaller than `bits` by the condition above.
        if first < 255 and (events == 1 or _largest(gaps) < 255):
            return "aer8", first.to_bytes(1, "little") + gaps.astype(_U8).tobytes()
        # With escape bytes the size of aer8 depends on the distances, so all three sizes are compared.
        gaps = np.concatenate((addresses[:1], gaps))
        skips = gaps // 255
        size8 = events + int(skips.sum())
        if size8 < min(dense_size, 4 * events):
            # Every byte is an escape but the last of each event, which stands after that event's escapes.
            body = np.full(size8, 255, np.uint8)
            body[np.cumsum(skips + 1) - 1] = gaps % 255
            return "aer8", body.tobytes()
        if 4 * events < dense_size:
            return "aer32", gaps.astype("<u4").tobytes()
    return "bits", np.packbits(dense()).tobytes()


def _decode_data(encoding: str, body: bytes, size: int) -> NDArray[Any]:
    if encoding == "aer8":
        return _scatter(_addresses8(body), size)
    if encoding == "bits":
        if len(body) != (size + 7) >> 3:
            raise PacketError(f"{size} neuron-steps as bits are {(size + 7) >> 3} bytes, got {len(body)}")
        return np.unpackbits(np.frombuffer(body, np.uint8), count=size)
    if encoding == "aer32":
        return _scatter(_addresses32(body, size), size)
    kind = _GRADED.get(encoding)
    if kind is None:
        raise PacketError(f"unknown encoding {encoding[:32]!r}; known are {', '.join(ENCODINGS)}")
    if len(body) != size * kind.itemsize:
        raise PacketError(f"{size} values as {encoding} are {size * kind.itemsize} bytes, got {len(body)}")
    values: NDArray[Any] = np.frombuffer(body, kind).copy()  # an array over bytes is read-only
    if encoding != "u8" and not np.isfinite(values).all():
        raise PacketError("packet data holds NaN or infinity")
    return values


def _addresses8(body: bytes) -> NDArray[np.intp]:
    """Return the event addresses of aer8 bytes.

    Raises:
        PacketError: An address is repeated, or the bytes end in the middle of an event.
    """
    # The address of an event is the sum of all bytes up to it, escapes included.
    positions = np.frombuffer(body, _U8).astype(np.intp)
    _accumulate(positions, out=positions)
    # The search in bytes is much faster than a numpy comparison; most packets have no escapes and end here.
    if b"\xff" not in body:
        if body.find(0, 1) != -1:  # a distance of 0, except for the first event, which may be at address 0
            raise PacketError("aer8 data repeats an address")
        return positions
    if body[-1] == 255:
        raise PacketError("aer8 data ends in the middle of an event")
    addresses: NDArray[np.intp] = positions[np.frombuffer(body, _U8) != 255]
    if not (addresses[1:] > addresses[:-1]).all():
        raise PacketError("aer8 data repeats an address")
    return addresses


def _addresses32(body: bytes, size: int) -> NDArray[np.intp]:
    """Return the event addresses of aer32 bytes, for an array of `size` elements.

    Raises:
        PacketError: An address is repeated, or there are parts of an event, or too many.
    """
    if len(body) & 3:
        raise PacketError(f"aer32 data of {len(body)} bytes is not a whole number of events")
    gaps = np.frombuffer(body, "<u4")
    if gaps.size > size:  # before the sum is allocated
        raise PacketError(f"{gaps.size} events do not fit {size} neuron-steps")
    if not gaps[1:].all():
        raise PacketError("aer32 data repeats an address")
    return np.cumsum(gaps, dtype=np.intp)  # 64 bits: sums of u32 would wrap to valid addresses


def decode_addresses(encoding: str, body: bytes, size: int) -> NDArray[np.intp]:
    """Return the rising addresses of the spikes of a packet's data, flattened, in any encoding of spikes.

    Raises:
        PacketError: The data is none of `size` elements, or holds graded values.
    """
    if encoding in ("aer8", "aer32"):
        addresses = _addresses8(body) if encoding == "aer8" else _addresses32(body, size)
        if addresses.size and addresses[-1] >= size:
            raise PacketError(f"event address {int(addresses[-1])} is outside {size} neuron-steps")
        return addresses
    if encoding == "bits":
        return _decode_data(encoding, body, size).nonzero()[0]
    raise PacketError(f"data in the encoding {encoding[:32]!r} are graded values, not spikes")


def _scatter(addresses: NDArray[np.intp], size: int) -> NDArray[np.uint8]:
    spikes = np.zeros(size, _U8)
    if addresses.size:
        if addresses[-1] >= size:  # addresses increase, so the last is the largest
            raise PacketError(f"event address {int(addresses[-1])} is outside {size} neuron-steps")
        spikes[addresses] = _ONE
    return spikes


def _out_of_range(dt_us: int, seq: int, timestamp_ns: int) -> str:
    got = f"got {dt_us}, {seq} and {timestamp_ns}"
    return f"dt_us must be a whole number above 0, seq and timestamp_ns not negative; {got}"


def _wrong_type(fields: list[Any]) -> str:
    names = [
        "version",
        "timestamp_ns",
        "source",
        "seq",
        "modality",
        "neurons",
        "steps",
        "dt_us",
        "encoding",
        "data",
        "metadata",
    ]
    kinds = (int, int, str, int, str, int, int, int, str, bytes, dict)
    for name, kind, value in zip(names, kinds, fields, strict=False):
        if type(value) is not kind:
            return f"field {name} must be {kind.__name__}, got {_describe(value)}"
    return "a field has the wrong type"


def _describe(value: object) -> str:
    if isinstance(value, list | Mapping | str | bytes):
        return f"{type(value).__name__} of length {len(value)}"
    return f"{type(value).__name__} {shorten(repr(value), 40)}"

"""The SpikePacket codec: round trips, sizes, and what it does with bytes that are no packet."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from brainnet.errors import PacketError
from brainnet.wire import packet
from brainnet.wire.packet import SpikePacket

SHAPES = st.tuples(st.integers(0, 40), st.integers(0, 40))
METADATA = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False)
        | st.text()
        | st.binary(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@st.composite
def spikes(draw: st.DrawFn) -> NDArray[np.bool_]:
    """Spikes of any density, gaps beyond 255 among them."""
    shape = draw(st.tuples(st.integers(0, 60), st.integers(0, 60)))
    density = draw(st.sampled_from([0.0, 0.0005, 0.003, 0.05, 0.5, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 2**32))).random(shape) < density


@st.composite
def graded(draw: st.DrawFn) -> NDArray[Any]:
    kind = draw(st.sampled_from([np.uint8, np.float16, np.float32]))
    elements = None if kind is np.uint8 else {"allow_nan": False, "allow_infinity": False}
    return draw(hnp.arrays(kind, SHAPES, elements=elements))


@st.composite
def packets(draw: st.DrawFn) -> SpikePacket:
    return SpikePacket(
        draw(spikes() | graded()),
        modality=draw(st.text(max_size=20)),
        dt_us=draw(st.integers(1, 2**40)),
        source=draw(st.text(max_size=20)),
        seq=draw(st.integers(0, 2**63)),
        timestamp_ns=draw(st.integers(1, 2**63)),
        metadata=draw(METADATA),
    )


@given(packets())
def test_what_is_encoded_decodes_to_the_same_packet(sent: SpikePacket) -> None:
    received = packet.decode(packet.encode(sent))
    assert received == sent
    assert received.data.shape == sent.data.shape
    assert received.data.dtype == (np.uint8 if sent.data.dtype == np.bool_ else sent.data.dtype)
    assert received.data.flags.writeable


def _sizes_of_other_encodings(data: NDArray[np.bool_]) -> list[int]:
    """Bytes of each spike encoding, computed from the format's description and not from the codec."""
    addresses = np.flatnonzero(data)
    gaps = np.diff(addresses, prepend=0)
    return [(data.size + 7) // 8, 4 * len(addresses), sum(1 + int(gap) // 255 for gap in gaps)]


@given(spikes())
def test_the_smallest_spike_encoding_is_chosen(data: NDArray[np.bool_]) -> None:
    body = msgpack.unpackb(packet.encode(SpikePacket(data)))[9]
    assert len(body) == min(_sizes_of_other_encodings(data))


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (np.zeros((0, 5), bool), "aer8"),
        (np.zeros((1000, 1000), bool), "aer8"),
        (np.ones((8, 8), np.uint8), "bits"),
        (np.eye(64, dtype=bool), "aer8"),
        (np.arange(200_000).reshape(2, -1) == 123_456, "aer32"),
        (np.full((2, 2), 2, np.uint8), "u8"),
        (np.ones((2, 2), np.float16), "f16"),
        (np.ones((2, 2), np.float32), "f32"),
    ],
)
def test_each_kind_of_data_has_its_encoding(data: NDArray[Any], encoding: str) -> None:
    wire = packet.encode(SpikePacket(data))
    assert packet.body_encoding(wire) == encoding
    assert np.array_equal(packet.decode(wire).data, data)


def test_address_events_follow_the_format() -> None:
    data = np.zeros((1, 1200), np.uint8)
    data[0, [3, 4, 258, 514, 1199]] = 1  # distances 3, 1, 254, 256, 685
    fields = msgpack.unpackb(packet.encode(SpikePacket(data)))
    assert fields[8] == "aer8"
    assert list(fields[9]) == [3, 1, 254, 255, 1, 255, 255, 175]


def test_non_contiguous_and_big_endian_data_arrive_as_they_were() -> None:
    columns = np.arange(24, dtype=np.uint8).reshape(4, 6)[:, ::2]
    assert np.array_equal(packet.decode(packet.encode(SpikePacket(columns))).data, columns)
    swapped = np.array([[1.5, -2.0]], ">f4")
    assert np.array_equal(packet.decode(packet.encode(SpikePacket(swapped))).data, swapped)


def _decoded(payload: bytes) -> SpikePacket | None:
    """The packet, or None when the codec refuses it; any other exception fails the test."""
    try:
        return packet.decode(payload)
    except PacketError:
        return None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_packet_or_a_packet_error(payload: bytes) -> None:
    received = _decoded(payload)
    assert received is None or received.data.ndim == 2


WIRE_VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=40)
    | st.lists(st.integers(0, 9), max_size=3)
    | st.sampled_from(packet.ENCODINGS)
)


@given(packets(), st.integers(0, 10), WIRE_VALUES)
def test_any_value_in_any_field_is_a_packet_or_a_packet_error(sent: SpikePacket, index: int, value: object) -> None:
    fields = msgpack.unpackb(packet.encode(sent))
    fields[index] = value
    received = _decoded(msgpack.packb(fields))
    assert received is None or received.timestamp_ns == 0 or packet.decode(packet.encode(received)) == received


@settings(max_examples=20)
@given(packets())
def test_every_truncation_is_refused(sent: SpikePacket) -> None:
    wire = packet.encode(sent)
    for length in range(len(wire)):
        with pytest.raises(PacketError):
            packet.decode(wire[:length])


@given(packets(), st.data())
def test_a_flipped_bit_gives_a_readable_packet_or_a_packet_error(sent: SpikePacket, data: st.DataObject) -> None:
    wire = bytearray(packet.encode(sent))
    bit = data.draw(st.integers(0, 8 * len(wire) - 1))
    wire[bit // 8] ^= 1 << bit % 8
    received = _decoded(bytes(wire))
    assert received is None or np.isfinite(received.data).all()


@pytest.mark.parametrize(
    ("index", "value", "says"),
    [
        (0, 2000, "version 2000"),
        (5, -1, "negative"),
        (5, 1 << 40, "exceeds"),
        (7, 0, "dt_us"),
        (8, "zip", "unknown encoding 'zip'"),
        (9, b"\x05\x00", "repeats"),
        (9, b"\xff", "middle of an event"),
        (9, b"\xfe" * 9, "outside"),
        (10, [1], "metadata must be dict"),
        (2, "x" * 300, "256 characters"),
    ],
)
def test_a_wrong_field_is_named(index: int, value: object, says: str) -> None:
    fields = msgpack.unpackb(packet.encode(SpikePacket(np.eye(30, dtype=bool), source="a", seq=1)))
    fields[index] = value
    with pytest.raises(PacketError, match=says):
        packet.decode(msgpack.packb(fields))


def test_a_newer_minor_version_with_more_fields_is_read() -> None:
    sent = SpikePacket(np.eye(4, dtype=np.uint8), source="a", seq=3, timestamp_ns=9)
    fields = msgpack.unpackb(packet.encode(sent))
    fields[0] = 1007
    assert packet.decode(msgpack.packb([*fields, "from the future", {"x": 1}])) == sent


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (SpikePacket(np.zeros(3, bool)), "neurons, steps"),
        (SpikePacket(np.zeros((2, 2), np.int64)), "int64"),
        (SpikePacket(np.zeros((2, 2), np.float64)), "float64"),
        (SpikePacket(np.array([[np.nan]], np.float32)), "NaN"),
        (SpikePacket(np.zeros((1, 1), bool), metadata={"x": object()}), "cannot be sent"),
        (SpikePacket(np.zeros((1, 1), bool), metadata={"x": {1: 2}}), "cannot be sent"),
        (SpikePacket(np.zeros((1, 1), bool), dt_us=0), "dt_us"),
        (SpikePacket(np.zeros((1, 1), bool), dt_us=1.5), "dt_us"),  # type: ignore[arg-type]
        (SpikePacket(np.zeros((1, 1), bool), source="x" * 300), "256 characters"),
        (SpikePacket(np.broadcast_to(np.zeros(1, bool), (1 << 13, 1 << 12))), "exceeds"),
        (SpikePacket([[0, 1]]), "list"),  # type: ignore[arg-type]
    ],
)
def test_what_could_not_be_read_is_not_written(bad: SpikePacket, says: str) -> None:
    with pytest.raises(PacketError, match=says):
        packet.encode(bad)


def test_a_thousand_by_sixteen_at_five_percent_is_smaller_than_its_bits() -> None:
    data = np.random.default_rng(1).random((1024, 16)) < 0.05
    assert len(packet.encode(SpikePacket(data, modality="vision", source="vision"))) < data.size / 8 / 2

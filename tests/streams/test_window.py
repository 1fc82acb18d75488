"""Windows on the wire: what was sent is what is read, by those who know streams and by those who know packets."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainnet.errors import PacketError
from brainnet.simulation.spikes import Spikes
from brainnet.streams.window import SpikeWindow, decode_window, encode_window
from brainnet.wire.packet import SpikePacket

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 30))


def window(counts: np.ndarray[Any, Any], first_step: int = 7) -> SpikeWindow:
    spikes = Spikes.of_dense(first_step, counts)
    return SpikeWindow("v1", "run", first_step, counts.shape[0], 500, spikes.offsets, spikes.neurons, seq=3)


@given(
    SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.sampled_from([0, 0, 0, 0, 0, 0, 1, 1, 2, 200])))
)
def test_what_is_written_is_read_and_is_a_packet_for_everybody_else(counts: np.ndarray[Any, Any]) -> None:
    sent = window(counts)
    wire = encode_window(sent)
    read = decode_window(wire)
    for name in ("source", "run", "first_step", "neurons", "dt_us", "steps", "seq"):
        assert getattr(read, name) == getattr(sent, name)
    np.testing.assert_array_equal(read.offsets, sent.offsets)
    np.testing.assert_array_equal(read.fired, sent.fired)
    packet = SpikePacket.decode(wire)
    np.testing.assert_array_equal(packet.data, counts)
    assert (packet.source, packet.dt_us, packet.seq, packet.modality) == ("v1", 500, 3, "spikes")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.4, 1.0])
def test_any_density(share: float) -> None:
    counts = (np.random.default_rng(1).random((1001, 13)) < share).astype(int)
    sent = window(counts)
    read = decode_window(encode_window(sent))
    np.testing.assert_array_equal(read.offsets, sent.offsets)
    np.testing.assert_array_equal(read.fired, sent.fired)


def fields(**changes: Any) -> bytes:
    known = list(msgpack.unpackb(encode_window(window(np.ones((3, 4), int)))))
    names = ["version", "timestamp", "source", "seq", "modality", "neurons", "steps", "dt_us", "encoding", "body"]
    names += ["metadata", "first_step", "run"]
    for name, value in changes.items():
        known[names.index(name)] = value
    return bytes(msgpack.packb(known))


WRONG: dict[str, dict[str, Any]] = {
    "another version": {"version": 2001},
    "a first step below zero": {"first_step": -1},
    "a number that is a truth value": {"seq": True},
    "a run that is no text": {"run": 7},
    "a long name": {"source": "x" * 5000},
    "no step": {"steps": 0},
    "too large": {"neurons": 1 << 20, "steps": 1 << 20},
    "too few bits": {"encoding": "bits", "body": b"\x00"},
    "too few counts": {"encoding": "u8", "body": b"\x00"},
    "an address twice": {"encoding": "aer8", "body": b"\x00\x00"},
    "an address outside": {"encoding": "aer8", "body": b"\x7f"},
    "graded values": {"encoding": "f32", "body": b"\x00" * 48},
}
TEXTS = ["another version", "no whole number", "no whole number", "wrong type", "too large", "no step", "too large"]
TEXTS += ["bytes, got 1", "bytes, got 1", "repeats", "outside", "graded"]


@pytest.mark.parametrize(("name", "text"), list(zip(WRONG, TEXTS, strict=True)))
def test_what_is_no_window_is_refused(name: str, text: str) -> None:
    with pytest.raises(PacketError, match=text):
        decode_window(fields(**WRONG[name]))


@pytest.mark.parametrize(("payload", "text"), [(b"\xc1", "not msgpack"), (b"\x90", "array of 13 fields")])
def test_what_is_no_packet_is_refused(payload: bytes, text: str) -> None:
    with pytest.raises(PacketError, match=text):
        decode_window(payload)


def test_bits_behind_the_last_neuron_do_not_count() -> None:
    read = decode_window(fields(encoding="bits", body=b"\xff\xff"))  # 12 of 16 bits
    assert read.fired.tolist() == [0, 1, 2] * 4
    assert read.offsets.tolist() == [0, 3, 6, 9, 12]


def test_a_window_that_is_too_large_is_not_written() -> None:
    with pytest.raises(PacketError, match="exceeds"):
        encode_window(SpikeWindow("a", "r", 0, 1 << 23, 1000, np.zeros(5, np.int32), np.zeros(0, np.int32)))

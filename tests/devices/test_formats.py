"""EIEIO and AER: bytes as others write them, everything read back, and nothing but PacketError for garbage."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.devices import aer, eieio
from brainnet.devices.ticks import TickLine, unwrap
from brainnet.errors import PacketError
from tests.devices.golden import spinnman_bytes

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "eieio.json").read_text())
bits = st.sampled_from((16, 32))


@pytest.mark.parametrize("case", GOLDEN["written"], ids=lambda case: case["name"])
def test_eieio_writes_the_bytes_of_spinnman(case: dict[str, Any]) -> None:
    keys = np.array(case["keys"], np.int64)
    assert [part.hex() for part in eieio.encode(keys, case["bits"], case["tick"])] == case["datagrams"]


@pytest.mark.parametrize("case", GOLDEN["read"], ids=lambda case: case["name"])
def test_eieio_reads_what_spinnman_writes(case: dict[str, Any]) -> None:
    packet = eieio.decode(bytes.fromhex(case["datagram"]))
    assert packet.keys.tolist() == case["keys"]
    assert (None if packet.payloads is None else packet.payloads.tolist()) == case["payloads"]
    assert packet.timed == case["timed"]
    assert packet.command == case["command"]


def test_the_golden_bytes_are_those_of_the_installed_spinnman() -> None:
    pytest.importorskip("spinnman", reason="an independent encoder, needed to make the golden bytes only")
    assert spinnman_bytes.cases() == GOLDEN


@given(
    width=bits,
    keys=st.lists(st.integers(0, 65535), max_size=400),
    tick=st.none() | st.integers(0, (1 << 40) - 1),
)
def test_eieio_reads_what_it_writes(width: eieio.KeyBits, keys: list[int], tick: int | None) -> None:
    datagrams = eieio.encode(np.array(keys, np.int64), width, tick)
    most = eieio.most_keys(width, timed=tick is not None)
    assert len(datagrams) == -(-len(keys) // most)
    assert all(len(each) <= eieio.MAX_BYTES for each in datagrams)
    packets = [eieio.decode(each) for each in datagrams]
    assert [key for packet in packets for key in packet.keys.tolist()] == keys
    for packet in packets:
        assert packet.timed == (tick is not None)
        if tick is not None:
            assert packet.payloads is not None
            assert set(packet.payloads.tolist()) == {tick % (1 << width)}


def test_the_most_keys_of_a_datagram() -> None:
    assert (eieio.most_keys(32), eieio.most_keys(16)) == (63, 127)
    assert (eieio.most_keys(32, timed=True), eieio.most_keys(16, timed=True)) == (62, 126)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_packet_or_one_error(data: bytes) -> None:
    for read in (eieio.decode, lambda b: aer.decode(b, numbered=True), lambda b: aer.decode(b, numbered=False)):
        try:
            read(data)
        except PacketError:
            continue


def test_keys_that_do_not_fit() -> None:
    with pytest.raises(PacketError, match="from 0 to 65535"):
        eieio.encode(np.array([65536]), 16)
    with pytest.raises(PacketError, match="from 0 to"):
        eieio.encode(np.array([-1]), 32)
    with pytest.raises(PacketError, match="addresses must be"):
        aer.encode(np.array([1 << 32]), np.array([0]))
    with pytest.raises(PacketError, match="2 addresses and 1 times"):
        aer.encode(np.array([1, 2]), np.array([0]))


@given(
    addresses=st.lists(st.integers(0, (1 << 32) - 1), max_size=500),
    time=st.integers(0, 1 << 40),
    sequence=st.none() | st.integers(0, (1 << 32) - 1),
)
def test_aer_reads_what_it_writes(addresses: list[int], time: int, sequence: int | None) -> None:
    times = np.arange(len(addresses), dtype=np.int64) * 7 + time
    datagrams = aer.encode(np.array(addresses, np.int64), times, sequence)
    packets = [aer.decode(each, numbered=sequence is not None) for each in datagrams]
    assert [each for packet in packets for each in packet.addresses.tolist()] == addresses
    assert [each for packet in packets for each in packet.times.tolist()] == (times % aer.WRAP).tolist()
    numbers = [packet.sequence for packet in packets]
    if sequence is None:
        assert set(numbers) <= {None}
    else:
        assert numbers == [(sequence + index) % aer.WRAP for index in range(len(packets))]


def test_aer_has_the_bytes_of_its_description() -> None:
    datagram = struct.pack(">IIIII", 9, 0x01020304, 5, 7, 0xFFFFFFFF)
    assert aer.encode(np.array([0x01020304, 7]), np.array([5, 0xFFFFFFFF]), 9) == [datagram]


@given(
    first=st.integers(0, (1 << 32) - 1),
    count=st.integers(2, 300),
    seed=st.integers(0, 1 << 30),
)
def test_lost_datagrams_are_counted_exactly_also_when_others_come_late(first: int, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    kept = np.flatnonzero(random.random(count) < 0.8)
    if kept.size < 2:
        return
    expected = int(kept[-1] - kept[0] + 1 - kept.size)
    order = kept[1:-1].copy()
    random.shuffle(order)  # the first and the last keep their places: only between them is it known what is missing
    counted = aer.SequenceCount()
    for number in (kept[0], *order, kept[-1]):
        counted.add((first + int(number)) % aer.WRAP)
    assert counted.lost == expected


@settings(max_examples=25)  # each fits a line 150 times
@given(
    drift=st.floats(-2e-4, 2e-4),
    jitter_us=st.floats(0, 300),
    wild=st.integers(0, 5),
    seed=st.integers(0, 1 << 30),
)
def test_the_line_finds_the_clock_of_a_device(drift: float, jitter_us: float, wild: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    tick_ns, begin = 1e6 * (1 + drift), 1_700_000_000_000_000_000
    line = TickLine(1e6)
    ticks = np.cumsum(random.integers(1, 5, 600))
    delays = random.exponential(jitter_us * 1e3, 600)
    delays[random.choice(600, wild, replace=False)] += 5e7  # a datagram that waited 50 ms
    for tick, delay in zip(ticks, delays, strict=True):
        line.add(int(tick) + 1000, begin + round(tick * tick_ns + delay))
    expected = begin + ticks[-200:] * tick_ns
    error = line.at_ns(ticks[-200:] + 1000) - expected
    # float64 holds nanoseconds since 1970 to within 256 ns
    assert error.min() > -1e3
    assert error.max() < 1e3 + jitter_us * 1e3 * 1.5
    assert line.restarts == 0


def test_a_device_that_counts_anew_gets_a_new_line() -> None:
    line = TickLine(1e6)
    for tick in range(100):
        line.add(50_000 + tick, tick * 1_000_000)
    for tick in range(20):
        line.add(tick, 200_000_000 + tick * 1_000_000)
    assert line.restarts == 1
    assert line.at_ns(np.array([19]))[0] == pytest.approx(219_000_000, abs=1e3)


@given(st.integers(0, 1 << 40), st.integers(-30_000, 30_000))
def test_counters_are_unwrapped(near: int, off: int) -> None:
    assert unwrap(np.array([(near + off) % 65536]), 65536, near).tolist() == [near + off]

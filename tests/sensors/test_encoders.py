"""Encoders beside plain loops, and beside other people's; how input and windows are cut does not matter."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from snntorch import spikegen

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block, in_windows, sample_times
from brainnet.sensors.encoders import change
from brainnet.sensors.encoders.addresses import Addresses
from brainnet.sensors.encoders.base import Encoder
from brainnet.sensors.encoders.change import FrameChange, SampleChange
from brainnet.sensors.encoders.latency import Latency
from brainnet.sensors.encoders.rate import Rate
from brainnet.sensors.encoders.rows import first_sample, sample_numbers
from brainnet.sensors.encoders.voxels import Voxels
from brainnet.sensors.events import EVENT, Events
from brainnet.simulation.random import key_of, uniform
from brainnet.snn.codes.encoders import latency_encode
from brainnet.snn.codes.event_frames import event_frames
from tests.sensors.feeding import encoded, windows_of

STEPS, DT = 40, 1000
TIMES = st.lists(st.integers(0, STEPS * DT - 1), max_size=6).map(sorted)
Spike = tuple[int, int]


@st.composite
def frames(draw: st.DrawFn, shape: tuple[int, ...] = (2, 3)) -> list[Block]:
    """Draw frames of bytes at any times."""
    found = []
    for number, t_us in enumerate(draw(TIMES)):
        pixels = draw(st.lists(st.integers(0, 255), min_size=math.prod(shape), max_size=math.prod(shape)))
        found.append(Block(t_us, np.array(pixels, np.uint8).reshape(shape), number))
    return found


def held_at(blocks: list[Block], step: int) -> Block | None:
    """Return the payload that holds in a step: the last one up to its end."""
    before = [block for block in blocks if block.t_us // DT <= step]
    return before[-1] if before else None


@given(frames(), windows_of(STEPS), st.integers(0, 3))
def test_rate_is_a_comparison_with_the_random_number_of_seed_step_and_neuron(
    blocks: list[Block], lengths: list[int], seed: int
) -> None:
    expected: list[Spike] = []
    key = key_of(seed, "encoder", "rate")
    for step in range(STEPS):
        block = held_at(blocks, step)
        for neuron, pixel in enumerate([] if block is None else block.payload.reshape(-1).tolist()):
            if uniform(key, step, neuron) < min(max(pixel - 10, 0) / 190, 1) * 0.9:
                expected.append((step, neuron))

    def make() -> Rate:
        return Rate((2, 3), DT, max_rate_hz=900, low=10, high=200, seed=seed)

    assert encoded(make, blocks, lengths) == expected


def test_the_rate_is_the_value_within_its_standard_error() -> None:
    values, steps = np.arange(256, dtype=np.uint8), 20_000
    encoder = Rate((256,), DT, max_rate_hz=400)
    spikes = encoder.window(0, steps, [Block(0, values, 0)])
    p = values / 255 * 0.4
    counts = np.bincount(spikes.neurons, minlength=256)
    off = (counts - p * steps)[1:] / np.sqrt(steps * p * (1 - p))[1:]
    assert counts[0] == 0
    assert np.abs(off).max() < 4.5
    assert abs(off.mean()) < 4 / math.sqrt(255)
    other = Rate((256,), DT, max_rate_hz=400, name="another").window(0, steps, [Block(0, values, 0)])
    assert not np.array_equal(other.neurons, spikes.neurons)


@given(frames(), windows_of(STEPS), st.integers(2, 30), st.sampled_from([None, 100.0]))
def test_latency_fires_once_for_each_payload_until_the_next(
    blocks: list[Block], lengths: list[int], code_steps: int, silent_below: float | None
) -> None:
    expected: list[Spike] = []
    for step in range(STEPS):
        block = held_at(blocks, step)
        for neuron, pixel in enumerate([] if block is None else block.payload.reshape(-1).tolist()):
            assert block is not None
            due = block.t_us // DT + round((1 - pixel * (1 / 255)) * (code_steps - 1))
            if due == step and not (silent_below is not None and pixel < silent_below):
                expected.append((step, neuron))

    def make() -> Latency:
        return Latency((2, 3), DT, code_steps=code_steps, silent_below=silent_below)

    assert encoded(make, blocks, lengths) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(2, 50))
def test_latency_is_that_of_the_neural_library(numbers: list[float], steps: int) -> None:
    values = np.array(numbers)
    spikes = Latency((len(numbers),), DT, code_steps=steps, high=1.0).window(0, steps, [Block(0, values, 0)])
    assert np.array_equal(spikes.dense(len(numbers)), latency_encode(torch.from_numpy(values), steps).numpy().T)


def crossings(values: list[float], threshold: float, most: int) -> list[int]:
    """Return how often each value fires, below 0 where it falls; the reference follows."""
    found, reference = [], values[0]
    for value in values:
        n = int(abs(value - reference) / threshold)
        sign = 1 if value > reference else -1
        reference = value if n > most else reference + sign * n * threshold
        found.append(sign * min(n, most))
    return found


@given(frames(), windows_of(STEPS), st.sampled_from([1.0, 16.0, 100.0]), st.integers(1, 20))
def test_pixels_fire_when_they_have_changed_by_the_threshold(
    blocks: list[Block], lengths: list[int], threshold: float, most: int
) -> None:
    expected: list[Spike] = []
    for pixel in range(6 if blocks else 0):
        values = [float(block.payload.reshape(-1)[pixel]) for block in blocks]
        for block, n in zip(blocks, crossings(values, threshold, most), strict=True):
            expected += [(block.t_us // DT, pixel + (6 if n > 0 else 0))] * abs(n)

    def make() -> FrameChange:
        return FrameChange((2, 3), DT, threshold=threshold, most=most)

    assert encoded(make, blocks, lengths) == sorted(expected)


@given(frames())
def test_a_logarithm_makes_changes_relative(blocks: list[Block]) -> None:
    plain = [Block(b.t_us, np.log(b.payload + 1.0), b.sequence) for b in blocks]
    # no step of the logarithm of a byte is as near to a multiple of this threshold as the two logarithms differ
    logarithmic = encoded(lambda: FrameChange((2, 3), DT, threshold=0.2345678, logarithmic=True), blocks, [STEPS])
    assert logarithmic == encoded(lambda: FrameChange((2, 3), DT, threshold=0.2345678), plain, [STEPS])


@given(st.lists(st.lists(st.integers(0, 255), min_size=4, max_size=4), min_size=1, max_size=10))
def test_against_the_previous_frame_it_is_the_delta_code_of_snntorch(pixels: list[list[int]]) -> None:
    sequence = torch.tensor(pixels, dtype=torch.float64)
    signed = spikegen.delta(sequence, threshold=30, padding=True, off_spike=True).numpy().T
    encoder = FrameChange((4,), DT, threshold=30, reference="previous")
    blocks = [Block(k * DT, frame.numpy(), k) for k, frame in enumerate(sequence)]
    dense = encoder.window(0, len(blocks), blocks).dense(8)
    assert np.array_equal(dense[4:], signed == 1)
    assert np.array_equal(dense[:4], signed == -1)


RATES = st.sampled_from([1000, 256, 250.0, 333.3, 1600])


@given(st.data(), RATES, windows_of(STEPS))
def test_how_samples_are_cut_into_blocks_does_not_matter(data: st.DataObject, rate: float, lengths: list[int]) -> None:
    count = int(STEPS * DT * rate / 1e6)
    values = data.draw(st.lists(st.integers(-50, 50), min_size=2 * count, max_size=2 * count))
    samples = np.array(values, np.float64).reshape(count, 2) / 8
    expected: list[Spike] = []
    for channel, threshold in enumerate([1.0, 2.5]):
        for k, n in enumerate(crossings(samples[:, channel].tolist(), threshold, 4)) if count else ():
            step = round(k * 1_000_000 / rate) // DT
            expected += [(step, channel + (2 if n > 0 else 0))] * abs(n)

    def make() -> SampleChange:
        return SampleChange(2, DT, threshold=[1.0, 2.5], most=4)

    blocks: list[Block] = []
    at = 0
    while at < count:
        rows = data.draw(st.integers(1, count))
        blocks.append(Block(round(at * 1_000_000 / rate), samples[at : at + rows], len(blocks), rate))
        at += rows
    assert encoded(make, blocks, lengths) == sorted(expected)
    single = [Block(round(k * 1_000_000 / rate), row, k) for k, row in enumerate(samples)]
    assert encoded(make, single, lengths) == sorted(expected)


@st.composite
def recorded(draw: st.DrawFn) -> Events:
    """Draw events of a sensor of 5 x 4 pixels."""
    one = st.tuples(st.integers(0, STEPS * DT - 1), st.integers(0, 4), st.integers(0, 3), st.booleans())
    rows = sorted(draw(st.lists(one, max_size=30)), key=lambda row: row[0])
    return Events.of_packed(np.array(rows, EVENT), 5, 4)


@given(recorded(), windows_of(STEPS), st.integers(1, 10), st.booleans(), st.integers(1, 6))
def test_events_are_spikes_of_their_pixels(
    events: Events, lengths: list[int], at_once: int, once: bool, pool: int
) -> None:
    rows, columns = math.ceil(4 / pool), math.ceil(5 / pool)
    expected = Counter(
        (t // DT, (int(on) * rows + y // pool) * columns + x // pool) for t, x, y, on in events.packed().tolist()
    )
    parts = [events.packed()[low : low + at_once] for low in range(0, len(events), at_once)]
    blocks = [Block(int(part["t_us"][0]), part, number) for number, part in enumerate(parts)]
    found = encoded(lambda: Addresses(5, 4, DT, pool=pool, once=once), blocks, lengths)
    assert found == sorted(expected if once else expected.elements())


@given(recorded())
def test_events_are_those_of_event_frames(events: Events) -> None:
    blocks = [Block(int(events.t_us[0]), events.packed(), 0)] if len(events) else []
    spikes = Addresses(5, 4, DT, once=False)
    frames_ = event_frames(events.stream(), 4, 5, dt_us=DT, steps=STEPS, counts=True)
    first = blocks[0].t_us // DT if blocks else 0
    dense = spikes.window(first, STEPS - first, blocks).dense(40)
    assert np.array_equal(dense, frames_.reshape(STEPS, 40).T[:, first:])


def test_a_late_block_of_events_is_moved_as_a_whole() -> None:
    packed = np.array([(100, 0, 0, True), (1100, 1, 0, True)], EVENT)
    spikes = Addresses(5, 4, DT).window(7, 3, [Block(7000, packed, 0)])
    assert spikes.dense(40).nonzero()[1].tolist() == [0, 1]


COORDINATE = st.one_of(st.floats(-1.5, 2.5, width=32), st.sampled_from([math.nan, math.inf, -1.0, 0.0, 2.0, 1e38]))


@given(st.data(), windows_of(STEPS), st.integers(1, 3))
def test_cells_with_points_fire(data: st.DataObject, lengths: list[int], min_points: int) -> None:
    cloud = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), max_size=12)
    blocks = [
        Block(t_us, np.array(data.draw(cloud), np.float32).reshape(-1, 3), number)
        for number, t_us in enumerate(data.draw(TIMES))
    ]
    expected: set[Spike] = set()
    for block in blocks:
        cells = Counter[int]()
        for point in block.payload.astype(float).tolist():
            if all(-1 <= c < 2 for c in point):  # False for what is no number
                i, j, k = (math.floor((c + 1) / 3 * n) for c, n in zip(point, (2, 3, 4), strict=True))
                cells[(i * 3 + j) * 4 + k] += 1
        expected |= {(block.t_us // DT, cell) for cell, n in cells.items() if n >= min_points}

    def make() -> Voxels:
        return Voxels((-1, -1, -1), (2, 2, 2), (2, 3, 4), DT, min_points=min_points)

    assert encoded(make, blocks, lengths) == sorted(expected)


def test_cells_are_those_of_the_histogram_of_numpy() -> None:
    points = np.random.default_rng(0).normal(size=(500, 3))
    spikes = Voxels((-1, -1, -1), (1, 1, 1), (4, 4, 4), DT).window(0, 1, [Block(0, points, 0)])
    inside = points[(np.abs(points) < 1).all(1)]
    counts, _ = np.histogramdd(inside, bins=(4, 4, 4), range=[(-1, 1)] * 3)
    assert spikes.neurons.tolist() == np.flatnonzero(counts).tolist()


@given(st.integers(0, 1 << 40), st.one_of(st.integers(1, 1_000_000), st.floats(0.01, 1e6)), st.integers(1, 50))
def test_times_of_samples_are_rounded_quotients_and_give_the_number_back(n: int, rate: float, count: int) -> None:
    whole = rate == int(rate)
    n = min(n, int((1e9 if whole else 1e7) * rate))  # up to 31 years, or 115 days
    times = sample_times(np.arange(n, n + count), rate).tolist()
    exact = [Fraction(k) * 1_000_000 / Fraction(rate) for k in range(n, n + count)]
    if whole:
        assert times == [round(time) for time in exact]
    assert all(abs(t - time) < 0.51 for t, time in zip(times, exact, strict=True))
    assert all(first_sample(t, rate) == k for k, t in enumerate(times, n))
    assert sample_numbers(np.array(times), rate).tolist() == list(range(n, n + count))


def test_windows_are_made_of_blocks_in_order_of_time() -> None:
    blocks = [Block(t, np.zeros(1), k) for k, t in enumerate([0, 999, 5000, 5001, 12_000])]
    cut = list(in_windows(blocks, 1000, 2))
    assert [(first, [b.sequence for b in held]) for first, held in cut] == [
        (0, [0, 1]), (2, []), (4, [2, 3]), (6, []), (8, []), (10, []), (12, [4]),
    ]  # fmt: skip
    assert list(in_windows([], 1000, 2)) == []
    for wrong in ([Block(-1, np.zeros(1), 0)], blocks[::-1]):
        with pytest.raises(SensorError):
            list(in_windows(wrong, 1000, 2))
    with pytest.raises(SensorError):
        list(in_windows(blocks, 0, 2))


def packed(*rows: tuple[int, int, int, bool]) -> Any:
    return np.array(list(rows), EVENT)


WRONG: dict[str, tuple[Any, Block]] = {
    "another shape": (lambda: Rate((2, 3), DT), Block(0, np.zeros((3, 2)), 3)),
    "more axes": (lambda: Latency((2, 3), DT, code_steps=4), Block(0, np.zeros((2, 3, 3)), 3)),
    "text": (lambda: FrameChange((2,), DT, threshold=1), Block(0, np.array(["a", "b"]), 3)),
    "complex": (lambda: FrameChange((2,), DT, threshold=1), Block(0, np.zeros(2, complex), 3)),
    "not a number": (lambda: SampleChange(2, DT, threshold=1), Block(0, np.array([0, math.nan]), 3)),
    "infinite": (lambda: Rate((1,), DT), Block(0, np.array([math.inf]), 3)),
    "negative light": (lambda: FrameChange((1,), DT, threshold=1, logarithmic=True), Block(0, np.array([-1.0]), 3)),
    "no rate": (lambda: SampleChange(2, DT, threshold=1), Block(0, np.zeros((4, 2)), 3)),
    "a rate of 0": (lambda: SampleChange(2, DT, threshold=1), Block(0, np.zeros((4, 2)), 3, 0)),
    "no rate at all": (lambda: SampleChange(2, DT, threshold=1), Block(0, np.zeros((4, 2)), 3, math.nan)),
    "a tiny rate": (lambda: SampleChange(2, DT, threshold=1), Block(0, np.zeros((4, 2)), 3, 1e-300)),
    "half a microsecond": (lambda: Rate((1,), DT), Block(0.5, np.zeros(1), 3)),  # type: ignore[arg-type]
    "a list": (lambda: Rate((1,), DT), Block(0, [1.0], 3)),  # type: ignore[arg-type]
    "too early": (lambda: Rate((1,), DT), Block(-1, np.zeros(1), 3)),
    "too late": (lambda: Rate((1,), DT), Block(10 * DT, np.zeros(1), 3)),
    "points": (lambda: Voxels((0, 0, 0), (1, 1, 1), (1, 1, 1), DT), Block(0, np.zeros((3, 2)), 3)),
    "no events": (lambda: Addresses(5, 4, DT), Block(0, np.zeros(3), 3)),
    "events beside": (lambda: Addresses(5, 4, DT), Block(0, packed((0, 5, 0, True)), 3)),
    "events back": (lambda: Addresses(5, 4, DT), Block(9, packed((9, 0, 0, True), (8, 0, 0, True)), 3)),
    "years of events": (lambda: Addresses(5, 4, DT), Block(0, packed((0, 0, 0, True), (1 << 60, 0, 0, True)), 3)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_payload_is_one_error_that_names_it_and_changes_nothing(name: str) -> None:
    make, block = WRONG[name]
    encoder = make()
    before = encoder.save()
    with pytest.raises(SensorError, match="payload 3"):
        encoder.window(0, 10, [block])
    after = encoder.save()
    assert all(np.array_equal(before[k], after[k], equal_nan=True) for k in before)
    assert encoder.window(0, 10, []).count == 0


def test_payloads_must_be_in_order_and_windows_follow_each_other() -> None:
    encoder = Rate((1,), DT)
    with pytest.raises(SensorError, match="payload 1"):
        encoder.window(0, 10, [Block(500, np.zeros(1), 0), Block(400, np.zeros(1), 1)])
    encoder.window(5, 10, [])
    for first in (5, 14, 16, -1):
        with pytest.raises(SensorError):
            encoder.window(first, 10, [])
    with pytest.raises(SensorError):
        encoder.window(15, 0, [])
    with pytest.raises(SensorError):
        encoder.window(15, 1 << 40, [])
    with pytest.raises(SensorError):
        Rate((1,), DT).window(1 << 62, 1, [])
    overlapping = SampleChange(1, DT, threshold=1)
    overlapping.window(0, 5, [Block(0, np.zeros((10, 1)), 0, 1000)])
    with pytest.raises(SensorError, match="payload 1"):
        overlapping.window(5, 5, [Block(9000, np.zeros((10, 1)), 1, 1000)])


def test_a_state_of_another_encoder_is_refused() -> None:
    encoder = SampleChange(2, DT, threshold=1)
    for other in (SampleChange(3, DT, threshold=1), Rate((2,), DT)):
        with pytest.raises(SensorError):
            encoder.load(other.save())
    with pytest.raises(SensorError):
        encoder.load({name: array.astype(np.float32) for name, array in encoder.save().items()})


DEFAULTS: dict[str, tuple[Encoder, Encoder, Block]] = {
    "Rate": (
        Rate((256,), DT),
        Rate((256,), DT, max_rate_hz=100, low=0, high=255, seed=0, name="rate"),
        Block(0, np.arange(256, dtype=np.uint8), 0),
    ),
    "Latency": (
        Latency((256,), DT, code_steps=2000),
        Latency((256,), DT, code_steps=2000, low=0, high=255, silent_below=None),
        Block(0, np.arange(256, dtype=np.uint8), 0),
    ),
    "SampleChange": (
        SampleChange(1, DT, threshold=1),
        SampleChange(1, DT, threshold=1, most=16),
        Block(0, np.array([[0.0], [16.0], [33.0], [51.5], [51.5]]), 0, 1000),
    ),
    "FrameChange": (
        FrameChange((2,), DT, threshold=1, reference="tracked"),
        FrameChange((2,), DT, threshold=1, logarithmic=False, most=16),
        Block(0, np.array([0, 40]), 0),
    ),
    "Voxels": (
        Voxels((0, 0, 0), (1, 1, 1), (2, 2, 2), DT),
        Voxels((0, 0, 0), (1, 1, 1), (2, 2, 2), DT, min_points=1),
        Block(0, np.full((1, 3), 0.5), 0),
    ),
    "Addresses": (
        Addresses(5, 4, DT),
        Addresses(5, 4, DT, pool=1, once=True),
        Block(0, np.array([(0, 3, 2, True), (1, 3, 2, True)], EVENT), 0),
    ),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_defaults_are_these(name: str) -> None:
    short, long, block = DEFAULTS[name]
    second = Block(5000, block.payload[::-1].copy(), 1) if name == "FrameChange" else None
    payloads = [block] if second is None else [block, second]
    found, expected = (encoder.window(0, 2100, payloads) for encoder in (short, long))
    assert found.count
    assert np.array_equal(found.dense(short.size), expected.dense(long.size))


def test_more_spikes_than_a_window_holds_are_an_error_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "MAX_VALUES", 12)
    encoder = SampleChange(1, DT, threshold=1)
    encoder.window(0, 1, [Block(0, np.zeros(1), 0)])
    before = encoder.save()
    with pytest.raises(SensorError):
        encoder.window(1, 1, [Block(1000, np.full(1, 13.0), 1)])
    assert all(np.array_equal(before[name], array) for name, array in encoder.save().items())
    assert encoder.window(1, 1, [Block(1000, np.full(1, 12.0), 1)]).count == 12


IMPOSSIBLE: dict[str, Any] = {
    "no neuron": lambda: Rate((0,), DT),
    "no step": lambda: Rate((1,), 0),
    "a rate above one spike a step": lambda: Rate((1,), DT, max_rate_hz=1001),
    "no range": lambda: Rate((1,), DT, low=1, high=1),
    "a code of one step": lambda: Latency((1,), DT, code_steps=1),
    "no threshold": lambda: FrameChange((1,), DT, threshold=0),
    "another reference": lambda: FrameChange((1,), DT, threshold=1, reference="last"),  # type: ignore[arg-type]
    "no channel": lambda: SampleChange(0, DT, threshold=1),
    "negative channels": lambda: SampleChange(-1, DT, threshold=1),
    "thresholds": lambda: SampleChange(2, DT, threshold=[1, 2, 3]),
    "most": lambda: SampleChange(2, DT, threshold=1, most=0),
    "no box": lambda: Voxels((0, 0, 0), (1, 0, 1), (1, 1, 1), DT),
    "no cells": lambda: Voxels((0, 0, 0), (1, 1, 1), (1, 0, 1), DT),
    "no points": lambda: Voxels((0, 0, 0), (1, 1, 1), (1, 1, 1), DT, min_points=0),
    "no sensor": lambda: Addresses(0, 4, DT),
    "no pool": lambda: Addresses(5, 4, DT, pool=0),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_encoder_that_cannot_be_made_is_one_error(name: str) -> None:
    with pytest.raises(SensorError):
        IMPOSSIBLE[name]()

"""Delivery of spikes, against a loop over spikes and synapses."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainnet.simulation.delivery import Ring, StaticSynapses
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes

SOURCES, TARGETS, LONGEST = 6, 5, 7


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    degrees = draw(st.lists(st.integers(0, 6), min_size=SOURCES, max_size=SOURCES))
    count = sum(degrees)

    def values(low: int, high: int, equal: bool) -> NDArray[np.int32]:
        size = 1 if equal else count
        return np.array(draw(st.lists(st.integers(low, high), min_size=size, max_size=size)), np.int32)

    start = np.concatenate([[0], np.cumsum(degrees)]).astype(np.int64)
    weights = values(-(2**31) + 1, 2**31 - 1, draw(st.booleans()))
    return Rows(start, values(0, TARGETS - 1, False), weights, values(1, LONGEST, draw(st.booleans())))


TRAINS = st.lists(st.lists(st.integers(0, SOURCES - 1), max_size=6).map(sorted), min_size=1, max_size=20)


def window(first: int, steps: list[list[int]]) -> Spikes:
    offsets = np.concatenate([[0], np.cumsum([len(step) for step in steps])]).astype(np.int32)
    return Spikes(first, offsets, np.array([*itertools.chain(*steps)], np.int32))


@given(rows(), TRAINS, st.integers(0, 2**40), st.data())
def test_every_spike_arrives_at_every_synapse_after_its_delay(
    synapses: Rows, trains: list[list[int]], first: int, data: st.DataObject
) -> None:
    """In windows of any length: sent one by one, and taken as soon as they are complete."""
    expected: defaultdict[tuple[int, int], int] = defaultdict(int)
    weights = np.broadcast_to(synapses.weights, (synapses.count,)).tolist()
    delays = np.broadcast_to(synapses.delays, (synapses.count,)).tolist()
    for step, train in enumerate(trains):
        for i in train:
            for k in range(synapses.start[i], synapses.start[i + 1]):
                expected[step + delays[k], int(synapses.targets[k])] += weights[k]
    longest_window = data.draw(st.integers(1, 6))
    ring = Ring(2, LONGEST + longest_window, TARGETS)
    static = StaticSynapses(synapses)
    found: dict[tuple[int, int], int] = {}
    step = 0
    while step < len(trains) + LONGEST:
        steps = data.draw(st.integers(1, longest_window))
        part = (trains + [[]] * (LONGEST + longest_window))[step : step + steps]
        static.deliver(window(first + step, part), ring.sums[1])
        taken = ring.take(1, first + step, steps)
        assert taken.shape == (steps, TARGETS)
        found |= {(step + s, j): int(taken[s, j]) for s in range(steps) for j in range(TARGETS) if taken[s, j]}
        step += steps
    assert found == {place: total for place, total in expected.items() if total}
    assert not ring.sums.any()


@given(st.integers(1, 100))
def test_a_ring_is_as_long_as_it_must_be(span: int) -> None:
    ring = Ring(1, span, 3)
    assert ring.length >= span
    assert ring.length & (ring.length - 1) == 0
    assert ring.sums.shape == (1, ring.length, 3)


def test_sums_of_the_largest_weights_do_not_overflow() -> None:
    start, targets = np.array([0, 1000]), np.zeros(1000, np.int32)
    for weight in (2**31 - 1, -(2**31) + 1):
        for size in (1, 1000):
            ring = Ring(1, 2, 1)
            weights, delays = np.full(size, weight, np.int32), np.ones(1, np.int32)
            StaticSynapses(Rows(start, targets, weights, delays)).deliver(window(0, [[0] * 100]), ring.sums[0])
            assert ring.sums[0, 1, 0] == weight * 100_000


def test_what_is_taken_is_no_view_of_the_ring() -> None:
    ring = Ring(1, 4, 2)
    ring.sums[0, 1] = 5
    taken = ring.take(0, 1, 1)
    ring.sums[0, 1] = 9
    assert taken.tolist() == [[5, 5]]


def test_more_steps_than_the_ring_has_are_not_taken() -> None:
    ring = Ring(1, 4, 2)
    with pytest.raises(ValueError, match="4 steps"):
        ring.take(0, 0, 5)


def test_rows_say_what_they_are() -> None:
    empty = Rows(np.zeros(4, np.int64), np.zeros(0, np.int32), np.ones(1, np.int32), np.full(1, 9, np.int32))
    assert (empty.sources, empty.count, empty.shortest_delay, empty.longest_delay) == (3, 0, 1, 1)
    some = Rows(np.array([0, 2]), np.array([1, 0], np.int32), np.ones(1, np.int32), np.array([4, 2], np.int32))
    assert (some.sources, some.count, some.shortest_delay, some.longest_delay) == (1, 2, 2, 4)
    assert some.nbytes == 16 + 8 + 4 + 8

"""Spikes of a window, dense and sparse."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from brainnet.simulation.spikes import Spikes

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 9))
COUNTS = SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.sampled_from([0, 0, 0, 1, 1, 3])))
FIRST = st.integers(0, 2**40)


@given(COUNTS, FIRST)
def test_dense_and_sparse(counts: NDArray[np.int64], first: int) -> None:
    spikes = Spikes.of_dense(first, counts)
    neurons, steps = counts.shape
    assert (spikes.steps, spikes.first_step, spikes.end_step) == (steps, first, first + steps)
    assert spikes.offsets.dtype == spikes.neurons.dtype == np.int32
    expected = [[n for n in range(neurons) for _ in range(counts[n, s])] for s in range(steps)]
    assert [spikes.in_step(first + s).tolist() for s in range(steps)] == expected
    assert spikes.neurons.tolist() == [*itertools.chain(*expected)]
    assert spikes.count == counts.sum()
    assert (spikes.dense(neurons) == counts).all()


@given(COUNTS, FIRST, st.data())
def test_windows_are_joined(counts: NDArray[np.int64], first: int, data: st.DataObject) -> None:
    steps = counts.shape[1]
    cuts = [0, *sorted(data.draw(st.sets(st.integers(0, steps)))), steps]
    parts = [Spikes.of_dense(first + a, counts[:, a:b]) for a, b in itertools.pairwise(cuts)]
    joined, whole = Spikes.joined(parts), Spikes.of_dense(first, counts)
    assert joined.first_step == first
    assert joined.offsets.dtype == joined.neurons.dtype == np.int32
    assert joined.offsets.tolist() == whole.offsets.tolist()
    assert joined.neurons.tolist() == whole.neurons.tolist()


def test_windows_that_do_not_follow_each_other_are_not_joined() -> None:
    with pytest.raises(ValueError, match="step 13"):
        Spikes.joined([Spikes.none(10, 3), Spikes.none(14, 3)])


def test_a_window_without_spikes() -> None:
    spikes = Spikes.none(7, 3)
    assert (spikes.steps, spikes.count, spikes.end_step) == (3, 0, 10)
    assert not spikes.dense(4).any()
    assert Spikes.none(7, 0).steps == 0


def test_more_spikes_than_a_byte_counts_stay_so_many() -> None:
    counts = np.array([[300, 0], [1, 256]])
    assert (Spikes.of_dense(0, counts).dense(2) == counts).all()


def test_truths_are_spikes_too() -> None:
    fired = np.array([[True, False], [True, True]])
    assert Spikes.of_dense(0, fired).neurons.tolist() == [0, 1, 1]
    assert Spikes.of_dense(0, fired.astype(np.float32)).neurons.tolist() == [0, 1, 1]

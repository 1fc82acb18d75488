"""The integer LIF against the equation in Python's unbounded integers: any current, any length, any constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.snn.neurons.integer_lif import IntegerLIFParams, IntegerLIFState, integer_lif_sequence

Currents = NDArray[np.integer[Any]]

INT16 = st.integers(-32768, 32767)
TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
PARAMS = st.builds(IntegerLIFParams, st.integers(0, 256), INT16, INT16)
# around the edges of int16 and of what adds up to them, and anything
EDGES = st.sampled_from([-65536, -65535, -65534, -32769, -32768, -1, 0, 1, 32767, 32768, 65534, 65535, 65536])
CURRENTS: st.SearchStrategy[Currents] = st.one_of(
    st.sampled_from(TYPES).flatmap(lambda kind: arrays.arrays(kind, st.tuples(st.integers(1, 30), st.integers(1, 5)))),
    arrays.arrays(np.int32, st.tuples(st.integers(1, 30), st.integers(1, 5)), elements=EDGES | st.integers(-500, 1500)),
)


def in_big_integers(
    currents: Currents, membrane: list[int], leak: int, threshold: int, reset: int
) -> tuple[list[list[int]], list[int]]:
    spikes = []
    for step in currents.tolist():
        fired = []
        for n, current in enumerate(step):
            v = min(max(membrane[n] * leak // 256 + current, -32768), 32767)
            fired.append(int(v >= threshold))
            membrane[n] = reset if fired[-1] else v
        spikes.append(fired)
    return spikes, membrane


@given(currents=CURRENTS, params=PARAMS, data=st.data())
@settings(max_examples=150, deadline=None)
def test_equals_the_equation_in_big_integers(currents: Currents, params: IntegerLIFParams, data: st.DataObject) -> None:
    neurons = currents.shape[1]
    start = data.draw(st.lists(INT16, min_size=neurons, max_size=neurons))
    spikes, state = integer_lif_sequence(currents, IntegerLIFState(np.array(start, np.int16)), params)
    expected, membrane = in_big_integers(currents, start.copy(), *params)
    assert spikes.dtype == np.uint8
    assert spikes.tolist() == expected
    assert state.membrane.dtype == np.int16
    assert state.membrane.tolist() == membrane


def test_constants_are_those_of_the_edge_devices_and_the_start_is_zero() -> None:
    currents = np.random.default_rng(0).integers(-100, 400, (200, 6))
    spikes, state = integer_lif_sequence(currents, None)
    expected, membrane = in_big_integers(currents, [0] * 6, leak=230, threshold=1024, reset=0)
    assert spikes.tolist() == expected
    assert state.membrane.tolist() == membrane
    assert 0.05 < spikes.mean() < 0.5
    assert IntegerLIFParams() == (230, 1024, 0)


@pytest.mark.parametrize(("current", "fires"), [(1023, False), (1024, True), (1025, True)])
def test_fires_at_the_threshold(current: int, fires: bool) -> None:
    spikes, state = integer_lif_sequence(np.array([[current]]), None)
    assert spikes.tolist() == [[fires]]
    assert state.membrane.tolist() == [0 if fires else current]


def test_division_rounds_toward_minus_infinity() -> None:
    state = IntegerLIFState(np.array([-5, 5], np.int16))
    membranes = []
    for _ in range(6):
        _, state = integer_lif_sequence(np.zeros((1, 2), np.int16), state, IntegerLIFParams(leak=128))
        membranes.append(state.membrane.tolist())
    assert membranes == [[-3, 2], [-2, 1], [-1, 0], [-1, 0], [-1, 0], [-1, 0]]


@pytest.mark.parametrize("kind", TYPES)
def test_extreme_currents_of_every_type_clamp_and_never_wrap(kind: str) -> None:
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    currents = np.array([[low, high], [low, high], [high, low]], kind)
    params = IntegerLIFParams(leak=256, threshold=32767, reset=-32768)
    spikes, state = integer_lif_sequence(currents, None, params)
    expected, membrane = in_big_integers(currents, [0, 0], *params)
    assert spikes.tolist() == expected
    assert state.membrane.tolist() == membrane


@given(currents=CURRENTS, params=PARAMS, data=st.data())
@settings(max_examples=50, deadline=None)
def test_two_halves_with_the_state_carried_over_equal_the_whole(
    currents: Currents, params: IntegerLIFParams, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(currents) - 1))
    whole, end = integer_lif_sequence(currents, None, params)
    first, state = integer_lif_sequence(currents[:cut], None, params) if cut else (whole[:0], None)
    second, last = integer_lif_sequence(currents[cut:], state, params)
    assert np.array_equal(np.concatenate([first, second]), whole)
    assert np.array_equal(last.membrane, end.membrane)


def test_the_state_that_was_handed_in_stays_as_it_was() -> None:
    start = IntegerLIFState(np.array([100, 200], np.int16))
    integer_lif_sequence(np.full((5, 2), 50), start)
    assert start.membrane.tolist() == [100, 200]


@pytest.mark.parametrize("threads", [1, 2])
def test_many_neurons_and_threads_change_no_spike(threads: int) -> None:
    currents = np.random.default_rng(1).integers(-200, 500, (300, 3, 1000), np.int16)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        spikes, state = integer_lif_sequence(currents, None)
    finally:
        torch.set_num_threads(before)
    v = np.zeros(currents.shape[1:], np.int64)
    for t, current in enumerate(currents):
        v = np.clip(v * 230 // 256 + current, -32768, 32767)
        assert np.array_equal(spikes[t], v >= 1024)
        v[v >= 1024] = 0
    assert np.array_equal(state.membrane, v)


@pytest.mark.parametrize("shape", [(4,), (4, 0), (4, 2, 3)])
def test_a_step_may_have_any_shape(shape: tuple[int, ...]) -> None:
    spikes, state = integer_lif_sequence(np.full(shape, 2000), None)
    assert spikes.shape == shape
    assert state.membrane.shape == shape[1:]
    assert (spikes == 1).all()


@pytest.mark.parametrize(
    ("currents", "state", "params", "said"),
    [
        (np.zeros((2, 3)), None, {}, "currents .*float64"),
        (np.zeros((2, 3), bool), None, {}, "currents .*bool"),
        (torch.zeros(2, 3, dtype=torch.int16), None, {}, "currents .*torch.int16"),
        ([[1, 2]], None, {}, "currents .*list"),
        (np.zeros((0, 3), int), None, {}, r"currents .*at least one step.*\(0, 3\)"),
        (np.array(3), None, {}, r"currents .*\(\)"),
        (np.zeros((2, 3), int), np.zeros(4, np.int16), {}, r"state .*\(4,\).*\(3,\)"),
        (np.zeros((2, 3), int), np.zeros(3, np.int32), {}, "state is int32.*int16"),
        (np.zeros((2, 3), int), None, {"leak": 257}, "leak .*0 to 256, not 257"),
        (np.zeros((2, 3), int), None, {"leak": -1}, "leak .*0 to 256, not -1"),
        (np.zeros((2, 3), int), None, {"leak": 0.9}, "leak must be an integer"),
        (np.zeros((2, 3), int), None, {"threshold": 32768}, "threshold .*-32768 to 32767, not 32768"),
        (np.zeros((2, 3), int), None, {"reset": -32769}, "reset .*-32768 to 32767, not -32769"),
    ],
)
def test_input_that_does_not_fit_is_refused(currents: Any, state: Any, params: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        integer_lif_sequence(currents, None if state is None else IntegerLIFState(state), IntegerLIFParams(**params))

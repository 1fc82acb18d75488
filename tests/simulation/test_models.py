"""Models of populations, against the sequences of `brainnet.snn`, exact solutions and themselves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import Model, Window, compute
from brainnet.simulation.models.registry import MODELS
from brainnet.simulation.random import decay
from brainnet.simulation.spikes import Spikes
from brainnet.snn.neurons.adaptive_lif import AdaptiveLIFParams, adaptive_lif_sequence
from brainnet.snn.neurons.biological_lif import BiologicalLIFParams, biological_lif_sequence
from brainnet.snn.neurons.integer_lif import IntegerLIFParams, IntegerLIFState, integer_lif_sequence
from brainnet.snn.neurons.izhikevich import PATTERNS, IzhikevichParams, IzhikevichState, izhikevich_sequence
from tests.simulation.models import build, check_cuts, random_sums, run, setting, sums_of

NOISE = {"rate_hz": 300.0, "weight": 20.0}
CASES: dict[str, tuple[float, dict[str, Any]]] = {
    # scale of the input, parameters with which the neurons fire
    "lif": (3000.0, {"noise": {"rate_hz": 300.0, "weight": 2000.0}, "v_threshold_mv": {"uniform": [-52, -48]}}),
    "lif delta": (8.0, {"synapses": "delta", "noise": {"rate_hz": 300.0, "weight": 3.0}, "refractory_ms": 3}),
    "integer_lif": (400.0, {"noise": {"rate_hz": 300.0, "weight": 100.0}, "current": 7, "reset": -20}),
    "izhikevich": (9.0, {"noise": {"rate_hz": 300.0, "weight": 5.0}, "d": {"normal": [8, 1]}}),
    "adaptive_lif": (0.8, {"noise": {"rate_hz": 300.0, "weight": 0.2}, "kappa": {"uniform": [0, 0.3]}}),
    "biological_lif": (120.0, {"noise": NOISE, "drive_mv": 3}),
    "relay": (1.0, {}),
    "poisson": (0.0, {"rate_hz": {"uniform": [0, 900]}}),
    "pattern": (0.0, {"spikes": [[3, 1], [0.6, 0], [3, 1], [11, 2]], "repeat_ms": 13}),
}


def made(case: str, size: int = 40, dt_ms: float = 1.0, seed: int = 5) -> Model:
    return build(case.partition(" ")[0], setting(size, dt_ms, seed), **CASES[case][1])


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=30)  # of each case
@given(
    cuts=st.lists(st.integers(1, 119), max_size=12),
    resume=st.integers(0, 119),
    dt_ms=st.sampled_from([0.1, 0.5, 1.0, 1.7]),
)
def test_windows_of_any_length_give_the_same_spikes_and_state(
    case: str, cuts: list[int], resume: int, dt_ms: float
) -> None:
    check_cuts(lambda: made(case, dt_ms=dt_ms), 120, CASES[case][0], cuts, resume)


@pytest.mark.parametrize("case", CASES)
def test_the_cases_fire_now_and_then(case: str) -> None:
    model = made(case)
    count = run(model, random_sums(model, 500, CASES[case][0]), 500).count
    assert 100 < count < 0.9 * 500 * 40


@pytest.mark.parametrize("case", [case for case in CASES if "noise" in CASES[case][1] or case == "poisson"])
def test_random_numbers_follow_from_the_seed(case: str) -> None:
    def spikes(seed: int) -> list[int]:
        model = made(case, seed=seed)
        fired: list[int] = run(model, random_sums(model, 200, CASES[case][0]), 200).neurons.tolist()
        return fired

    assert spikes(1) == spikes(1) != spikes(2)


def test_every_short_name_has_a_case() -> None:
    # a device takes whole numbers of spikes and a file: tests/devices/test_population.py
    # an encoder takes a recording: tests/sensors/test_encoder_population.py
    assert {case.partition(" ")[0] for case in CASES} == set(MODELS) - {"device", "encoder"}


# -- the references in brainnet.snn


def dense(spikes: Spikes, neurons: int) -> NDArray[Any]:
    return spikes.dense(neurons).T


@given(
    seed=st.integers(0, 2**32), leak=st.integers(0, 256), threshold=st.integers(-50, 2000), reset=st.integers(-99, 99)
)
def test_integer_lif_is_that_of_the_library(seed: int, leak: int, threshold: int, reset: int) -> None:
    draws = np.random.default_rng(seed)
    currents = draws.integers(-200, 600, (80, 6)) * draws.integers(1, 300, 6)
    model = build("integer_lif", 6, leak=leak, threshold=threshold, reset=reset)
    expected, state = integer_lif_sequence(
        currents, IntegerLIFState(np.zeros(6, np.int16)), IntegerLIFParams(leak, threshold, reset)
    )
    assert np.array_equal(dense(run(model, sums_of(currents), 80), 6), expected)
    assert np.array_equal(model.state["v"], state.membrane)


def test_input_of_integer_neurons_is_rounded_down() -> None:
    model = build("integer_lif", 3, leak=0)
    run(model, sums_of([[2.75, -2.25, 3.0]]), 1)
    assert model.state["v"].tolist() == [2, -3, 3]


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), kappa=st.floats(0, 2), dt_ms=st.sampled_from([0.1, 1.0, 3.0]))
def test_adaptive_lif_is_that_of_the_library(seed: int, kappa: float, dt_ms: float, reset: Any) -> None:
    sums = sums_of(np.random.default_rng(seed).standard_normal((100, 7)) + 0.4)
    model = build("adaptive_lif", setting(7, dt_ms), kappa=kappa, threshold=0.7, reset=reset)
    params = AdaptiveLIFParams(decay(dt_ms, 20.0), decay(dt_ms, 200.0), kappa, 0.7, reset)
    expected, state = adaptive_lif_sequence(values(sums), None, params)
    assert np.array_equal(dense(run(model, sums, 100), 7), expected.numpy())
    assert np.array_equal(model.state["membrane"], state.membrane.numpy())
    assert np.array_equal(model.state["adaptation"], state.adaptation.numpy())


def values(sums: dict[str, NDArray[np.int64]]) -> torch.Tensor:
    """The input [steps, neurons] of sums in float64."""
    return torch.from_numpy(sum(sums.values()) / UNIT)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), refractory=st.floats(0, 6), dt_ms=st.sampled_from([0.5, 1.0, 0.3]))
def test_biological_lif_is_that_of_the_library(seed: int, refractory: float, dt_ms: float) -> None:
    sums = sums_of(60 * np.random.default_rng(seed).standard_normal((150, 7)) + 20)
    model = build("biological_lif", setting(7, dt_ms), refractory_ms=refractory, v_reset_mv=-75)
    assert decay(dt_ms, 20.0) == math.exp(-dt_ms / 20.0)
    expected, state = biological_lif_sequence(
        values(sums), None, BiologicalLIFParams(v_reset=-75.0, refractory=refractory, dt=dt_ms)
    )
    assert np.array_equal(dense(run(model, sums, 150), 7), expected.numpy())
    assert np.array_equal(model.state["membrane"], state.membrane.numpy())
    assert np.array_equal(model.state["refractory"], state.refractory.numpy())


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=12)  # of each pattern; one has 1,500 values of input
@given(seed=st.integers(0, 2**32), dt_ms=st.sampled_from([0.5, 0.1]))
def test_izhikevich_is_that_of_the_library(pattern: str, seed: int, dt_ms: float) -> None:
    cell = PATTERNS[pattern]
    assert isinstance(cell, IzhikevichParams)
    sums = sums_of(8 * np.random.default_rng(seed).standard_normal((300, 5)) + 8)
    model = build("izhikevich", setting(5, dt_ms), a=cell.a, b=cell.b, c_mv=cell.c, d=cell.d)
    start = IzhikevichState(*(torch.from_numpy(model.state[name].copy()) for name in "vu"))
    expected, state = izhikevich_sequence(values(sums), start, cell._replace(dt=dt_ms))
    assert np.array_equal(dense(run(model, sums, 300), 5), expected.numpy())
    assert np.array_equal(model.state["v"], state.v.numpy())
    assert np.array_equal(model.state["u"], state.u.numpy())


# -- firing patterns of Izhikevich's cells


def intervals(cell: IzhikevichParams, current: float = 10.0, steps: int = 2000) -> NDArray[np.float64]:
    """Intervals between spikes in ms under a constant current."""
    model = build("izhikevich", setting(1, 0.5), a=cell.a, b=cell.b, c_mv=cell.c, d=cell.d, current=current)
    spikes = run(model, sums_of(np.zeros((steps, 1))), steps)
    return np.diff(np.flatnonzero(dense(spikes, 1)[:, 0])) * 0.5


def test_regular_spiking_cells_slow_down() -> None:
    found = intervals(PATTERNS["regular spiking"])
    assert found[0] < 0.8 * found[-1]
    assert np.ptp(found[3:]) <= 1.0


def test_fast_spiking_cells_fire_fast_and_do_not_adapt() -> None:
    found = intervals(PATTERNS["fast spiking"])
    assert found.mean() < 0.5 * intervals(PATTERNS["regular spiking"])[3:].mean()
    assert np.ptp(found[2:]) <= 1.0


def test_chattering_cells_fire_bursts_again_and_again() -> None:
    found = intervals(PATTERNS["chattering"])
    assert found.min() < 5
    assert found.max() > 20
    assert (found > 20).sum() >= 5


def test_intrinsically_bursting_cells_begin_with_one_burst() -> None:
    found = intervals(PATTERNS["intrinsically bursting"])
    assert found[0] < 8
    assert found[5:].min() > 15


def test_low_threshold_cells_fire_at_a_current_at_which_regular_ones_rest() -> None:
    assert intervals(PATTERNS["low-threshold spiking"], 3.0).size > 5
    assert intervals(PATTERNS["regular spiking"], 3.0).size == 0


def test_a_long_step_is_divided_and_may_hold_two_spikes() -> None:
    """With 1 ms, each half is a step of 0.5 ms with the same input."""
    currents = np.repeat(50 * np.random.default_rng(3).random((100, 4)), 2, 0)
    fine, coarse = (build("izhikevich", setting(4, dt), d=-20) for dt in (0.5, 1.0))
    halves = dense(run(fine, sums_of(currents), 200), 4)
    whole = dense(run(coarse, sums_of(currents[::2]), 100), 4)
    assert np.array_equal(whole, halves.reshape(100, 2, 4).sum(1))
    assert whole.max() == 2


# -- LIF against exact solutions


@pytest.mark.parametrize("tau_ms", [10.0, 0.5, 3.0])
def test_lif_membrane_is_the_exact_solution(tau_ms: float) -> None:
    """One current impulse: v rises by the convolution of both exponentials; equal time constants are the limit."""
    dt, w, tau_m, c = 0.1, 500.0, 10.0, 250.0
    model = build("lif", setting(1, dt), v_threshold_mv=1e6, tau_excitatory_ms=tau_ms)
    sums = sums_of(np.zeros((400, 1)))
    sums["excitatory"][0] = int(w * UNIT)
    for steps in (1, 2, 50, 400):
        t = (steps - 1) * dt
        if tau_ms == tau_m:
            exact = w / c * t * math.exp(-t / tau_m)
        else:
            exact = w / c * tau_m * tau_ms / (tau_m - tau_ms) * (math.exp(-t / tau_m) - math.exp(-t / tau_ms))
        fresh = build("lif", setting(1, dt), v_threshold_mv=1e6, tau_excitatory_ms=tau_ms)
        run(fresh, sums, steps)
        assert fresh.state["v"][0] + 65.0 == pytest.approx(exact, rel=1e-9, abs=1e-11)
    assert model.state["v"][0] == -65.0


@pytest.mark.parametrize("current", [380.0, 500.0, 900.0])
@pytest.mark.parametrize("refractory", [0.0, 2.0])
def test_lif_fires_at_the_analytical_rate(current: float, refractory: float) -> None:
    dt, tau = 0.1, 10.0
    drive = current * tau / 250.0
    exact = refractory + tau * math.log(drive / (drive - 15.0))
    model = build("lif", setting(1, dt), current_pa=current, refractory_ms=refractory, v_reset_mv=-65)
    spikes = run(model, sums_of(np.zeros((20_000, 1))), 20_000)
    found = np.diff(np.flatnonzero(dense(spikes, 1)[:, 0])) * dt
    # the potential reaches the threshold within a step, and the spike is at its end
    assert exact - 1e-9 <= found.mean() <= exact + dt + 1e-9


def test_lif_below_its_threshold_is_silent() -> None:
    model = build("lif", setting(1, 0.1), current_pa=374.9)
    assert run(model, sums_of(np.zeros((20_000, 1))), 20_000).count == 0


def test_jumps_of_the_potential_decay_exactly() -> None:
    model = build("lif", setting(2, 0.5), synapses="delta")
    sums = sums_of(np.zeros((9, 2)))
    sums["excitatory"][0] = [3 * UNIT, 5 * UNIT]
    run(model, sums, 9)
    assert model.state["v"] + 65.0 == pytest.approx(np.array([3.0, 5.0]) * math.exp(-4.0 / 10.0), rel=1e-12)


# -- sources


def poisson_bounds(mean: float) -> tuple[float, float]:
    """Counts between which a Poisson variable of this mean lies, but for one case in 10^9 (Chernoff's bound)."""
    chance = math.log(2e9)

    def unlikely(count: float) -> bool:
        return mean - count + count * math.log(count / mean) > chance if count else mean > chance

    low = next(count for count in range(int(mean), -2, -1) if count < 0 or unlikely(count))
    high = next(count for count in range(int(mean) + 1, 10**9) if unlikely(count))
    return low, high


@pytest.mark.parametrize(("rate", "dt_ms"), [(10.0, 0.1), (800.0, 1.0), (20_000.0, 1.0), (50_000.0, 2.0)])
def test_poisson_sources_fire_at_their_rate(rate: float, dt_ms: float) -> None:
    model = build("poisson", setting(50, dt_ms), rate_hz=rate)
    counts = dense(run(model, {}, 2000), 50).astype(np.int64)
    mean = rate * dt_ms / 1000
    low, high = poisson_bounds(mean * counts.size)
    assert low < counts.sum() < high
    # the variance of a Poisson count is its mean; five standard deviations of that estimate
    deviation = math.sqrt((mean + 2 * mean**2) / counts.size)
    assert abs(counts.var() - mean) < 5 * deviation
    assert counts.sum(0).min() > 0 or rate < 100


def test_poisson_rates_may_differ_by_neuron() -> None:
    model = build("poisson", 3, rate_hz=[0, 100, 400])
    counts = dense(run(model, {}, 5000), 3).sum(0)
    assert counts[0] == 0
    for count, mean in zip(counts[1:], (500, 2000), strict=True):
        low, high = poisson_bounds(mean)
        assert low < count < high


def test_poisson_rates_may_change_over_time() -> None:
    model = build("poisson", setting(40, 0.5), rate_hz=[[10, 800], [20, 0], [30, 100]])
    counts = dense(run(model, {}, 100, [7, 21, 41]), 40).sum(1)
    assert counts[:20].sum() == counts[40:60].sum() == 0
    for part, mean in ((counts[20:40], 40 * 10 * 0.8), (counts[60:], 40 * 20 * 0.1)):
        low, high = poisson_bounds(mean)
        assert low < part.sum() < high


def listed(spikes: Spikes) -> list[tuple[int, int]]:
    return [(step, int(n)) for step in range(spikes.first_step, spikes.end_step) for n in spikes.in_step(step)]


def test_a_pattern_fires_as_listed() -> None:
    model = build("pattern", setting(4, 0.5), spikes=[[2.0, 3], [0.0, 1], [2.2, 0], [2.0, 3]])
    assert listed(run(model, {}, 8)) == [(0, 1), (4, 0), (4, 3), (4, 3)]
    assert run(model, {}, 9, first=8).count == 0


def test_a_pattern_repeats() -> None:
    model = build("pattern", setting(4), spikes=[[0, 1], [2, 0]], repeat_ms=3)
    assert listed(run(model, {}, 9, first=4)) == [(5, 0), (6, 1), (8, 0)]


def test_a_pattern_may_be_in_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "spikes.npz", times_ms=np.array([5.0, 1.0]), neurons=np.array([0, 2]))
    model = build("pattern", setting(3, folder=tmp_path), file="spikes.npz")
    assert listed(run(model, {}, 6)) == [(1, 2), (5, 0)]


def test_an_empty_pattern_is_silent() -> None:
    assert run(build("pattern", 2, spikes=[]), {}, 5).count == 0


# -- parameters that do not fit


@pytest.mark.parametrize(
    ("model", "parameters", "says"),
    [
        ("lif", {"tau": 3}, "LIF has no parameter 'tau'"),
        ("lif", {"taum_ms": 3}, "did you mean tau_m_ms?"),
        ("lif", {"tau_m_ms": 0}, "tau_m_ms"),
        ("lif", {"tau_m_ms": float("nan")}, "tau_m_ms"),
        ("lif", {"v_reset_mv": -50}, "v_reset_mv must lie below"),
        ("lif", {"v_rest_mv": [1.0, 2.0]}, "v_rest_mv lists 2 values for 3 neurons"),
        ("lif", {"v_rest_mv": {"normal": [1, -1]}}, "v_rest_mv"),
        ("lif", {"v_rest_mv": {"normal": [1, 1], "uniform": [0, 1]}}, "either {normal"),
        ("lif", {"v_rest_mv": {"uniform": [1, 0]}}, "low at most high"),
        ("lif", {"v_rest_mv": {}}, "either {normal"),
        ("lif", {"noise": {"rate_hz": 1e9, "weight": 1}}, "noise of 1e+09 Hz"),
        ("lif", {"synapses": "alpha"}, "synapses"),
        ("integer_lif", {"leak": 300}, "leak"),
        ("integer_lif", {"threshold": 1.5}, "threshold"),
        ("integer_lif", {"noise": {"rate_hz": 1, "weight": 1e6}}, "weight of 1e+06"),
        ("izhikevich", {"c_mv": 30}, "c_mv must lie below the peak"),
        ("izhikevich", {"a": "fast"}, "a (rate of the recovery"),
        ("izhikevich", {"noise": {"rate_hz": 1}}, "noise.weight (Poisson spikes"),
        ("izhikevich", {"noise": {"rate_hz": -1, "weight": 1}}, "noise.rate_hz (Poisson spikes"),
        ("izhikevich", {"a": [1, 2, "x"]}, "a.2 (rate of the recovery"),
        ("adaptive_lif", {"threshold": -1}, "threshold must be at least 0"),
        ("adaptive_lif", {"reset": "value"}, "reset"),
        ("biological_lif", {"v_rest_mv": -50}, "v_threshold_mv must lie above"),
        ("biological_lif", {"refractory_ms": float("inf")}, "refractory_ms"),
        ("relay", {"threshold": 0}, "threshold"),
        ("poisson", {"rate_hz": -1}, "rate_hz"),
        ("poisson", {"rate_hz": 1e6}, "mean of 0 to 100 events in a step"),
        ("poisson", {"rate_hz": [1, 2]}, "rate_hz lists 2 values for 3 neurons"),
        ("poisson", {"rate_hz": []}, "rate_hz lists 0 values for 3 neurons"),
        ("poisson", {"rate_hz": [[5, 1], [5.1, 2]]}, "times of rate_hz must rise"),
        ("pattern", {}, "give either spikes or file"),
        ("pattern", {"spikes": [[1, 3]]}, "of neuron 3, and there are 3"),
        ("pattern", {"spikes": [[1, 2**70]]}, "of neuron"),
        ("pattern", {"spikes": [[-1, 0]]}, "spikes"),
        ("pattern", {"spikes": [[1e300, 0]]}, "too late"),
        ("pattern", {"spikes": [[3, 0]], "repeat_ms": 3}, "not within the period"),
        ("pattern", {"spikes": [[0, 0]], "repeat_ms": 0.1}, "shorter than a step"),
        ("pattern", {"file": "none.npz"}, "does not exist"),
    ],
)
def test_parameters_that_do_not_fit_are_one_error(
    model: str, parameters: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        build(model, setting(3, folder=tmp_path), **parameters)
    message = str(caught.value)
    assert says in message
    assert message.startswith("population e")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"times_ms": np.zeros(2)}, "must be an npz file with the arrays"),
        ({"times_ms": np.zeros(2), "neurons": np.zeros(3, int)}, "one of each for a spike"),
        ({"times_ms": np.zeros(2), "neurons": np.zeros(2)}, "one of each for a spike"),
        ({"times_ms": np.array([math.nan]), "neurons": np.zeros(1, int)}, "negative or not finite"),
        ({"times_ms": np.zeros(1), "neurons": np.array([-1])}, "of neuron -1"),
        (None, "must be an npz file with the arrays"),
    ],
)
def test_a_file_of_spikes_that_does_not_fit(arrays: dict[str, Any] | None, says: str, tmp_path: Path) -> None:
    if arrays is None:
        (tmp_path / "spikes.npz").write_bytes(b"PK\x03\x04 and no more")
    else:
        np.savez(tmp_path / "spikes.npz", **arrays)
    with pytest.raises(ModelError, match=says):
        build("pattern", setting(3, folder=tmp_path), file="spikes.npz")


# -- saved states


def test_a_state_of_another_model_is_refused_whole() -> None:
    model = made("lif", 3)
    before = model.save()
    for saved, says in (
        (made("izhikevich", 3).save(), "the saved state has"),
        (made("lif", 4).save(), r"must be float64 \[3\]"),
        ({**before, "v": before["v"].astype(np.float32)}, "float32"),
        ({**before, "v": np.zeros(1)}, r"'v' is float64 \[1\]"),
        ({"v": before["v"] + 1}, "has no 'currents'"),
    ):
        with pytest.raises(ModelError, match=says):
            model.load(saved)
        assert all(np.array_equal(before[name], array) for name, array in model.save().items())


# -- models of a user


class Echo(Model):
    """Returns what a test gave it."""

    result: Any = None

    def advance(self, window: Window) -> Any:
        return self.result


@pytest.mark.parametrize(
    "counts",
    [
        np.array([[0, 1, 0], [2, 0, 0]]),
        np.array([[0, 1, 0], [2, 0, 0]], np.uint8),
        np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]], np.float32),
        np.array([[False, True, False], [True, False, False]]),
    ],
    ids=str,
)
def test_a_model_may_return_an_array(counts: NDArray[Any]) -> None:
    model = Echo(setting(2), Model.Parameters())
    model.result = counts
    spikes = compute(model, Window(7, 3, 1.0, {}))
    assert spikes.first_step == 7
    assert np.array_equal(spikes.dense(2), counts)


def test_a_model_may_return_spikes_of_wider_numbers() -> None:
    model = Echo(setting(2), Model.Parameters())
    model.result = Spikes(0, np.array([0, 2]), np.array([0, 1]))
    spikes = compute(model, Window(0, 1, 1.0, {}))
    assert {spikes.offsets.dtype, spikes.neurons.dtype} == {np.dtype(np.int32)}


def spikes_of(offsets: Any, neurons: Any, first: int = 0) -> Spikes:
    return Spikes(first, np.asarray(offsets), np.asarray(neurons))


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (None, "not a NoneType"),
        ([[0, 1]], "not a list"),
        (np.zeros((3, 2)), r"not of shape \[3, 2\]"),
        (np.zeros(6), r"not of shape \[6\]"),
        (np.full((2, 3), 0.5), "returned 0.5 as number of spikes"),
        (np.full((2, 3), -1), "returned -1"),
        (np.full((2, 3), math.nan), "returned nan"),
        (np.full((2, 3), 256), "returned 256"),
        (np.full((2, 3), "a"), "numbers of spikes"),
        (spikes_of([0, 0, 0], np.zeros(0, int)), "returned 2 from 0 on"),
        (spikes_of([0, 0, 0, 0], np.zeros(0, int), 1), "returned 3 from 1 on"),
        (spikes_of([0, 1, 0, 1], [0]), "must rise"),
        (spikes_of([0, 0, 0, 2], [0]), "must rise"),
        (spikes_of([1, 1, 1, 1], [0]), "must rise"),
        (spikes_of([0, 0, 0, 1], [2]), "not there"),
        (spikes_of([0, 0, 0, 1], [2**32]), "not there"),
        (spikes_of([0, 0, 0, 1], [-1]), "not there"),
        (spikes_of([0, 2, 2, 2], [1, 0]), "rising order"),
        (spikes_of([0, 0, 0, 1], [0.0]), "neurons of the spikes must be int32"),
    ],
)
def test_what_a_model_must_not_return_names_its_class(result: Any, says: str) -> None:
    model = Echo(setting(2), Model.Parameters())
    model.result = result
    with pytest.raises(ModelError, match=says) as caught:
        compute(model, Window(0, 3, 1.0, {}))
    assert str(caught.value).startswith("population e (Echo): ")


class Leaky(Model):
    """A model as a user writes it: in numpy, with a state of its own."""

    def advance(self, window: Window) -> NDArray[Any]:
        state = self.state.setdefault("v", np.zeros(self.setting.size))
        fired = []
        for drive in window.total().T:
            state[:] = 0.9 * state + drive
            fired.append(state > 1)
            state[state > 1] = 0
        return np.array(fired).T


class ThatForgets(Leaky):
    """Its state is no array."""

    def advance(self, window: Window) -> NDArray[Any]:
        self.state["calls"] = 3  # type: ignore[assignment]  # the mistake that is tested
        return super().advance(window)


def test_a_model_of_a_user_in_numpy() -> None:
    def make() -> Leaky:
        model = Leaky(setting(6), Model.Parameters())
        model.state["v"] = np.zeros(6)
        return model

    assert check_cuts(make, 100, 0.5, [1, 2, 30], 17).count > 50


def test_a_state_that_is_no_array_is_an_error_when_it_is_saved() -> None:
    model = ThatForgets(setting(6), Model.Parameters())
    run(model, random_sums(model, 3, 1.0), 3)
    with pytest.raises(ModelError, match=r"\(ThatForgets\): state\['calls'\] must be an array of numbers, not a int"):
        model.save()

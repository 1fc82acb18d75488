"""Short-term plasticity: its closed form, the formulas of the library, and what it does together with other rules."""

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

from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.plasticity import ShortTerm, traces
from brainnet.simulation.plasticity.traces import squares
from brainnet.simulation.random import decay
from brainnet.simulation.spikes import Spikes
from brainnet.snn.plasticity.short_term_plasticity import (
    DEPRESSING,
    FACILITATING,
    ShortTermParams,
    short_term_plasticity,
)
from tests.simulation.driven import PLASTIC, description, made

STILL: dict[str, Any] = {"rule": "stdp", "potentiation": 0, "depression": 0, "w_max": 100}
few = settings(max_examples=20, deadline=None)


def rule_of(params: ShortTermParams) -> ShortTerm:
    utilisation, facilitation, depression, _ = params
    return ShortTerm(utilisation=utilisation, tau_facilitation_ms=facilitation, tau_depression_ms=depression)


def test_without_constants_it_is_the_depressing_synapse_of_the_library() -> None:
    assert ShortTerm() == rule_of(DEPRESSING)


@few
@given(
    st.integers(0, 2**31), st.sampled_from([DEPRESSING, FACILITATING]), st.sampled_from([0.1, 1.0]),
    st.lists(st.integers(1, 40), max_size=8),
)  # fmt: skip
def test_the_efficacies_are_those_of_the_library_however_cut(
    seed: int, params: ShortTermParams, dt_ms: float, cuts: list[int]
) -> None:
    counts = (np.random.default_rng(seed).random((5, 120)) < 0.15).astype(int)
    dense, _ = short_term_plasticity(torch.tensor(counts.T, dtype=torch.float64), None, params._replace(dt=dt_ms))
    expected = dense.numpy()[counts.T > 0]  # by step, then by neuron, as spikes stand
    efficacies = rule_of(params).efficacies(5, dt_ms)
    found, at = [], 0
    for length in [*cuts, 120]:
        part = counts[:, at : at + length]
        found.append(efficacies.of(Spikes.of_dense(at, part)))
        at += part.shape[1]
    assert np.allclose(np.concatenate(found), expected, rtol=1e-12, atol=0)
    whole = rule_of(params).efficacies(5, dt_ms).of(Spikes.of_dense(0, counts))
    assert np.array_equal(np.concatenate(found), whole)


@pytest.mark.parametrize("params", [DEPRESSING, FACILITATING])
@pytest.mark.parametrize("interval_ms", [10, 200])
def test_a_regular_train_settles_at_the_closed_form(params: ShortTermParams, interval_ms: int, tmp_path: Path) -> None:
    rule = {"rule": "short_term", **rule_of(params).model_dump(exclude={"rule"})}
    source = {"spikes": [[0, 0]], "repeat_ms": interval_ms}
    network = made(tmp_path, description([], [], rule, weight=100.0, neurons=1, delay_ms=10, drive_delay_ms=10))
    network.populations["pre"].model = pattern(network, source)
    received = input_of(network, 60 * interval_ms + 11, window=10)
    arrived = received[received > 0] / UNIT
    u = params.utilisation / (1 - (1 - params.utilisation) * math.exp(-interval_ms / params.tau_facilitation))
    recovered = math.exp(-interval_ms / params.tau_depression)
    x = (1 - recovered) / (1 - (1 - u) * recovered)
    assert arrived[0] == pytest.approx(100 * params.utilisation, abs=1 / UNIT)
    assert arrived[-1] == pytest.approx(100 * u * x, rel=1e-5)


def pattern(network: Any, parameters: dict[str, Any]) -> Any:
    kind = type(network.populations["pre"].model)
    return kind(network.populations["pre"].model.setting, kind.Parameters(**parameters))


def input_of(network: Any, steps: int, window: int = 1) -> NDArray[np.int64]:
    """Run a network, and return the input [steps] of the first neuron of `post` through the excitatory port."""
    population = network.populations["post"]
    received = []
    model = population.model
    advance = model.advance

    def watched(window: Any) -> Any:
        received.append(window.sums["excitatory"][:, 0].copy())
        return advance(window)

    model.advance = watched
    network.run(steps, window)
    return np.concatenate(received)


def spikes(seed: int, steps: int, neurons: int = 3) -> list[tuple[int, int]]:
    fired = np.argwhere(np.random.default_rng(seed).random((steps, neurons)) < 0.2)
    return [(int(step), int(neuron)) for step, neuron in fired]


@few
@given(st.integers(0, 1000), st.integers(1, 3))
def test_with_a_rule_that_changes_nothing_the_input_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int, window: int
) -> None:
    folder = tmp_path_factory.mktemp("net")
    pre = spikes(seed, 60)
    pre += pre[:3]  # a neuron that fires twice in one step
    delay: Any = {"uniform": [1, 6]}
    weight: Any = {"uniform": [1, 90]}
    alone, both = (
        made(folder, description(pre, [], rules, weight=weight, neurons=3, delay_ms=delay))
        for rules in ({"rule": "short_term"}, [{"rule": "short_term"}, STILL])
    )
    one, other = input_of(alone, 70, window), input_of(both, 70, 1)
    assert one.any()
    assert np.array_equal(one, other)


def test_the_efficacy_scales_what_stdp_has_learned(tmp_path: Path) -> None:
    # The target fires just after the first spike has arrived, and the weight has grown when the second one does.
    rules: list[dict[str, Any]] = [
        {"rule": "stdp", "potentiation": 10.0, "depression": 0.0, "w_max": 100},
        {"rule": "short_term", "utilisation": 0.5, "tau_facilitation_ms": 1e-3, "tau_depression_ms": 1e6},
    ]
    network = made(tmp_path, description([(0, 0), (10, 0)], [(1, 0)], rules, weight=40.0, neurons=1))
    received = input_of(network, 14)
    potentiated = 40 + 10 * math.exp(-1 / 20)  # the first spike arrives in step 1, and the target fires in step 2
    assert network.populations["post"].weights(PLASTIC)[0] == pytest.approx(potentiated, abs=1e-4)
    assert received[1] / UNIT == pytest.approx(20.0, abs=1e-4)
    assert received[11] / UNIT == pytest.approx(potentiated * 0.5 * (1 - 0.5 * math.exp(-1e-5)), abs=1e-3)


@pytest.mark.parametrize("tau_ms", [0.01, 3.0, 750.0, 1e5, 1e300])
def test_powers_of_any_number_of_steps(tau_ms: float) -> None:
    table = squares(decay(0.1, tau_ms))
    power: Any = traces.power
    for steps in (0, 1, 2, 255, 16_384, 1_000_000, 10**9):
        assert power(steps, table) == pytest.approx(math.exp(-steps * 0.1 / tau_ms), rel=1e-6, abs=1e-17)

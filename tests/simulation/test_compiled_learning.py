"""Neurons and synapses that are computed in one compiled loop do what they do step by step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainnet.simulation.fixed_point import to_fixed
from brainnet.simulation.incoming import Incoming
from brainnet.simulation.models.compiled_model import CompiledModel
from brainnet.simulation.plasticity import STDP
from brainnet.simulation.plasticity.pair_and_triplet import STDPSynapses
from brainnet.simulation.population import Population
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes
from tests.simulation import models

ROOT = Path(__file__).parent.parent.parent
STEPS, LONGEST_WINDOW, LONGEST_DELAY = 300, 9, 4
SOURCES, NEURONS, SYNAPSES = 12, 70, 1500
# The largest weight, and parameters with which some neurons fire without it.
CASES: dict[str, tuple[float, dict[str, Any]]] = {
    "lif": (900.0, {"noise": {"rate_hz": 900.0, "weight": 700.0}, "v_threshold_mv": {"uniform": [-52, -48]}}),
    "lif delta": (4.0, {"synapses": "delta", "noise": {"rate_hz": 900.0, "weight": 3.0}}),
    "integer_lif": (200.0, {"noise": {"rate_hz": 300.0, "weight": 100.0}, "current": 90}),
    "izhikevich": (3.0, {"noise": {"rate_hz": 400.0, "weight": 9.0}}),
    "adaptive_lif": (0.2, {"noise": {"rate_hz": 300.0, "weight": 0.2}, "kappa": {"uniform": [0, 0.3]}}),
    "biological_lif": (60.0, {"noise": {"rate_hz": 300.0, "weight": 60.0}, "drive_mv": 9}),
}


class StepByStep(STDPSynapses):
    """The same synapses in a class that the loop is not compiled for."""

    arrivals = 0

    def arrive(
        self, step: int, history: Spikes, sums: NDArray[np.int64], efficacy: NDArray[np.float64] | None = None
    ) -> None:
        self.arrivals += 1
        super().arrive(step, history, sums, efficacy)


def population(case: str, kind: type[STDPSynapses], projections: int, triplets: bool) -> Population:
    """Neurons with projections to both ports: most rows are short, and those of two sources longer than a block."""
    largest, parameters = CASES[case]
    model = models.build(case.partition(" ")[0], NEURONS, **parameters)
    incoming = []
    for index in range(projections):
        rng = np.random.default_rng(index)
        source = np.sort(np.r_[rng.integers(0, 2, SYNAPSES // 2), rng.integers(2, SOURCES, SYNAPSES // 2)])
        sign = -1.0 if index % 2 else 1.0
        weights = sign * largest * rng.random(SYNAPSES)
        rows = Rows(
            np.searchsorted(source, np.arange(SOURCES + 1)).astype(np.int64),
            rng.integers(0, NEURONS, SYNAPSES).astype(np.int32),
            to_fixed(weights),
            rng.integers(1, LONGEST_DELAY + 1, SYNAPSES).astype(np.int32),
        )
        low, high = sorted([0.0, sign * largest])
        rule = STDP(
            potentiation=0.05 * largest, depression=0.06 * largest, w_min=low, w_max=high,
            triplet_potentiation=0.03 * largest * triplets, triplet_depression=0.02 * largest * triplets,
        )  # fmt: skip
        synapses = kind(rows, NEURONS, rule, model.setting.dt_ms)
        incoming.append(Incoming(f"{index}", f"source {index}", index % 2, LONGEST_DELAY, plastic=synapses))
    return Population(model, incoming, LONGEST_WINDOW)


def run(target: Population, windows: list[int]) -> Spikes:
    """Compute windows; a neuron of a source may fire twice in a step."""
    counts = [np.random.default_rng(i).poisson(0.08, (SOURCES, STEPS)) for i in range(len(target.incoming))]
    parts, at = [], 0
    for length in windows:
        for each, fired in zip(target.incoming, counts, strict=True):
            target.receive(each, Spikes.of_dense(at, fired[:, at : at + length]))
        parts.append(target.advance(length))
        at += length
    return Spikes.joined(parts)


def windows(seed: int) -> list[int]:
    lengths = np.random.default_rng(seed).integers(1, LONGEST_WINDOW + 1, STEPS)
    found = lengths[: np.searchsorted(np.cumsum(lengths), STEPS)].tolist()
    return [*found, STEPS - sum(found)]


@pytest.mark.parametrize("triplets", [False, True])
@pytest.mark.parametrize("projections", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_spikes_weights_and_state_are_those_of_single_steps(case: str, projections: int, triplets: bool) -> None:
    whole = population(case, STDPSynapses, projections, triplets)
    single = population(case, StepByStep, projections, triplets)
    assert isinstance(whole.model, CompiledModel)
    before = [each.weights for each in whole.incoming]
    fired = run(whole, windows(projections))
    assert models.same(fired, run(single, [1] * STEPS))
    assert all(each.plastic.arrivals == STEPS for each in single.incoming if isinstance(each.plastic, StepByStep))
    assert NEURONS < fired.count < STEPS * NEURONS / 2
    for each, other, weights in zip(whole.incoming, single.incoming, before, strict=True):
        assert np.array_equal(each.weights, other.weights)
        assert (each.weights != weights).mean() > 0.5
    # how much of the past is kept depends on the windows
    one, two = ({k: v for k, v in p.save().items() if ".history." not in k} for p in (whole, single))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[k], two[k]) and one[k].dtype == two[k].dtype for k in one)


def test_a_window_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    target = population("lif", STDPSynapses, 2, False)

    def refuse(*_: Any) -> None:
        raise AssertionError("a single step was computed")

    monkeypatch.setattr(STDPSynapses, "arrive", refuse)
    monkeypatch.setattr(STDPSynapses, "fire", refuse)
    assert run(target, windows(0)).count


def test_the_loop_is_compiled_once_also_for_other_processes() -> None:
    target = population("lif", STDPSynapses, 1, False)
    assert isinstance(target.model, CompiledModel)
    target.advance(1)  # without any spikes of the source
    loop = target.model.kernels.learning
    compiled = len(loop.signatures)
    spikes = Spikes.of_dense(0, np.ones((SOURCES, 2), np.int64))
    for array in (spikes.offsets, spikes.neurons):  # as a model of a user may return them
        array.flags.writeable = False
    target.receive(target.incoming[0], spikes)
    assert target.advance(2).steps == 2
    assert len(loop.signatures) == compiled
    done = subprocess.run([sys.executable, "-c", ANOTHER_PROCESS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "compiled 0 times\n"


ANOTHER_PROCESS = """
from tests.simulation.test_compiled_learning import STDPSynapses, population

target = population("lif", STDPSynapses, 1, False)
target.advance(1)
print(f"compiled {sum(target.model.kernels.learning.stats.cache_misses.values())} times")
"""

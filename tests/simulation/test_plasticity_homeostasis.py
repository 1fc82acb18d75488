"""Homeostasis: the formula of the library, in steps of a grid, until neurons fire at their target rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.connectome import build
from brainnet.errors import ConnectomeError, ModelError
from brainnet.simulation.network import Network
from brainnet.simulation.plasticity.homeostasis import Drift, Homeostasis, Thresholds
from brainnet.snn.plasticity.homeostasis import HomeostasisParams, homeostatic_threshold
from tests.simulation.networks import written


def network(folder: Path, homeostasis: Any, model: str = "lif", **parameters: Any) -> Network:
    noise = {"rate_hz": 1000.0, "weight": 700.0 if model == "lif" else 20.0}
    entry = {"id": "e", "model": model, "size": 200, "parameters": {"noise": noise, **parameters}}
    if homeostasis is not None:
        entry["homeostasis"] = homeostasis
    return build(written(folder, {"version": 1, "seed": 4, "populations": [entry], "projections": []}))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 30), st.lists(st.integers(1, 10), max_size=10))
def test_a_window_moves_the_thresholds_as_the_library_does_step_by_step(seed: int, grid: int, cuts: list[int]) -> None:
    fired = np.random.default_rng(seed).random((60, 5)) < 0.3
    values = np.linspace(-50.0, -45.0, 5)
    begin = values.copy()
    rule = Homeostasis(target_hz=200.0, gain=0.01, window_ms=grid, max_shift=5.0)
    drift = Drift(rule, Thresholds(values, np.full(5, -60.0)), 1.0)
    at = 0
    for length in [*cuts, *[1] * 60]:
        end = min(60, at + min(length, grid - at % grid))
        if end > at:
            drift.count(end, np.nonzero(fired[at:end])[1].astype(np.int32))
            at = end
    whole = 60 // grid * grid
    expected = homeostatic_threshold(
        torch.tensor(begin), torch.tensor(fired[:whole]).double(), HomeostasisParams(0.2, 0.01)
    ) if whole else torch.tensor(begin)  # fmt: skip
    assert np.allclose(values, expected.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", ["lif", "biological_lif"])
def test_neurons_reach_their_target(tmp_path: Path, model: str) -> None:
    rule = {"target_hz": 10.0, "gain": 0.3, "window_ms": 100.0, "max_shift": 12.0}
    free, kept = network(tmp_path, None, model), network(tmp_path, rule, model)
    rates = []
    for made in (free, kept):
        made.run(8000, 1000)
        counted = [0]
        made.run(4000, 1000, lambda fired, counted=counted: counted.append(fired["e"].count))  # type: ignore[misc]
        rates.append(sum(counted) / 200 / 4)
    assert abs(rates[0] - 10) > 4
    assert rates[1] == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("cuts", [[1000], [7, 33, 1, 500]])
def test_windows_and_saved_states_change_nothing(tmp_path: Path, cuts: list[int]) -> None:
    rule = {"target_hz": 50.0, "gain": 0.5, "window_ms": 20.0}
    whole, cut = network(tmp_path, rule), network(tmp_path, rule)
    whole.run(600, 600)
    for length in [*cuts, 600]:
        part = min(length, 600 - cut.populations["e"].next_step)
        if part:
            cut.advance(part)
            resumed = network(tmp_path, rule)
            resumed.populations["e"].load(cut.populations["e"].save())
            cut = resumed
    assert cut.digest() == whole.digest() != network(tmp_path, None).digest()
    for key, array in whole.populations["e"].save().items():
        assert np.array_equal(array, cut.populations["e"].save()[key]), key
    shift = whole.populations["e"].save()["homeostasis.shift"]
    thresholds = whole.populations["e"].model.thresholds
    assert thresholds is not None
    assert shift.any()
    assert np.array_equal(thresholds.values, -50.0 + shift)


def test_a_threshold_moves_no_farther_than_it_may(tmp_path: Path) -> None:
    made = network(tmp_path, {"target_hz": 0.0, "gain": 1.0, "window_ms": 100.0, "max_shift": 2.0})
    made.run(2000, 1000)
    assert made.populations["e"].save()["homeostasis.shift"].max() == 2.0


@pytest.mark.parametrize(
    ("homeostasis", "field", "text"),
    [
        ({"max_shift": 15.0}, "populations[0].homeostasis.max_shift", "must be below 15"),
        ({"target": 5}, "populations[0].homeostasis.target", "did you mean target_hz?"),
        ({"gain": 0}, "populations[0].homeostasis.gain", "greater than 0"),
        ({"target_hz": ".nan"}, "populations[0].homeostasis.target_hz", "number"),
        (5, "populations[0].homeostasis", ""),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, homeostasis: Any, field: str, text: str) -> None:
    with pytest.raises(ConnectomeError) as raised:
        network(tmp_path, homeostasis)
    assert raised.value.field == field
    assert raised.value.line is not None
    assert text in str(raised.value)


def test_a_model_without_thresholds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConnectomeError, match="no threshold") as raised:
        network(tmp_path, {}, "izhikevich")
    assert raised.value.field == "populations[0].homeostasis"
    with pytest.raises(ModelError, match="not one of e"):
        network(tmp_path, {}).populations["e"].load(network(tmp_path, None).populations["e"].save())

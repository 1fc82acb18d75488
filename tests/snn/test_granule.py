"""Granule cells and the delta rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.snn.granule import DeltaReadout, GranuleLayer


def layer_and_samples(seed: int = 0, cells: int = 300) -> tuple[GranuleLayer, np.ndarray]:
    rng = np.random.default_rng(seed)
    samples = rng.uniform(-1, 1, (2000, 6))
    return GranuleLayer.random(samples, cells, rng), samples


def test_cells_are_sparse_and_see_few_inputs() -> None:
    layer, samples = layer_and_samples()
    active = layer.spikes(samples).any(axis=-1)
    # each cell is biased to fire for a fifth of the samples
    np.testing.assert_allclose(active.mean(axis=0), 0.2, atol=0.02)
    assert layer.sources.shape == (300, 4)
    assert all(len(set(row)) == 4 for row in layer.sources.tolist())


def test_one_input_equals_its_row_of_a_batch() -> None:
    layer, samples = layer_and_samples()
    batch = layer.spikes(samples[:50])
    assert batch.shape == (50, 300, 8)
    for row, spikes in zip(samples[:50], batch, strict=True):
        np.testing.assert_array_equal(layer.spikes(row), spikes)


@given(seed=st.integers(0, 1000), rate=st.floats(0.05, 1.95))
@settings(max_examples=50, deadline=None)
def test_one_step_removes_the_stated_share_of_the_error(seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    readout = DeltaReadout(rng.normal(size=(2, 10)), rate)
    features = rng.normal(size=10).astype(np.float32)
    wanted = rng.normal(size=2)
    before = wanted - readout.predict(features)
    readout.learn(features, before)
    np.testing.assert_allclose(wanted - readout.predict(features), (1 - rate) * before, atol=1e-4)


def test_learns_online_what_no_linear_readout_of_the_inputs_can() -> None:
    layer, samples = layer_and_samples()
    wanted = samples[:, 0] * samples[:, 1] + np.abs(samples[:, 2])
    readout = DeltaReadout(np.zeros((1, layer.cells + 1)), rate=0.5)
    rates = layer.spikes(samples).mean(axis=-1)
    features = np.concatenate([np.ones((len(rates), 1), np.float32), rates], axis=1)
    for _ in range(8):
        for row, value in zip(features[:1500], wanted[:1500], strict=True):
            readout.learn(row, value - readout.predict(row))
    error = np.array([readout.predict(row)[0] for row in features[1500:]]) - wanted[1500:]
    linear = np.linalg.lstsq(np.c_[np.ones(1500), samples[:1500]], wanted[:1500], rcond=None)[0]
    linear_error = np.c_[np.ones(500), samples[1500:]] @ linear - wanted[1500:]
    assert (error**2).mean() < 0.5 * (linear_error**2).mean()


def test_what_is_learned_is_apart_from_what_is_innate() -> None:
    innate = np.array([[1.0, 2.0]])
    readout = DeltaReadout(innate, rate=1.0, forgetting=0.5)
    features = np.array([1.0, 1.0], np.float32)
    readout.learn(features, np.array([4.0]))
    assert readout.predict_innate(features)[0] == pytest.approx(3.0)
    assert readout.predict(features)[0] == pytest.approx(7.0, abs=1e-4)
    readout.learn(features, np.array([0.0]))
    assert readout.predict(features)[0] == pytest.approx(5.0, abs=1e-4)
    readout.forget()
    assert readout.predict(features)[0] == pytest.approx(3.0)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ModelError, match="inputs"):
        GranuleLayer.random(np.zeros((10, 3)), 5, np.random.default_rng(0))
    with pytest.raises(ModelError, match="rate"):
        DeltaReadout(np.zeros((1, 3)), rate=2.5)
    with pytest.raises(ModelError, match="fan_in"):
        GranuleLayer(np.zeros((3, 2), np.int32), np.zeros((3, 4), np.float32), np.zeros(3, np.float32))

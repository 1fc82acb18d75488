"""Granule cells, readouts that learn from their errors, and readouts for several worlds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.snn.models.contexts import Contexts, HypothesisSelector
from brainnet.snn.models.granule import AdaptiveReadout, GranuleLayer


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


def test_what_cells_are_made_of() -> None:
    """Weights of mean 0 and variance 1 / fan_in; a cell fires for a fifth of the samples, at a decay of 0.8."""
    rng = np.random.default_rng(4)
    layer = GranuleLayer.random(rng.uniform(-1, 1, (500, 6)), 4000, rng)
    assert (layer.steps, layer.beta) == (8, 0.8)
    assert layer.weights.mean() == pytest.approx(0.0, abs=0.02)
    assert layer.weights.var() * 4 == pytest.approx(1.0, abs=0.06)
    samples = rng.uniform(-1, 1, (500, 6))
    layer = GranuleLayer.random(samples, 400, rng)
    active = layer.spikes(samples).any(axis=-1).mean()
    assert active == pytest.approx(0.2, abs=0.005)
    readout = AdaptiveReadout(np.zeros((1, 3)), np.ones(3))
    assert (readout.noise, readout.forgetting) == (1e-4, 0.0)


def test_one_input_equals_its_row_of_a_batch() -> None:
    layer, samples = layer_and_samples()
    batch = layer.spikes(samples[:50])
    assert batch.shape == (50, 300, 8)
    for row, spikes in zip(samples[:50], batch, strict=True):
        np.testing.assert_array_equal(layer.spikes(row), spikes)


@given(seed=st.integers(0, 1000), count=st.integers(1, 40), noise=st.floats(1e-3, 10.0))
@settings(max_examples=50, deadline=None)
def test_learning_one_by_one_is_the_ridge_regression_of_all(seed: int, count: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    initial, prior = rng.normal(size=(2, 6)), rng.uniform(0.1, 2.0, 6)
    readout = AdaptiveReadout(initial, prior, noise)
    features = rng.normal(size=(count, 6)).astype(np.float32)
    outcomes = rng.normal(size=(count, 2))
    for row, outcome in zip(features, outcomes, strict=True):
        readout.learn(row, outcome - readout.predict(row))
    precision = features.T @ features + noise * np.diag(1.0 / prior)
    expected = np.linalg.solve(precision, features.T @ (outcomes - features @ initial.T)).T
    np.testing.assert_allclose(readout.learned, expected, atol=1e-3)


def test_without_forgetting_learning_ends_and_with_it_goes_on() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 3)).astype(np.float32)

    def after_a_change(forgetting: float) -> float:
        readout = AdaptiveReadout(np.zeros((1, 3)), np.ones(3), 0.01, forgetting)
        for step, row in enumerate(features):
            wanted = row[0] if step < 3000 else -row[0]
            readout.learn(row, np.array([wanted]) - readout.predict(row))
        return float(np.abs(readout.weights - [[-1.0, 0.0, 0.0]]).max())

    assert after_a_change(0.0) > 1.0
    assert after_a_change(0.02) < 0.1


def test_learns_online_what_no_linear_readout_of_the_inputs_can() -> None:
    layer, samples = layer_and_samples()
    wanted = samples[:, 0] * samples[:, 1] + np.abs(samples[:, 2])
    readout = AdaptiveReadout(np.zeros((1, layer.cells + 1)), np.ones(layer.cells + 1))
    rates = layer.spikes(samples).mean(axis=-1)
    features = np.concatenate([np.ones((len(rates), 1), np.float32), rates], axis=1)
    for row, value in zip(features[:1500], wanted[:1500], strict=True):
        readout.learn(row, value - readout.predict(row))
    error = np.array([readout.predict(row)[0] for row in features[1500:]]) - wanted[1500:]
    linear = np.linalg.lstsq(np.c_[np.ones(1500), samples[:1500]], wanted[:1500], rcond=None)[0]
    linear_error = np.c_[np.ones(500), samples[1500:]] @ linear - wanted[1500:]
    assert (error**2).mean() < 0.5 * (linear_error**2).mean()


def test_what_is_learned_is_apart_from_what_is_innate() -> None:
    readout = AdaptiveReadout(np.array([[1.0, 2.0]]), np.array([1.0, 0.0]), noise=1e-9)
    features = np.array([1.0, 1.0], np.float32)
    readout.learn(features, np.array([4.0]))
    assert readout.predict(features)[0] == pytest.approx(7.0)
    np.testing.assert_allclose(readout.weights, [[5.0, 2.0]], rtol=1e-6)  # no variance, no learning
    assert readout.initial_copy().predict(features)[0] == pytest.approx(3.0)


def test_a_choice_changes_on_lasting_evidence_only() -> None:
    selector = HypothesisSelector(2, window=5, margin=0.5)
    for _ in range(10):
        assert not selector.update(np.array([1.4, 1.0]))  # not by more than the margin
    for _ in range(5):
        selector.update(np.array([0.0, 1.0]))
    for _ in range(2):
        assert not selector.update(np.array([9.0, 0.0]))  # two outliers of five
    assert selector.update(np.array([9.0, 0.0]))
    assert selector.best == 1
    selector.reset(3, 2)
    assert selector.best == 2
    for _ in range(2):
        assert not selector.update(np.array([0.0, 5.0, 9.0]))  # less than half of the window seen
    assert selector.update(np.array([0.0, 5.0, 9.0]))
    assert selector.best == 0


def test_a_world_that_is_left_is_hardly_forgotten_before_that_is_noticed() -> None:
    contexts, (_, second, third), rng = worlds()
    live(contexts, second, rng, 100)
    live(contexts, third, rng, 4)
    assert contexts.active == 2
    assert np.abs(contexts.readouts[1].weights - second).max() < 0.1


def worlds() -> tuple[Contexts, list[np.ndarray], np.random.Generator]:
    rng = np.random.default_rng(7)
    born = rng.normal(size=(2, 5))
    contexts = Contexts(AdaptiveReadout(born, np.ones(5)), capacity=4)
    return contexts, [born, born + rng.normal(size=(2, 5)), born + rng.normal(size=(2, 5))], rng


def live(contexts: Contexts, world: np.ndarray, rng: np.random.Generator, steps: int) -> np.ndarray:
    """Errors of the readouts believed, in a world."""
    features = rng.normal(size=(steps, 5)).astype(np.float32)
    return np.array([np.abs(contexts.observe(row, world @ row)).max() for row in features])


def test_each_world_gets_a_readout_and_finds_it_again() -> None:
    contexts, (born, second, third), rng = worlds()
    assert live(contexts, born, rng, 50).max() < 1e-4
    assert contexts.active == 0
    for world in (second, third):
        live(contexts, world, rng, 120)
    assert len(contexts.readouts) == 3
    live(contexts, born, rng, 20)
    assert contexts.active == 0
    for world in (second, third, second):
        errors = live(contexts, world, rng, 40)
        assert errors[10:].max() < 0.05
    assert len(contexts.readouts) == 3
    np.testing.assert_array_equal(contexts.initial.learned, 0.0)


def test_the_readout_unused_longest_makes_room() -> None:
    contexts, (born, second, third), rng = worlds()
    worlds_met = [second, third, 2.0 * born - second, 2.0 * born - third]
    for world in worlds_met:
        live(contexts, world, rng, 150)
        live(contexts, born, rng, 20)
    assert len(contexts.readouts) == 4
    for world in worlds_met[1:]:
        assert any(np.abs(readout.weights - world).max() < 0.05 for readout in contexts.readouts)
    assert not any(np.abs(readout.weights - second).max() < 0.05 for readout in contexts.readouts)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ModelError, match="inputs"):
        GranuleLayer.random(np.zeros((10, 3)), 5, np.random.default_rng(0))
    with pytest.raises(ModelError, match="variance"):
        AdaptiveReadout(np.zeros((1, 3)), np.ones(2))
    with pytest.raises(ModelError, match="noise"):
        AdaptiveReadout(np.zeros((1, 3)), np.ones(3), noise=0.0)
    with pytest.raises(ModelError, match="capacity"):
        Contexts(AdaptiveReadout(np.zeros((1, 3)), np.ones(3)), capacity=1)
    with pytest.raises(ModelError, match="hypotheses"):
        HypothesisSelector(0, 5, 0.1)
    with pytest.raises(ModelError, match="one for each of 2"):
        HypothesisSelector(2, 5, 0.1).update(np.zeros(3))
    with pytest.raises(ModelError, match="expected"):
        Contexts(AdaptiveReadout(np.zeros((1, 3)), np.ones(3)), expected_error=0.0)
    with pytest.raises(ModelError, match="fan_in"):
        GranuleLayer(np.zeros((3, 2), np.int32), np.zeros((3, 4), np.float32), np.zeros(3, np.float32))

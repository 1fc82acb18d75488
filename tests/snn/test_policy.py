"""The spiking policy: its numpy form against the torch module it is trained as, its file, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.snn.models.policy import Layer, PolicyShape, SpikingPolicy
from brainnet.snn.models.policy_training import ReLUPolicy, TrainableSpikingPolicy
from brainnet.snn.neurons.lif_steps import lif_spikes


@pytest.fixture(scope="module")
def module() -> TrainableSpikingPolicy:
    torch.manual_seed(3)
    return TrainableSpikingPolicy(6, [40, 30], 2, PolicyShape(steps=8))


@pytest.fixture(scope="module")
def policy(module: TrainableSpikingPolicy) -> SpikingPolicy:
    return module.to_policy()


def test_numpy_equals_the_training_module(module: TrainableSpikingPolicy, policy: SpikingPolicy) -> None:
    features = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    with torch.no_grad():
        trained = module(torch.from_numpy(features)).clamp(-1.0, 1.0).numpy()
    ours = np.stack([policy.act(row).values for row in features])
    # the two sum in different orders: a membrane potential within rounding of the threshold may fall on either side
    differs = np.abs(trained - ours).max(axis=1) > 1e-5
    assert differs.mean() <= 0.01


@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 30), beta=st.floats(0.1, 0.99))
@settings(max_examples=30, deadline=None)
def test_neurons_are_those_of_snntorch(seed: int, steps: int, beta: float) -> None:
    currents = np.random.default_rng(seed).normal(0.4, 0.6, (20, steps)).astype(np.float32)
    neuron = snntorch.Leaky(beta=float(np.float32(beta)), threshold=1.0, reset_mechanism="subtract")
    membrane = torch.zeros(20)
    expected = []
    for step in range(steps):
        spikes, membrane = neuron(torch.from_numpy(currents[:, step]), membrane)
        expected.append(spikes.numpy())
    agree = lif_spikes(currents, beta, 1.0) == np.stack(expected, axis=1)
    # rounding may move one spike, which then changes what follows in that neuron
    assert agree.all(axis=1).mean() >= 0.95


def test_the_twin_differs_in_its_units_alone() -> None:
    torch.manual_seed(1)
    twin = ReLUPolicy(6, [40, 30], 2)
    spiking = TrainableSpikingPolicy(6, [40, 30], 2, PolicyShape())
    assert [(n, x.shape) for n, x in twin.named_parameters()] == [(n, x.shape) for n, x in spiking.named_parameters()]
    features = torch.randn(10, 6)
    weights = dict(twin.named_parameters())

    def through(name: str, values: torch.Tensor) -> torch.Tensor:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    first = torch.relu(through("hidden.0", features))
    second = torch.relu(through("hidden.1", first))
    torch.testing.assert_close(twin(features), through("readout", torch.cat([first, second], -1)))


def test_learns_by_surrogate_gradients() -> None:
    torch.manual_seed(0)
    module = TrainableSpikingPolicy(2, [64], 1, PolicyShape(steps=8))
    features = torch.rand(512, 2) * 2 - 1
    wanted = (features[:, :1] * features[:, 1:]) * 0.8
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(150):
        loss = ((module(features) - wanted) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    policy = module.to_policy()
    ours = np.array([policy.act(row).values for row in features.numpy()])
    assert ((ours - wanted.numpy()) ** 2).mean() < 0.25 * wanted.var().item()


def test_actions_come_from_spikes_alone(policy: SpikingPolicy) -> None:
    action = policy.act(np.linspace(-1, 1, 6))
    rates = action.spikes.mean(axis=1)
    decoded = policy.readout.weight @ rates + policy.readout.bias
    np.testing.assert_allclose(action.values, np.clip(decoded, -1, 1), atol=1e-6)
    assert action.spikes.shape == (70, 8)
    assert set(np.unique(action.spikes)) <= {0, 1}


@given(scale=st.floats(0, 1e6), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_actions_are_bounded_and_repeatable(policy: SpikingPolicy, scale: float, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=6) * scale
    first, second = policy.act(features), policy.act(features)
    assert np.abs(first.values).max() <= 1.0
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.spikes, second.spikes)


def test_survives_its_file(policy: SpikingPolicy, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    policy.save(path)
    loaded = SpikingPolicy.load(path)
    assert loaded.shape == policy.shape
    # weights are kept as float16; a second round trip changes nothing
    loaded.save(path)
    again = SpikingPolicy.load(path)
    features = np.full(6, 0.3, np.float32)
    np.testing.assert_array_equal(loaded.act(features).values, again.act(features).values)
    for ours, theirs in zip(policy.hidden, loaded.hidden, strict=True):
        np.testing.assert_allclose(ours.weight, theirs.weight, rtol=1e-3, atol=1e-4)


def test_refuses_what_is_no_policy(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    with pytest.raises(ModelError, match=r"bad\.safetensors"):
        SpikingPolicy.load(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match=r"bad\.safetensors"):
        SpikingPolicy.load(path)


@pytest.mark.parametrize("features", [np.zeros(5), np.zeros((1, 6)), np.full(6, np.nan)])
def test_refuses_wrong_features(policy: SpikingPolicy, features: np.ndarray) -> None:
    with pytest.raises(ModelError, match="6 finite features"):
        policy.act(features)


def test_refuses_layers_that_do_not_fit() -> None:
    layer = Layer(np.zeros((3, 2), np.float32), np.zeros(3, np.float32))
    with pytest.raises(ModelError, match="readout"):
        SpikingPolicy([layer], Layer(np.zeros((1, 4), np.float32), np.zeros(1, np.float32)), PolicyShape())
    with pytest.raises(ModelError, match="spiking layer"):
        SpikingPolicy([], layer, PolicyShape())
    with pytest.raises(ModelError, match="beta"):
        PolicyShape(beta=1.0)

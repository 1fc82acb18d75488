"""Proximal policy optimisation: its estimates against sums written out, and what an update does to a policy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from brainnet.errors import ModelError
from brainnet.snn.models.policy import PolicyShape
from brainnet.snn.models.policy_training import ReLUPolicy, TrainableSpikingPolicy
from brainnet.snn.models.ppo import (
    GaussianPolicy,
    PPOParams,
    Rollout,
    clipped_objective,
    generalised_advantages,
    log_density,
    ppo_update,
)


@given(steps=st.integers(1, 12), discount=st.floats(0, 1), gae_lambda=st.floats(0, 1), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_advantages_are_the_discounted_sum_of_surprises(
    steps: int, discount: float, gae_lambda: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rewards, values = rng.normal(size=(steps, 3)), rng.normal(size=(steps + 1, 3))
    surprise = rewards + discount * values[1:] - values[:-1]
    expected = [
        sum((discount * gae_lambda) ** (later - step) * surprise[later] for later in range(step, steps))
        for step in range(steps)
    ]
    ours = generalised_advantages(torch.tensor(rewards), torch.tensor(values), discount, gae_lambda)
    np.testing.assert_allclose(ours.numpy(), np.array(expected), atol=1e-10)


def test_with_full_trace_the_advantage_is_return_less_value() -> None:
    rewards, values = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[10.0], [20.0], [30.0], [40.0]])
    ours = generalised_advantages(rewards, values, 0.5, 1.0)
    # 1 + 2/2 + 4/4 + 40/8 - 10
    assert float(ours[0, 0]) == pytest.approx(1 + 1 + 1 + 5 - 10)


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "slope"),
    [
        (1.1, 2.0, 2.2, 2.2),
        (1.5, 2.0, 2.4, 0.0),  # good already: no more of it
        (0.5, 2.0, 1.0, 1.0),
        (1.5, -2.0, -3.0, -3.0),
        (0.5, -2.0, -1.6, 0.0),  # rare already: no less of it
    ],
)
def test_objective_is_clipped_on_the_side_that_pays(ratio: float, advantage: float, value: float, slope: float) -> None:
    log_probs = torch.tensor([np.log(ratio)], requires_grad=True)
    objective = clipped_objective(log_probs, torch.zeros(1), torch.tensor([advantage]), clip=0.2)
    (gradient,) = torch.autograd.grad(objective, log_probs)
    assert objective.item() == pytest.approx(value)
    assert gradient.item() == pytest.approx(slope)


def test_densities_are_those_of_independent_normals() -> None:
    policy = GaussianPolicy(nn.Linear(3, 2), actions=2, std=0.3)
    features, actions = torch.randn(5, 3), torch.randn(5, 2)
    away = ((actions - policy.mean(features)) / 0.3).square().sum(-1)
    expected = -0.5 * away - np.log(2 * np.pi * 0.3**2)  # in two dimensions
    torch.testing.assert_close(policy.log_prob(features, actions), expected)


def rollout(policy: GaussianPolicy, value: nn.Module, generator: torch.Generator, steps: int = 20) -> Rollout:
    """A task without consequences: the reward is nearness of the action to (x, -x / 2)."""
    with torch.no_grad():
        features = torch.rand(steps + 1, 16, 1, generator=generator) * 2 - 1
        distribution = policy(features[:-1])
        noise = torch.randn(distribution.mean.shape, generator=generator)
        actions = distribution.mean + noise * distribution.stddev
        wanted = torch.cat([features[:-1], -0.5 * features[:-1]], dim=-1)
        rewards = -(actions - wanted).square().sum(-1)
        return Rollout(features[:-1], actions, log_density(distribution, actions), rewards, value(features)[..., 0])


@pytest.mark.parametrize("kind", ["spiking", "rectified"])
def test_learns_from_reward_alone(kind: str) -> None:
    torch.manual_seed(0)
    mean = TrainableSpikingPolicy(1, [32], 2, PolicyShape(steps=8)) if kind == "spiking" else ReLUPolicy(1, [32], 2)
    policy, value = GaussianPolicy(mean, 2, 0.3), nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    optimiser = torch.optim.Adam([*policy.parameters(), *value.parameters()], 5e-3)
    params, generator = PPOParams(discount=0.0, minibatch=160), torch.Generator().manual_seed(0)
    features = torch.linspace(-1, 1, 41)[:, None]
    wanted = torch.cat([features, -0.5 * features], dim=-1)

    @torch.no_grad()
    def error() -> float:
        return float((mean(features) - wanted).square().mean())

    before = error()
    for _ in range(25):
        ppo_update(policy, value, optimiser, rollout(policy, value, generator), params, generator)
    assert error() < 0.4 * before


def test_can_teach_the_value_network_alone() -> None:
    torch.manual_seed(0)
    policy, value = GaussianPolicy(ReLUPolicy(1, [8], 2), 2, 0.3), nn.Linear(1, 1)
    optimiser = torch.optim.Adam([*policy.parameters(), *value.parameters()], 1e-2)
    before = [x.clone() for x in policy.parameters()], [x.clone() for x in value.parameters()]
    generator = torch.Generator().manual_seed(0)
    lived = rollout(policy, value, generator)
    done = ppo_update(policy, value, optimiser, lived, PPOParams(), generator, value_only=True)
    assert done.steps > 0
    assert done.kl == 0.0
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), before[0], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(value.parameters(), before[1], strict=True))


def test_an_update_ends_where_the_policy_has_moved_far() -> None:
    torch.manual_seed(0)
    policy, value = GaussianPolicy(ReLUPolicy(1, [8], 2), 2, 0.3), nn.Linear(1, 1)
    optimiser = torch.optim.Adam([*policy.parameters(), *value.parameters()], 0.1)
    generator = torch.Generator().manual_seed(0)
    params = PPOParams(epochs=50, minibatch=32, max_kl=0.01)
    done = ppo_update(policy, value, optimiser, rollout(policy, value, generator), params, generator)
    assert done.kl > 0.01
    assert done.steps < 50 * 10


def test_a_regulariser_is_heard() -> None:
    torch.manual_seed(0)
    net = ReLUPolicy(1, [8], 2)
    policy, value = GaussianPolicy(net, 2, 0.3), nn.Linear(1, 1)
    optimiser = torch.optim.Adam([*policy.parameters(), *value.parameters()], 1e-2)
    generator = torch.Generator().manual_seed(0)
    zero = torch.zeros(1, 1)
    for _ in range(10):
        lived = rollout(policy, value, generator)
        ppo_update(
            policy,
            value,
            optimiser,
            lived,
            PPOParams(max_kl=10.0),
            generator,
            lambda: 100.0 * (net(zero) - 0.7).square().sum(),
        )
    np.testing.assert_allclose(net(zero).detach().numpy(), [[0.7, 0.7]], atol=0.1)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ModelError, match="T \\+ 1"):
        generalised_advantages(torch.zeros(3, 2), torch.zeros(3, 2), 0.9, 0.9)
    for bad in ({"clip": 1.5}, {"discount": -0.1}, {"epochs": 0}, {"minibatch": 1}, {"max_kl": 0.0}):
        with pytest.raises(ModelError, match="PPO needs"):
            PPOParams(**bad)

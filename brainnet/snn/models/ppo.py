r"""Proximal policy optimisation, for policies whose gradients pass through spikes as well as for others.

With $r_t = \pi(a_t | x_t) / \pi_{old}(a_t | x_t)$, the objective that an update raises is

$$
\mathbb{E}_t \left[ \min \left( r_t A_t,\; \mathrm{clip}(r_t, 1 - \epsilon, 1 + \epsilon) A_t \right) \right]
$$

(Schulman et al. 2017, *Proximal Policy Optimization Algorithms*, equation 7), with advantages from

$$
A_t = \sum_{k \ge 0} (\gamma \lambda)^k \delta_{t+k}, \qquad \delta_t = r_t + \gamma V(x_{t+1}) - V(x_t)
$$

(Schulman et al. 2016, *High-Dimensional Continuous Control Using Generalized Advantage Estimation*, equation 16). The
policy is a Gaussian around what a network says, so that any differentiable network can be improved: in a spiking one
the surrogate of `brainnet.snn.neurons.surrogate` stands for the derivative of the spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError


@dataclass(frozen=True)
class PPOParams:
    """How far and how fast a policy is improved.

    Attributes:
        discount: gamma, of the next step's worth.
        trace: lambda of the advantage estimate; 0 trusts the value network, 1 the rewards seen.
        clip: epsilon, how far a probability ratio may move before its sample stops counting.
        epochs: passes over a rollout.
        minibatch: samples per gradient step.
        largest_kl: an update ends early when the mean KL divergence from the old policy exceeds this.
        largest_gradient: norm to which gradients are scaled down.
    """

    discount: float = 0.98
    trace: float = 0.95
    clip: float = 0.2
    epochs: int = 5
    minibatch: int = 640
    largest_kl: float = 0.03
    largest_gradient: float = 0.5

    def __post_init__(self) -> None:
        shares = 0.0 <= self.discount <= 1.0 and 0.0 <= self.trace <= 1.0 and 0.0 < self.clip < 1.0
        if not shares or self.epochs < 1 or self.minibatch < 2 or self.largest_kl <= 0.0 or self.largest_gradient <= 0:
            raise ModelError(
                "PPO needs discount and trace in [0, 1], 0 < clip < 1, epochs >= 1, minibatch >= 2 and positive "
                f"largest_kl and largest_gradient, got {self}"
            )


class GaussianPolicy(nn.Module):
    """Actions normally distributed around `mean(features)`, with a learned spread for each action."""

    def __init__(self, mean: nn.Module, actions: int, spread: float) -> None:
        super().__init__()
        self.mean = mean
        self.log_spread = nn.Parameter(torch.full((actions,), spread).log())

    def forward(self, features: Tensor) -> torch.distributions.Normal:
        """The distribution of the actions [B, actions]."""
        mean: Tensor = self.mean(features)
        return torch.distributions.Normal(mean, self.log_spread.exp().expand_as(mean))

    def log_prob(self, features: Tensor, actions: Tensor) -> Tensor:
        """Log density [B] of `actions` [B, actions]."""
        return log_density(self(features), actions)


class Rollout(NamedTuple):
    """What a policy lived through: T steps of N bodies."""

    features: Tensor
    """[T, N, inputs]"""
    actions: Tensor
    """[T, N, actions], as drawn."""
    log_probs: Tensor
    """[T, N], under the policy that drew them."""
    rewards: Tensor
    """[T, N]"""
    values: Tensor
    """[T + 1, N], the value network's, of the state after the last step too."""


class Improvement(NamedTuple):
    """What one update did: `kl` mean divergence from the old policy, `value_loss`, gradient `steps` taken."""

    kl: float
    value_loss: float
    steps: int


def log_density(distribution: torch.distributions.Normal, actions: Tensor) -> Tensor:
    """Log density [...] of `actions` [..., actions], whose components are independent."""
    density: Tensor = distribution.log_prob(actions).sum(-1)
    return density


def generalised_advantages(rewards: Tensor, values: Tensor, discount: float, trace: float) -> Tensor:
    """Advantages [T, N] for `rewards` [T, N] and `values` [T + 1, N].

    A rollout ends because time is up, not because the task is over: the last value stands for what would have followed.

    Raises:
        ModelError: shapes that do not fit.
    """
    if rewards.ndim != 2 or values.shape != (rewards.shape[0] + 1, rewards.shape[1]):
        raise ModelError(
            f"rewards must be [T, N] and values [T + 1, N], got {tuple(rewards.shape)} and {tuple(values.shape)}"
        )
    surprise = rewards + discount * values[1:] - values[:-1]
    advantages = torch.empty_like(surprise)
    ahead = torch.zeros_like(surprise[0])
    for step in range(len(surprise) - 1, -1, -1):
        ahead = surprise[step] + discount * trace * ahead
        advantages[step] = ahead
    return advantages


def clipped_objective(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """The mean clipped objective, a scalar to be raised."""
    ratio = (log_probs - old_log_probs).exp()
    return torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages).mean()


def improve(
    policy: GaussianPolicy,
    value: nn.Module,
    optimiser: torch.optim.Optimizer,
    rollout: Rollout,
    params: PPOParams,
    generator: torch.Generator,
    regulariser: Callable[[], Tensor] | None = None,
    *,
    only_value: bool = False,
) -> Improvement:
    """One update of `policy` and of `value` (features [B, inputs] -> [B, 1]) from one rollout.

    Args:
        optimiser: over the parameters of both.
        generator: draws the minibatches.
        regulariser: a scalar to be added to each minibatch's loss.
        only_value: leave the policy as it is, as while the value network still knows nothing.
    """
    advantages = generalised_advantages(rollout.rewards, rollout.values, params.discount, params.trace)
    wanted = (advantages + rollout.values[:-1]).flatten()
    features, actions = rollout.features.flatten(0, 1), rollout.actions.flatten(0, 1)
    old = rollout.log_probs.flatten()
    scores = advantages.flatten()
    scores = (scores - scores.mean()) / (scores.std() + 1e-8)
    parameters = [x for group in optimiser.param_groups for x in group["params"]]
    kl, value_loss, steps = 0.0, 0.0, 0
    for _ in range(params.epochs):
        for chosen in torch.randperm(len(old), generator=generator).split(params.minibatch):
            loss = value_error = (value(features[chosen])[:, 0] - wanted[chosen]).square().mean()
            if not only_value:
                log_probs = policy.log_prob(features[chosen], actions[chosen])
                log_ratio = (log_probs - old[chosen]).detach()
                # an estimate of KL(old, new) that is never negative (Schulman 2020, Approximating KL Divergence)
                kl = float((log_ratio.exp() - 1.0 - log_ratio).mean())
                if kl > params.largest_kl:
                    return Improvement(kl, value_loss, steps)
                loss = value_error - clipped_objective(log_probs, old[chosen], scores[chosen], params.clip)
                if regulariser is not None:
                    loss = loss + regulariser()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, params.largest_gradient)
            optimiser.step()
            value_loss, steps = float(value_error.detach()), steps + 1
    return Improvement(kl, value_loss, steps)

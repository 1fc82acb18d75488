r"""Proximal policy optimisation, for policies whose gradients pass through spikes as well as for others.

With $r_t = \pi(a_t | x_t) / \pi_{old}(a_t | x_t)$, the objective that an update maximises is

$$
\mathbb{E}_t \left[ \min \left( r_t A_t,\; \mathrm{clip}(r_t, 1 - \epsilon, 1 + \epsilon) A_t \right) \right]
$$

(Schulman et al. 2017, *Proximal Policy Optimization Algorithms*, equation 7), with advantages from

$$
A_t = \sum_{k \ge 0} (\gamma \lambda)^k \delta_{t+k}, \qquad \delta_t = r_t + \gamma V(x_{t+1}) - V(x_t)
$$

(Schulman et al. 2016, *High-Dimensional Continuous Control Using Generalized Advantage Estimation*, equation 16). The
policy is a Gaussian around the output of a network. Any differentiable network can be trained: in a spiking one the
surrogate of `brainnet.snn.neurons.surrogate` replaces the derivative of the spikes.
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
    """Constants of proximal policy optimisation.

    Attributes:
        discount: gamma, the weight of the next step's value.
        gae_lambda: lambda of the advantage estimate; 0 uses the value network alone, 1 the observed rewards alone.
        clip: epsilon, the change of a probability ratio beyond which its sample has no gradient.
        epochs: passes over a rollout.
        minibatch: samples per gradient step.
        max_kl: an update ends early when the mean KL divergence from the old policy exceeds this.
        max_grad_norm: the norm to which gradients are clipped.

    Raises:
        ModelError: a constant is out of range.
    """

    discount: float = 0.98
    gae_lambda: float = 0.95
    clip: float = 0.2
    epochs: int = 5
    minibatch: int = 640
    max_kl: float = 0.03
    max_grad_norm: float = 0.5

    def __post_init__(self) -> None:
        in_range = 0.0 <= self.discount <= 1.0 and 0.0 <= self.gae_lambda <= 1.0 and 0.0 < self.clip < 1.0
        if not in_range or self.epochs < 1 or self.minibatch < 2 or self.max_kl <= 0.0 or self.max_grad_norm <= 0:
            raise ModelError(
                "PPO needs discount and gae_lambda in [0, 1], 0 < clip < 1, epochs >= 1, minibatch >= 2 and positive "
                f"max_kl and max_grad_norm, got {self}"
            )


class GaussianPolicy(nn.Module):
    """Actions that are normally distributed around `mean(features)`, with a learned standard deviation each.

    Args:
        mean: the network.
        actions: the number of actions.
        std: the initial standard deviation.
    """

    def __init__(self, mean: nn.Module, actions: int, std: float) -> None:
        super().__init__()
        self.mean = mean
        self.log_spread = nn.Parameter(torch.full((actions,), std).log())

    def forward(self, features: Tensor) -> torch.distributions.Normal:
        """Return the distribution of the actions [B, actions]."""
        mean: Tensor = self.mean(features)
        return torch.distributions.Normal(mean, self.log_spread.exp().expand_as(mean))

    def log_prob(self, features: Tensor, actions: Tensor) -> Tensor:
        """Return the log density [B] of `actions` [B, actions]."""
        return log_density(self(features), actions)


class Rollout(NamedTuple):
    """The experience of a policy: T steps of N environments.

    Attributes:
        features: [T, N, inputs].
        actions: [T, N, actions], as sampled.
        log_probs: [T, N], under the policy that sampled them.
        rewards: [T, N].
        values: [T + 1, N], of the value network, with the state after the last step.
    """

    features: Tensor
    actions: Tensor
    log_probs: Tensor
    rewards: Tensor
    values: Tensor


class UpdateStats(NamedTuple):
    """Statistics of one update.

    Attributes:
        kl: mean KL divergence from the old policy.
        value_loss: the last loss of the value network.
        steps: gradient steps taken.
    """

    kl: float
    value_loss: float
    steps: int


def log_density(distribution: torch.distributions.Normal, actions: Tensor) -> Tensor:
    """Return the log density [...] of `actions` [..., actions], whose components are independent."""
    density: Tensor = distribution.log_prob(actions).sum(-1)
    return density


def generalised_advantages(rewards: Tensor, values: Tensor, discount: float, gae_lambda: float) -> Tensor:
    """Return the advantages [T, N].

    A rollout ends because of its time limit, not because the task is over. Therefore the value of the last state stands
    for the rewards that would follow.

    Args:
        rewards: [T, N].
        values: [T + 1, N].
        discount: gamma.
        gae_lambda: lambda.

    Raises:
        ModelError: shapes that do not fit.
    """
    if rewards.ndim != 2 or values.shape != (rewards.shape[0] + 1, rewards.shape[1]):
        raise ModelError(
            f"rewards must be [T, N] and values [T + 1, N], got {tuple(rewards.shape)} and {tuple(values.shape)}"
        )
    td_error = rewards + discount * values[1:] - values[:-1]
    advantages = torch.empty_like(td_error)
    advantage = torch.zeros_like(td_error[0])
    for step in range(len(td_error) - 1, -1, -1):
        advantage = td_error[step] + discount * gae_lambda * advantage
        advantages[step] = advantage
    return advantages


def clipped_objective(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return the mean clipped objective, a scalar to be maximised."""
    ratio = (log_probs - old_log_probs).exp()
    return torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages).mean()


def ppo_update(
    policy: GaussianPolicy,
    value: nn.Module,
    optimiser: torch.optim.Optimizer,
    rollout: Rollout,
    params: PPOParams,
    generator: torch.Generator,
    regulariser: Callable[[], Tensor] | None = None,
    *,
    value_only: bool = False,
) -> UpdateStats:
    """Update `policy` and `value` from one rollout.

    Args:
        policy: the policy.
        value: the value network, features [B, inputs] -> [B, 1].
        optimiser: over the parameters of both.
        rollout: the experience.
        params: the constants.
        generator: draws the minibatches.
        regulariser: a scalar to be added to the loss of each minibatch.
        value_only: do not change the policy; for the first rollouts, while the value network is untrained.
    """
    advantages = generalised_advantages(rollout.rewards, rollout.values, params.discount, params.gae_lambda)
    # advantages plus values are estimates of the return, the target of the value network
    returns = (advantages + rollout.values[:-1]).flatten()
    features, actions = rollout.features.flatten(0, 1), rollout.actions.flatten(0, 1)
    old = rollout.log_probs.flatten()
    scores = advantages.flatten()
    # standardised, so that the learning rate does not depend on the scale of the rewards
    scores = (scores - scores.mean()) / (scores.std() + 1e-8)
    parameters = [x for group in optimiser.param_groups for x in group["params"]]
    kl, value_loss, steps = 0.0, 0.0, 0
    for _ in range(params.epochs):
        for chosen in torch.randperm(len(old), generator=generator).split(params.minibatch):
            loss = value_error = (value(features[chosen])[:, 0] - returns[chosen]).square().mean()
            if not value_only:
                log_probs = policy.log_prob(features[chosen], actions[chosen])
                log_ratio = (log_probs - old[chosen]).detach()
                # an estimate of KL(old, new) that is never negative (Schulman 2020, Approximating KL Divergence)
                kl = float((log_ratio.exp() - 1.0 - log_ratio).mean())
                if kl > params.max_kl:
                    return UpdateStats(kl, value_loss, steps)
                loss = value_error - clipped_objective(log_probs, old[chosen], scores[chosen], params.clip)
                if regulariser is not None:
                    loss = loss + regulariser()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, params.max_grad_norm)
            optimiser.step()
            value_loss, steps = float(value_error.detach()), steps + 1
    return UpdateStats(kl, value_loss, steps)

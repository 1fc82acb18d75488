# mypy: allow-untyped-calls, no-warn-return-any
"""The simulated arms for training the motor cortex: their states, Reacher-v5's reward, and networks as controllers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from brainnet.effectors import reaching
from brainnet.effectors.joint_state import JointState
from brainnet.effectors.planar_arm import JOINTS, features, fingertip, inverse_kinematics
from brainnet.effectors.reaching import Controller, FloatArray
from brainnet.effectors.simulation import Plant
from brainnet.snn.models.policy_training import ReLUPolicy, TrainableSpikingPolicy

EPISODE = 50
"""Steps of an episode of Reacher-v5."""

Policy = TrainableSpikingPolicy | ReLUPolicy
States = tuple[JointState, FloatArray]
"""States of many arms, and their targets."""


def random_states(rng: np.random.Generator, count: int) -> States:
    """Draw states and targets without a policy.

    One half lies near its target, at distances that are uniform on a logarithmic scale; the other half is anywhere.
    """
    targets = reaching.random_targets(rng, count)
    half = count // 2
    angles = np.stack([rng.uniform(-np.pi, np.pi, count), rng.uniform(-3.0, 3.0, count)], axis=-1)
    velocities = rng.normal(0.0, 3.0, (count, 2))
    spread = 10.0 ** rng.uniform(-2.5, 0.0, (half, 1))
    angles[:half] = inverse_kinematics(targets[:half]) + rng.normal(size=(half, 2)) * spread
    velocities[:half] = rng.normal(size=(half, 2)) * spread * 8.0
    angles[:, 1] = np.clip(angles[:, 1], -3.0, 3.0)
    return JointState(angles, velocities, fingertip(angles), np.zeros_like(angles)), targets


def near_states(rng: np.random.Generator, count: int) -> States:
    """Draw states within a few centimetres of their target, with the small velocities of an arm that arrives there."""
    targets = reaching.random_targets(rng, count)
    spread = 10.0 ** rng.uniform(-3.0, -1.0, (count, 1))
    angles = inverse_kinematics(targets) + rng.normal(size=(count, 2)) * spread
    angles[:, 1] = np.clip(angles[:, 1], -3.0, 3.0)
    return JointState(
        angles, rng.normal(size=(count, 2)) * spread * 7.0, fingertip(angles), np.zeros_like(angles)
    ), targets


class Arms:
    """Many arms that reach at the same time.

    Args:
        count: Number of arms.
    """

    def __init__(self, count: int) -> None:
        self.plants = [Plant() for _ in range(count)]

    def start(self, rng: np.random.Generator, *, standard: bool = True) -> FloatArray:
        """Begin a new episode.

        Args:
            rng: Source of all random draws.
            standard: Whether every second arm starts as Reacher-v5 starts; the others start at random postures.

        Returns:
            The targets, [count, 2].
        """
        targets = reaching.random_targets(rng, len(self.plants))
        for index, plant in enumerate(self.plants):
            if standard and index % 2 == 0:
                plant.set_state(rng.uniform(-0.1, 0.1, JOINTS), rng.uniform(-0.005, 0.005, JOINTS))
                # Uniform over the disc of 20 cm, as in Reacher-v5.
                radius, angle = 0.2 * np.sqrt(rng.uniform()), rng.uniform(-np.pi, np.pi)
                targets[index] = radius * np.cos(angle), radius * np.sin(angle)
            else:
                reaching.random_posture(rng, plant)
        return targets

    def states(self) -> JointState:
        """Return the states of all arms, as arrays [count, ...]."""
        return _joined([plant.state() for plant in self.plants], np.stack)

    def step(self, commands: FloatArray) -> None:
        for plant, command in zip(self.plants, commands, strict=True):
            plant.step(command)


def _joined(states: list[JointState], join: Callable[[list[FloatArray]], FloatArray]) -> JointState:
    """Make one state of arrays from many states; `join` is np.stack or np.concatenate."""
    angles, velocities, tip, applied = (
        join([getattr(state, name) for state in states]) for name in ("angles", "velocities", "tip", "applied")
    )
    return JointState(angles, velocities, tip, applied)


@torch.no_grad()
def visited_states(rng: np.random.Generator, arms: Arms, net: Policy, *, standard: bool, steps: int = 100) -> States:
    """Collect the states that the policy itself visits on its way to random targets."""
    targets = arms.start(rng, standard=standard)
    states = [arms.states()]
    for _ in range(steps):
        arms.step(net(torch.from_numpy(features(states[-1], targets))).numpy().astype(np.float64))
        states.append(arms.states())
    return _joined(states, np.concatenate), np.tile(targets, (len(states), 1))


def reward(state: JointState, targets: FloatArray, commands: FloatArray) -> FloatArray:
    """Compute Reacher-v5's reward [N]: minus the distance from the target, minus the sum of squared commands.

    `state` are the states [N] that `commands` [N, 2] led to.
    """
    error = state.tip - targets
    return -np.hypot(error[..., 0], error[..., 1]) - np.square(commands).sum(-1)


def network_controller(net: nn.Module) -> Controller:
    """Wrap a torch module as a controller of one arm or of many."""

    @torch.no_grad()
    def act(state: JointState, target: FloatArray) -> FloatArray:
        commands: FloatArray = (
            net(torch.from_numpy(features(state, target))).clamp(-1.0, 1.0).numpy().astype(np.float64)
        )
        return commands

    return act

"""The arm in closed loop without a bus: the physics of the arm's node, the policy of the motor cortex and the model of
the cerebellum, wired the way the topics wire them. Training, evaluation and tests use this one loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.joint_state import JointState
from brainnet.snn.policy import SpikingPolicy
from nodes.arm_body import Dynamics, Plant
from nodes.cerebellum import ForwardModel
from nodes.motor_cortex import INNER_RADIUS, OUTER_RADIUS, features, tip_distance

FloatArray = NDArray[np.float64]

UPPER_ARM, FOREARM = 0.1, 0.11
"""Lengths of the links in metres."""
MAX_ELBOW = 2.98
"""Largest elbow angle that inverse kinematics asks for, rad; the joint's stop is at 3."""


def forward_kinematics(angles: FloatArray) -> FloatArray:
    """Fingertip [..., 2] in metres for joint angles [..., 2]."""
    shoulder, both = angles[..., 0], angles[..., 0] + angles[..., 1]
    return np.stack(
        [
            UPPER_ARM * np.cos(shoulder) + FOREARM * np.cos(both),
            UPPER_ARM * np.sin(shoulder) + FOREARM * np.sin(both),
        ],
        axis=-1,
    )


def inverse_kinematics(target: FloatArray) -> FloatArray:
    """Joint angles [..., 2] that put the fingertip on ``target``, elbow to the left (angle >= 0), or nearest to it.

    One elbow side for all targets makes the angles a continuous function of the target, which a policy can learn.
    """
    x, y = target[..., 0], target[..., 1]
    cosine = (x * x + y * y - UPPER_ARM**2 - FOREARM**2) / (2 * UPPER_ARM * FOREARM)
    elbow = np.arccos(np.clip(cosine, np.cos(MAX_ELBOW), 1.0))
    shoulder = np.arctan2(y, x) - np.arctan2(FOREARM * np.sin(elbow), UPPER_ARM + FOREARM * np.cos(elbow))
    return np.stack([shoulder, elbow], axis=-1)


def expert_command(state: JointState, target: FloatArray) -> FloatArray:
    """The demonstrator: joint error -> wanted joint velocity (8 per second, at most 6 rad/s) -> torque, in [-1, 1].

    The shoulder turns the short way round; while it moves, it keeps its direction past the half turn, so that it never
    hesitates between the two ways.
    """
    error = inverse_kinematics(target) - state.angles
    keep = np.clip(0.3 * state.velocities[..., 0], -0.5, 0.5)
    error[..., 0] = (error[..., 0] - keep + np.pi) % (2 * np.pi) - np.pi + keep
    wanted = 6.0 * np.tanh(8.0 * error / 6.0)
    # full torque accelerates by 200 rad/s^2; velocity errors shall decay at 25 per second
    return np.clip(25.0 * (wanted - state.velocities) / 200.0, -1.0, 1.0)


def random_targets(rng: np.random.Generator, count: int) -> FloatArray:
    """``count`` points [count, 2], uniform over the reachable ring."""
    radius = np.sqrt(rng.uniform(INNER_RADIUS**2, OUTER_RADIUS**2, count))
    angle = rng.uniform(-np.pi, np.pi, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def grid_targets() -> FloatArray:
    """The 112 reachable points of a square grid over the disc of 20 cm, (0.10, 0.10) among them."""
    axis = np.linspace(-0.2, 0.2, 13)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    radius = np.hypot(*points.T)
    return points[(radius >= INNER_RADIUS) & (radius <= 0.2 + 1e-9)]


def random_posture(rng: np.random.Generator, plant: Plant) -> None:
    """Put the arm at rest anywhere its joints allow."""
    plant.place(np.array([rng.uniform(-np.pi, np.pi), rng.uniform(-2.9, 2.9)]), np.zeros(2))


@dataclass
class Trace:
    """One movement, step by step; lists are of equal length except that ``states`` also holds the start."""

    target: FloatArray
    states: list[JointState] = field(default_factory=list)
    commands: list[FloatArray] = field(default_factory=list)

    @property
    def distances(self) -> FloatArray:
        """Metres to the target after each step."""
        return np.array([tip_distance(state, self.target) for state in self.states])

    @property
    def tips(self) -> FloatArray:
        """Fingertip after each step, [steps, 2]."""
        return np.array([state.tip for state in self.states])

    @property
    def final_speed(self) -> float:
        """Largest joint velocity over the last five steps, rad/s."""
        return float(max(np.abs(state.velocities).max() for state in self.states[-5:]))

    def settling_time(self, dt: float, within: float = 0.01) -> float:
        """Seconds after which the fingertip stays ``within`` metres of the target; infinity if it does not."""
        outside = np.flatnonzero(self.distances > within)
        if outside.size == 0:
            return 0.0
        return float("inf") if outside[-1] == len(self.states) - 1 else float(outside[-1] + 1) * dt


def reach(
    plant: Plant,
    policy: SpikingPolicy,
    target: FloatArray,
    steps: int = 100,
    cerebellum: ForwardModel | None = None,
    late: Iterator[bool] | None = None,
) -> Trace:
    """Drive the arm from where it is towards ``target`` for ``steps`` steps.

    The cerebellum's correction of one step is added to the command of the next, as it arrives over topics. ``late``
    says step by step whether the command misses its step, in which case the arm applies the one before.
    """
    trace = Trace(target, [plant.state()])
    correction = applied = np.zeros(2)
    for _ in range(steps):
        state = trace.states[-1]
        wanted = policy.act(features(state, target)).values.astype(np.float64)
        command = np.clip(wanted + correction, -1.0, 1.0)
        if cerebellum is not None:
            cerebellum.feel(state)
            correction = cerebellum.correct(state.tick, wanted, command)
        if late is None or not next(late):
            applied = command
        trace.commands.append(applied)
        trace.states.append(plant.step(applied))
    if cerebellum is not None:
        cerebellum.feel(trace.states[-1])
    return trace


CHANGES: dict[str, dict[str, Any]] = {
    "nominal": {},
    "inertia x 2": {"inertia_scale": 2.0},
    "inertia x 4": {"inertia_scale": 4.0},
    "half the torque": {"gear_scale": 0.5},
    "damping x 8": {"damping_scale": 8.0},
    "force of 200 N": {"force": [150.0, -132.0]},
    "curl field of 100 N s/m": {"curl": 100.0},
}
"""Arms that the motor cortex was not trained on."""


def changed(name: str) -> Dynamics:
    """The dynamics called ``name`` in `CHANGES`."""
    return Dynamics(**CHANGES[name])

"""Reaching in closed loop without a bus: the simulated arm, a controller, and a forward model that corrects it, wired
the way the topics wire them. Training, evaluation and tests use this one loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from brainnet.effectors.correction import MotorCorrection
from brainnet.effectors.joint_state import JointState
from brainnet.effectors.planar_arm import (
    INNER_RADIUS,
    JOINTS,
    OUTER_RADIUS,
    features,
    foreseen,
    inverse_kinematics,
    tip_distance,
)
from brainnet.effectors.simulation import Dynamics, Plant
from brainnet.snn.models.policy import SpikingPolicy

FloatArray = NDArray[np.float64]
Controller = Callable[[JointState, FloatArray], FloatArray]
"""State and target to a command in [-1, 1] (or, for arrays of states, to commands)."""

FULL_TORQUE = 200.0
"""rad/s^2 by which full torque accelerates a joint, nearly."""


def joint_error(state: JointState, target: FloatArray) -> FloatArray:
    """What the joints still have to turn, rad [..., 2]: the shoulder the short way round.

    While the shoulder moves, it keeps its direction past the half turn, so that it never hesitates between two ways.
    """
    error = inverse_kinematics(target) - state.angles
    keep = np.clip(0.3 * state.velocities[..., 0], -0.5, 0.5)
    error[..., 0] = (error[..., 0] - keep + np.pi) % (2 * np.pi) - np.pi + keep
    return error


def expert_command(state: JointState, target: FloatArray) -> FloatArray:
    """The demonstrator: joint error -> wanted joint velocity (7 per second, at most 9 rad/s) -> torque, in [-1, 1].

    Velocity errors shall decay at 13 per second. Of the gains tried on Reacher-v5's own starts and targets, these come
    within 0.1 % of the best return.
    """
    wanted = 9.0 * np.tanh(7.0 * joint_error(state, target) / 9.0)
    return np.clip(13.0 * (wanted - state.velocities) / FULL_TORQUE, -1.0, 1.0)


def policy_controller(policy: SpikingPolicy) -> Controller:
    """A spiking policy as a controller of one arm."""
    return lambda state, target: policy.act(features(state, target)).values.astype(np.float64)


class PID:
    """A PID controller of each joint's angle, the rival of an adaptive model; `reset` before each movement.

    Args:
        gains: proportional (1/rad), integral (1/(rad s)) and derivative (s/rad), in fractions of full torque.
        dt: seconds a step.
        limit: of what the integral may ask for, fraction of full torque.
    """

    def __init__(self, gains: tuple[float, float, float], dt: float = 0.02, limit: float = 0.5) -> None:
        self.gains, self.dt, self.limit = gains, dt, limit
        self.reset()

    def reset(self) -> None:
        """Forget the integral."""
        self._integral = np.zeros(JOINTS)

    def __call__(self, state: JointState, target: FloatArray) -> FloatArray:
        proportional, integral, derivative = self.gains
        error = joint_error(state, target)
        drive = proportional * error - derivative * state.velocities
        # only while the motors are not saturated, or the integral would wind up on the way
        if np.abs(drive + self._integral).max() < 1.0:
            self._integral = np.clip(self._integral + integral * error * self.dt, -self.limit, self.limit)
        return np.clip(drive + self._integral, -1.0, 1.0)


def random_targets(rng: np.random.Generator, count: int) -> FloatArray:
    """`count` points [count, 2], uniform over the reachable ring."""
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


class Corrector(Protocol):
    """A forward model in the loop: it feels each feedback, and corrects each command."""

    def rest(self, state: JointState) -> MotorCorrection:
        """Take in the feedback of an arm that rests; returns the correction for a first command."""

    def feel(self, state: JointState) -> None:
        """Take in the newest feedback, and learn from what it shows."""

    def correct(self, tick: int, command: FloatArray) -> MotorCorrection:
        """The correction for the next command, given the one that answered the feedback of `tick`."""


@dataclass
class Trace:
    """One movement, step by step; lists are of equal length except that `states` also holds the start."""

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
        """Seconds after which the fingertip stays `within` metres of the target; infinity if it does not."""
        outside = np.flatnonzero(self.distances > within)
        if outside.size == 0:
            return 0.0
        return float("inf") if outside[-1] == len(self.states) - 1 else float(outside[-1] + 1) * dt


def reach(
    plant: Plant,
    controller: Controller,
    target: FloatArray,
    steps: int = 100,
    corrector: Corrector | None = None,
    late: Iterator[bool] | None = None,
) -> Trace:
    """Drive the arm from where it is towards `target` for `steps` steps.

    The controller knows what the sensors show, the trace what is. The correction of one step is used in
    the next, as it arrives over topics; for the first there is the one that it made while the arm was at rest. `late`
    says step by step whether the command misses its step, in which case the arm applies the one before.
    """
    trace = Trace(target, [plant.state()])
    correction, applied = MotorCorrection.none(JOINTS), np.zeros(JOINTS)
    if corrector is not None:
        correction = corrector.rest(plant.sensed())
    for _ in range(steps):
        sensed = plant.sensed()
        wanted = controller(foreseen(sensed, correction), target)
        command = np.clip(wanted + correction.torque(wanted), -1.0, 1.0)
        if corrector is not None:
            corrector.feel(sensed)
            correction = corrector.correct(sensed.tick, command)
        if late is None or not next(late):
            applied = command
        trace.commands.append(applied)
        trace.states.append(plant.step(applied))
    if corrector is not None:
        corrector.feel(plant.sensed())
    return trace


CHANGES: dict[str, dict[str, Any]] = {
    "nominal": {},
    "mass_x2": {"inertia_scale": 2.0},
    "curl_field": {"curl": 300.0},
    "constant_force": {"force": [150.0, -132.0]},
    "delay_40ms": {"sensor_delay": 2},
    "link_mass_x2": {"link_mass_scale": 2.0},
    "mass_x4": {"inertia_scale": 4.0},
    "half_torque": {"gear_scale": 0.5},
    "damping_x8": {"damping_scale": 8.0},
}
"""Arms that no shipped policy was trained on."""


def changed(name: str) -> Dynamics:
    """The dynamics called `name` in `CHANGES`."""
    return Dynamics(**CHANGES[name])

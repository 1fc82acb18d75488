"""Reaching in closed loop without a bus.

The simulated arm, a controller, and a forward model that corrects the controller are connected here as the topics
connect them. Training, evaluation and tests use this one loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from brainnet.effectors.correction import MotorCorrection
from brainnet.effectors.joint_state import JointState, command_code
from brainnet.effectors.planar_arm import (
    INNER_RADIUS,
    JOINTS,
    OUTER_RADIUS,
    features,
    inverse_kinematics,
    predicted_state,
    tip_distance,
)
from brainnet.effectors.simulation import Dynamics, Plant
from brainnet.snn.models.policy import SpikingPolicy

FloatArray = NDArray[np.float64]
Controller = Callable[[JointState, FloatArray], FloatArray]
"""From a state and a target to a command in [-1, 1] (for arrays of states, to commands)."""

FULL_TORQUE = 200.0
"""Approximate acceleration of a joint under full torque, rad/s^2."""


def joint_error(state: JointState, target: FloatArray) -> FloatArray:
    """Compute the angles by which the joints still have to turn, rad [..., 2].

    The shoulder turns the shorter way. A moving shoulder keeps its direction a little past the half turn, so that the
    sign of the error does not alternate there.
    """
    error = inverse_kinematics(target) - state.angles
    # Moves the point at which the error wraps by up to 0.5 rad in the direction of motion (hysteresis).
    hysteresis = np.clip(0.3 * state.velocities[..., 0], -0.5, 0.5)
    error[..., 0] = (error[..., 0] - hysteresis + np.pi) % (2 * np.pi) - np.pi + hysteresis
    return error


def expert_command(state: JointState, target: FloatArray) -> FloatArray:
    """Compute the demonstrator's command in [-1, 1].

    The joint error gives a desired joint velocity (7 per second, at most 9 rad/s); the velocity error, which is to
    decay at 13 per second, gives the torque. Of the gains tried on Reacher-v5's own starts and targets, these come
    within 0.1 % of the best return.
    """
    desired = 9.0 * np.tanh(7.0 * joint_error(state, target) / 9.0)
    return np.clip(13.0 * (desired - state.velocities) / FULL_TORQUE, -1.0, 1.0)


def policy_controller(policy: SpikingPolicy) -> Controller:
    """Wrap a spiking policy as a controller of one arm."""
    return lambda state, target: policy.act(features(state, target)).values.astype(np.float64)


class PID:
    """A PID controller of each joint's angle: the baseline for an adaptive model. Call `reset` before each movement.

    Args:
        gains: Proportional (1/rad), integral (1/(rad s)) and derivative (s/rad), in fractions of full torque.
        dt: Seconds per step.
        limit: Largest magnitude of the integral term, fraction of full torque.
    """

    def __init__(self, gains: tuple[float, float, float], dt: float = 0.02, limit: float = 0.5) -> None:
        self.gains, self.dt, self.limit = gains, dt, limit
        self._integral = np.zeros(JOINTS)

    def reset(self) -> None:
        """Set the integral term to zero."""
        self._integral = np.zeros(JOINTS)

    def __call__(self, state: JointState, target: FloatArray) -> FloatArray:
        """Compute the command in [-1, 1] for a state and a target, and update the integral term."""
        proportional, integral, derivative = self.gains
        error = joint_error(state, target)
        drive = proportional * error - derivative * state.velocities
        # Anti-windup: integrate only while the motors are not saturated.
        if np.abs(drive + self._integral).max() < 1.0:
            self._integral = np.clip(self._integral + integral * error * self.dt, -self.limit, self.limit)
        return np.clip(drive + self._integral, -1.0, 1.0)


def random_targets(rng: np.random.Generator, count: int) -> FloatArray:
    """Draw `count` points [count, 2], uniform over the reachable ring."""
    # Uniform in area, hence in the square of the radius.
    radius = np.sqrt(rng.uniform(INNER_RADIUS**2, OUTER_RADIUS**2, count))
    angle = rng.uniform(-np.pi, np.pi, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def grid_targets() -> FloatArray:
    """Return the 112 reachable points of a square grid over the disc of 20 cm; (0.10, 0.10) is one of them."""
    axis = np.linspace(-0.2, 0.2, 13)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    radius = np.hypot(*points.T)
    return points[(radius >= INNER_RADIUS) & (radius <= 0.2 + 1e-9)]


def random_posture(rng: np.random.Generator, plant: Plant) -> None:
    """Put the arm at rest at random joint angles within its limits."""
    plant.set_state(np.array([rng.uniform(-np.pi, np.pi), rng.uniform(-2.9, 2.9)]), np.zeros(2))


class Corrector(Protocol):
    """A forward model in the loop: it observes each feedback and corrects each command."""

    def begin(self, state: JointState) -> MotorCorrection:
        """Observe an arm at rest, and return the correction for the first command."""

    def observe(self, state: JointState) -> None:
        """Observe the newest feedback, and learn from it."""

    def correct(self, tick: int, command: FloatArray) -> MotorCorrection:
        """Return the correction for the next command, given the `command` that answered the feedback of `tick`."""


@dataclass
class Trajectory:
    """One movement, step by step.

    Attributes:
        target: The target, metres [2].
        states: The state at the start and after each step, so one more than there are commands.
        commands: The command applied in each step.
    """

    target: FloatArray
    states: list[JointState] = field(default_factory=list)
    commands: list[FloatArray] = field(default_factory=list)

    @property
    def distances(self) -> FloatArray:
        """Metres to the target at the start and after each step, [steps + 1]."""
        return np.array([tip_distance(state, self.target) for state in self.states])

    @property
    def tips(self) -> FloatArray:
        """Fingertip at the start and after each step, [steps + 1, 2]."""
        return np.array([state.tip for state in self.states])

    @property
    def final_speed(self) -> float:
        """Largest joint velocity over the last five steps, rad/s."""
        return float(max(np.abs(state.velocities).max() for state in self.states[-5:]))

    def settling_time(self, dt: float, within: float = 0.01) -> float:
        """Compute the seconds after which the fingertip stays `within` metres of the target.

        Returns:
            Seconds from the start; infinity when the movement ends outside.
        """
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
    late_commands: Iterator[bool] | None = None,
) -> Trajectory:
    """Drive the arm from its present state towards `target`.

    The controller gets the sensed state, which may be late; the trajectory holds the true states. The correction of
    one step is used in the next step, because over topics it arrives by then; the first step uses the correction that
    was made while the arm was at rest. Commands and corrections have the precision of the spikes that carry them.

    Args:
        plant: The simulated arm.
        controller: From the sensed state and the target to a command.
        target: Point to reach, metres [2].
        steps: Number of physics steps.
        corrector: Forward model that corrects the commands.
        late_commands: For each step, whether the command arrives too late; the arm then applies the one before.

    Returns:
        The movement.
    """
    trajectory = Trajectory(target, [plant.state()])
    correction, applied = MotorCorrection.zero(JOINTS), np.zeros(JOINTS)
    if corrector is not None:
        correction = corrector.begin(plant.sensed()).rounded()
    for _ in range(steps):
        sensed = plant.sensed()
        desired = controller(predicted_state(sensed, correction), target)
        command = command_code(JOINTS).rounded(desired + correction.torque(desired))
        if corrector is not None:
            corrector.observe(sensed)
            correction = corrector.correct(sensed.tick, command).rounded()
        if late_commands is None or not next(late_commands):
            applied = command
        trajectory.commands.append(applied)
        trajectory.states.append(plant.step(applied))
    if corrector is not None:
        corrector.observe(plant.sensed())
    return trajectory


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
"""Changes of the arm that no shipped policy was trained on, as values of `Dynamics`."""


def changed_dynamics(name: str) -> Dynamics:
    """Return the dynamics called `name` in `CHANGES`."""
    return Dynamics(**CHANGES[name])

"""The simulated arm: the two-link planar arm of Gymnasium's Reacher-v5 on MuJoCo, without its task.

Full torque accelerates a joint by about 200 rad/s^2.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.effectors.joint_state import JointState
from brainnet.effectors.planar_arm import JOINTS
from brainnet.node.params import NodeParameters

MAX_DELAY = 5
"""Largest delay of the sensors, in steps."""


class Dynamics(NodeParameters):
    """Dynamics of the arm, which can be changed while it runs; the defaults are the arm as Gymnasium defines it."""

    inertia_scale: float = Field(1.0, gt=0.0, le=20.0, description="factor on the inertia of joints and links")
    link_mass_scale: float = Field(1.0, gt=0.0, le=20.0, description="factor on the mass of the links alone")
    gear_scale: float = Field(1.0, gt=0.0, le=4.0, description="factor on the torque of the motors")
    damping_scale: float = Field(1.0, ge=0.0, le=20.0, description="factor on the joints' viscous damping")
    force: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        [0.0, 0.0], description="constant force on the fingertip, x and y, newtons"
    )
    curl: float = Field(0.0, description="force across the fingertip's velocity (a curl field), newtons per m/s")
    sensor_delay: int = Field(0, ge=0, le=MAX_DELAY, description="steps of 20 ms by which the feedback is late")


class Plant:
    """Reacher-v5's physics without its task.

    Args:
        seed: Seed of the first posture.

    Attributes:
        dt: Seconds of arm time per step.
        tick: Number of steps so far.
        applied: Command of the newest step, fractions of full torque.
    """

    def __init__(self, seed: int = 0) -> None:
        import gymnasium

        # Unwrapped: the outer wrappers enforce the time limit and the call order of episodes; there are none here.
        self._env: Any = gymnasium.make("Reacher-v5").unwrapped
        self._env.reset(seed=seed)
        self._model, self._data = self._env.model, self._env.data
        self._nominal = {
            name: getattr(self._model, name).copy()
            for name in ("dof_armature", "body_mass", "body_inertia", "actuator_gear", "dof_damping")
        }
        self._tip: int = self._model.body("fingertip").id
        self._dynamics = Dynamics()
        self.dt: float = self._env.dt
        self.tick = 0
        self.applied: NDArray[np.float64] = np.zeros(JOINTS)
        self._past: deque[JointState] = deque([self.state()], maxlen=MAX_DELAY + 1)

    def set_dynamics(self, dynamics: Dynamics) -> None:
        """Apply `dynamics` from the next step on."""
        self._dynamics = dynamics
        for name, factor in (
            ("dof_armature", dynamics.inertia_scale),
            ("body_mass", dynamics.inertia_scale * dynamics.link_mass_scale),
            ("body_inertia", dynamics.inertia_scale * dynamics.link_mass_scale),
            ("actuator_gear", dynamics.gear_scale),
            ("dof_damping", dynamics.damping_scale),
        ):
            getattr(self._model, name)[:] = self._nominal[name] * factor

    def set_state(self, angles: NDArray[Any], velocities: NDArray[Any]) -> None:
        """Set the joint `angles` (rad) and `velocities` (rad/s); delayed sensors show the new state at once.

        The tick jumps by more than any sensor delay, so that no observer mistakes the jump for a movement.
        """
        position, velocity = self._data.qpos.copy(), self._data.qvel.copy()
        position[:JOINTS], velocity[:JOINTS] = angles, velocities
        self._env.set_state(position, velocity)
        self.applied = np.zeros(JOINTS)
        self.tick += MAX_DELAY + 1
        self._past.clear()
        self._past.append(self.state())

    def step(self, command: NDArray[np.float64]) -> JointState:
        """Advance by `dt` under `command` [2], fractions of full torque."""
        self.applied = np.clip(command, -1.0, 1.0)
        fx, fy = self._dynamics.force
        # The curl force is perpendicular to the fingertip's velocity and proportional to its speed.
        if self._dynamics.curl:
            vx, vy = self._tip_velocity()
            fx, fy = fx + self._dynamics.curl * vy, fy - self._dynamics.curl * vx
        self._data.xfrc_applied[self._tip, :2] = fx, fy
        self._env.do_simulation(self.applied, self._env.frame_skip)
        self.tick += 1
        state = self.state()
        self._past.append(state)
        return state

    def sensed(self) -> JointState:
        """Return the sensor reading: the state of `sensor_delay` steps ago, with the present tick."""
        late = min(self._dynamics.sensor_delay, len(self._past) - 1)
        return replace(self._past[-1 - late], tick=self.tick)

    def state(self) -> JointState:
        """Return the present state; the shoulder angle, which is unlimited, is wrapped to [-pi, pi)."""
        angles = self._data.qpos[:JOINTS].copy()
        angles[0] = (angles[0] + np.pi) % (2.0 * np.pi) - np.pi
        return JointState(
            angles=angles,
            velocities=self._data.qvel[:JOINTS].copy(),
            tip=self._data.xpos[self._tip, :2].copy(),
            applied=self.applied,
            tick=self.tick,
        )

    def _tip_velocity(self) -> NDArray[np.float64]:
        """Compute the fingertip's velocity [2] from the joint velocities.

        Each joint moves the tip perpendicular to the vector from that joint to the tip.
        """
        tip, elbow = self._data.xpos[self._tip, :2], self._data.body("body1").xpos[:2]
        shoulder_rate, elbow_rate = self._data.qvel[:JOINTS]
        lever = tip * shoulder_rate + (tip - elbow) * elbow_rate
        return np.array([-lever[1], lever[0]])

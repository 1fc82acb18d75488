"""The simulated arm: the two-link planar arm of Gymnasium's Reacher-v5 on MuJoCo, as a body of its own on the bus.

Physics runs in real time, 50 steps a second: each step applies the newest command of `motor/command/{effector}` and
publishes the state on `motor/feedback/{effector}` (rows: see `brainnet.joint_state`). Links are 0.10 m and 0.11 m, the
shoulder is at the origin, full torque accelerates a joint by about 200 rad/s^2.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet import Node, NodeParameters, SpikePacket, main
from brainnet.errors import PacketError
from brainnet.joint_state import JointState, read_command

JOINTS = 2
BRAKE = 0.1
"""Torque fraction per rad/s that brakes the joints when nobody commands them."""
AT_REST = 1e-3
"""rad/s below which an arm that nobody commands counts as resting."""
MAX_DELAY = 5
"""Most steps by which the sensors can be late."""


class Dynamics(NodeParameters):
    """What can be changed about the arm while it runs; the defaults are the arm as Gymnasium defines it."""

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
    """Reacher-v5's physics without its task: set it, step it, read it. One step is `dt` seconds of arm time."""

    def __init__(self, seed: int = 0) -> None:
        import gymnasium

        # the time limit and the order check of the outer wrappers belong to episodes, which a body does not have
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

    def change(self, dynamics: Dynamics) -> None:
        """Let the arm follow ``dynamics`` from the next step on."""
        self._dynamics = dynamics
        for name, factor in (
            ("dof_armature", dynamics.inertia_scale),
            ("body_mass", dynamics.inertia_scale * dynamics.link_mass_scale),
            ("body_inertia", dynamics.inertia_scale * dynamics.link_mass_scale),
            ("actuator_gear", dynamics.gear_scale),
            ("dof_damping", dynamics.damping_scale),
        ):
            getattr(self._model, name)[:] = self._nominal[name] * factor

    def place(self, angles: NDArray[Any], velocities: NDArray[Any]) -> None:
        """Put the joints at ``angles`` (rad) moving at ``velocities`` (rad/s), as if it had been so for long.

        Ticks are left out, so that nobody takes the jump for a movement.
        """
        position, velocity = self._data.qpos.copy(), self._data.qvel.copy()
        position[:JOINTS], velocity[:JOINTS] = angles, velocities
        self._env.set_state(position, velocity)
        self.applied = np.zeros(JOINTS)
        self.tick += MAX_DELAY + 1
        self._past.clear()
        self._past.append(self.state())

    def step(self, command: NDArray[np.float64]) -> JointState:
        """Advance by `dt` under ``command`` [2], fractions of full torque."""
        self.applied = np.clip(command, -1.0, 1.0)
        fx, fy = self._dynamics.force
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
        """What the sensors show now: the state of ``sensor_delay`` steps ago, under the tick of now."""
        late = min(self._dynamics.sensor_delay, len(self._past) - 1)
        return replace(self._past[-1 - late], tick=self.tick)

    def state(self) -> JointState:
        """The state now. The first angle, which may turn without end, is given within [-pi, pi)."""
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
        """Fingertip velocity from the joints' (planar arm: each joint moves the tip across its lever)."""
        tip, elbow = self._data.xpos[self._tip, :2], self._data.body("body1").xpos[:2]
        shoulder_rate, elbow_rate = self._data.qvel[:JOINTS]
        lever = tip * shoulder_rate + (tip - elbow) * elbow_rate
        return np.array([-lever[1], lever[0]])


class ArmBody(Node):
    """Simulates a two-joint arm in real time: obeys motor commands, reports joint angles, velocities and fingertip."""

    role = "body"

    class Parameters(Dynamics):
        effector: str = Field("arm", pattern=r"^[A-Za-z0-9_-]+$", description="name of the effector on the topics")
        speed: float = Field(1.0, gt=0.0, le=20.0, description="arm time per wall-clock time")
        watchdog_s: float = Field(0.2, gt=0.0, description="how long a command holds; then the joints are braked")
        idle_after_s: float = Field(1.0, gt=0.0, description="without commands for this long a resting arm idles")
        idle_hz: float = Field(5.0, gt=0.0, le=50.0, description="feedback rate of an idle arm")
        seed: int = Field(0, ge=0, description="seed of the arm's first posture")

    params: Parameters

    def load(self) -> None:
        self.plant = Plant(self.params.seed)
        self._applied_dynamics: tuple[Any, ...] = ()

    async def setup(self) -> None:
        self._command: NDArray[np.float64] = np.zeros(JOINTS)
        self._commanded_at = float("-inf")
        self._wake = asyncio.Event()
        self._feedback_key = f"motor/feedback/{self.params.effector}"
        self.bus.declare(self._feedback_key)
        await self.add_subscription(f"motor/command/{self.params.effector}", self.on_command)

    async def on_command(self, packet: SpikePacket) -> None:
        try:
            self._command = read_command(packet, JOINTS)
        except PacketError as error:
            self.count("bad_commands")
            self.log.warning("command refused", reason=str(error))
            return
        self._commanded_at = time.monotonic()
        self._wake.set()

    async def run(self) -> None:
        due = time.monotonic()
        while True:
            idle = self._idle()
            if not idle:
                self._step()
            self._publish(self.plant.sensed(), idle=idle)
            period = 1.0 / self.params.idle_hz if idle else self.plant.dt / self.params.speed
            # steps are due on a fixed grid, so that waking up late never adds up to drift
            due += period
            now = time.monotonic()
            if due < now - 0.2:
                self.count("late_steps", int((now - due) / period))
                due = now
            if idle:
                due = await self._rest(due)
            else:
                await asyncio.sleep(due - now)

    async def _rest(self, until: float) -> float:
        """Wait until ``until`` or the next command, whichever comes first; returns when the next step is due."""
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), until - time.monotonic())
        except TimeoutError:
            return until
        return time.monotonic()

    def _idle(self) -> bool:
        """Whether nobody commands the arm and nothing moves it."""
        quiet = time.monotonic() - self._commanded_at > self.params.idle_after_s
        pushed = any(self.params.force)
        return quiet and not pushed and float(np.abs(self.plant.state().velocities).max()) < AT_REST

    def _step(self) -> None:
        dynamics = tuple(getattr(self.params, name) for name in Dynamics.model_fields)
        if dynamics != self._applied_dynamics:
            self._applied_dynamics = dynamics
            self.plant.change(self.params)
        if time.monotonic() - self._commanded_at <= self.params.watchdog_s:
            self.plant.step(self._command)
        else:
            self.plant.step(-BRAKE * self.plant.state().velocities)

    def _publish(self, state: JointState, *, idle: bool) -> None:
        metadata = {"tick": state.tick, "idle": idle}
        packet = self.packet(state.to_data(), modality="motor", dt_us=int(self.plant.dt * 1e6), metadata=metadata)
        self.publish(self._feedback_key, packet)


if __name__ == "__main__":
    main(ArmBody)

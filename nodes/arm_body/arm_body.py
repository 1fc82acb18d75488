"""The simulated arm: the two-link planar arm of Gymnasium's Reacher-v5 on MuJoCo, as a node on the bus.

Physics runs in real time, 50 steps per second. Each step applies the newest command and publishes the state
(layout: `brainnet.effectors.joint_state`). The links are 0.10 m and 0.11 m long, the shoulder is at the origin, and
full torque accelerates a joint by about 200 rad/s^2.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet import Node, SpikePacket, main
from brainnet.bus import Bus
from brainnet.effectors.joint_state import JointState, read_command
from brainnet.effectors.planar_arm import JOINTS
from brainnet.effectors.simulation import Dynamics, Plant
from brainnet.errors import PacketError
from brainnet.node import NodeSpec
from brainnet.wire.keys import key
from brainnet.wire.messages import FeedbackHeader

BRAKE = 0.1
"""Braking torque per joint velocity while no command holds, fraction of full torque per rad/s."""
AT_REST = 1e-3
"""Joint velocity below which an arm without commands counts as resting, rad/s."""
MAX_LATE_S = 0.2
"""Delay of the physics beyond which the missed steps are dropped instead of made up for, seconds."""


class ArmBody(Node):
    """A two-joint arm simulated in real time: follows motor commands, reports angles, velocities and fingertip."""

    role = "body"

    class Parameters(Dynamics):
        """Dynamics of the arm, and how the node runs; all can be changed while it runs except effector and seed."""

        effector: str = Field("arm", pattern=r"^[A-Za-z0-9_-]+$", description="name of the effector on the topics")
        speed: float = Field(1.0, gt=0.0, le=20.0, description="arm time per wall-clock time")
        watchdog_s: float = Field(0.2, gt=0.0, description="how long a command holds; then the joints are braked")
        idle_after_s: float = Field(1.0, gt=0.0, description="without commands for this long a resting arm idles")
        idle_hz: float = Field(5.0, gt=0.0, le=50.0, description="feedback rate of an idle arm")
        seed: int = Field(0, ge=0, description="seed of the arm's first posture")

    params: Parameters
    plant: Plant

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._applied_dynamics: tuple[Any, ...] = ()
        self._command: NDArray[np.float64] = np.zeros(JOINTS)
        self._commanded_at = float("-inf")
        self._wake = asyncio.Event()
        self._feedback_key = key("motor_feedback", effector=self.params.effector)

    def load(self) -> None:
        self.plant = Plant(self.params.seed)

    async def setup(self) -> None:
        self.bus.declare(self._feedback_key)
        await self.add_subscription(key("motor_command", effector=self.params.effector), self.on_command)

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
            # Steps are due on a fixed time grid, so that late wake-ups do not accumulate to a drift.
            due += period
            now = time.monotonic()
            if due < now - MAX_LATE_S:
                self.count("late_steps", int((now - due) / period))
                due = now
            if idle:
                due = await self._rest(due)
            else:
                await asyncio.sleep(due - now)

    async def _rest(self, until: float) -> float:
        """Wait until `until` or until the next command, whichever comes first.

        Returns:
            When the next step is due, on the clock of `time.monotonic`.
        """
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), until - time.monotonic())
        except TimeoutError:
            return until
        return time.monotonic()

    def _idle(self) -> bool:
        """Return whether there is no command and nothing moves the arm."""
        quiet = time.monotonic() - self._commanded_at > self.params.idle_after_s
        pushed = any(self.params.force)
        return quiet and not pushed and float(np.abs(self.plant.state().velocities).max()) < AT_REST

    def _step(self) -> None:
        # Parameters may change at any time, so compare before each step; write to the physics only what has changed.
        dynamics = tuple(getattr(self.params, name) for name in Dynamics.model_fields)
        if dynamics != self._applied_dynamics:
            self._applied_dynamics = dynamics
            self.plant.set_dynamics(self.params)
        if time.monotonic() - self._commanded_at <= self.params.watchdog_s:
            self.plant.step(self._command)
        else:
            self.plant.step(-BRAKE * self.plant.state().velocities)

    def _publish(self, state: JointState, *, idle: bool) -> None:
        header = FeedbackHeader(tick=state.tick, idle=idle)
        packet = self.packet(state.to_data(), modality="motor", dt_us=int(self.plant.dt * 1e6), header=header)
        self.publish(self._feedback_key, packet)


if __name__ == "__main__":
    main(ArmBody)

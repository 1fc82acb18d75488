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
from pydantic import Field

from brainnet import Body, main
from brainnet.bus import Bus
from brainnet.effectors.planar_arm import COMMANDS, FEEDBACK
from brainnet.effectors.simulation import Dynamics, Plant
from brainnet.node import NodeSpec

BRAKE = 0.1
"""Braking torque per joint velocity while no command holds, fraction of full torque per rad/s."""
AT_REST = 1e-3
"""Joint velocity below which an arm without commands counts as resting, rad/s."""
MAX_LATE_S = 0.2
"""Delay of the physics beyond which the missed steps are dropped instead of made up for, seconds."""


class ArmBody(Body):
    """A two-joint arm simulated in real time: follows motor commands, reports angles, velocities and fingertip."""

    commands = COMMANDS
    feedback = FEEDBACK

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

    @property
    def rate_hz(self) -> float:  # type: ignore[override]
        return self.params.speed / self.plant.dt

    def load(self) -> None:
        self.plant = Plant(self.params.seed)

    async def run(self) -> None:
        due = time.monotonic()
        while True:
            idle = self._idle()
            if not idle:
                self._step()
            state = self.plant.sensed()
            self.publish_feedback(state.to_data(), idle=idle, tick=state.tick)
            period = 1.0 / (self.params.idle_hz if idle else self.rate_hz)
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
        return time.monotonic() if await self.wait_command(until - time.monotonic()) else until

    def _idle(self) -> bool:
        """Return whether there is no command and nothing moves the arm."""
        quiet = time.monotonic() - self.commanded_at > self.params.idle_after_s
        pushed = any(self.params.force)
        return quiet and not pushed and float(np.abs(self.plant.state().velocities).max()) < AT_REST

    def _step(self) -> None:
        # Parameters may change at any time, so compare before each step; write to the physics only what has changed.
        dynamics = tuple(getattr(self.params, name) for name in Dynamics.model_fields)
        if dynamics != self._applied_dynamics:
            self._applied_dynamics = dynamics
            self.plant.set_dynamics(self.params)
        command = self.command()
        self.plant.step(command if command is not None else -BRAKE * self.plant.state().velocities)


if __name__ == "__main__":
    main(ArmBody)

"""An inverted pendulum, simulated in real time: a rod with a weight at its end, on a motor.

The weight is 1 kg at 1 m, and angle 0 is upright. The angle accelerates by 9.81 sin(angle) - 0.1 speed + torque, in
rad/s^2. Pushes, which change the speed, come at random, the same ones for the same seed.
"""

import math

import numpy as np
from pydantic import Field

from brainnet import Body, Channel, main

GRAVITY = 9.81
FRICTION = 0.1
MAX_TORQUE = 15.0
BRAKE = 5.0
"""Torque of the brake, N m per rad/s; the pendulum sinks slowly."""
SUBSTEPS = 10
"""Steps of the simulation in each step of the body."""


class Pendulum(Body):
    """An inverted pendulum on a motor: follows a torque, reports angle and speed."""

    commands = (Channel(name="torque", unit="N m", low=-MAX_TORQUE, high=MAX_TORQUE),)
    feedback = (Channel(name="angle", unit="rad", low=-math.pi, high=math.pi), Channel(name="speed", unit="rad/s"))
    rate_hz = 100.0

    class Parameters(Body.Parameters):
        """The effector, and what disturbs it."""

        effector: str = Field("pendulum", pattern=r"^[A-Za-z0-9_-]+$", description="name of the effector")
        start_rad: float = Field(0.1, ge=-math.pi, le=math.pi, description="angle at the start")
        push: float = Field(1.0, ge=0.0, le=10.0, description="change of speed by a push, rad/s")
        pushes_per_s: float = Field(0.5, ge=0.0, le=10.0, description="pushes on average")
        seed: int = Field(0, ge=0, description="of the pushes")

    def load(self):
        self.angle, self.speed = self.params.start_rad, 0.0
        self.random = np.random.default_rng(self.params.seed)

    def step(self, command):
        (torque,) = command
        if self.random.random() < self.params.pushes_per_s / self.rate_hz:
            self.speed += self.params.push * self.random.choice((-1.0, 1.0))
        dt = 1.0 / (self.rate_hz * SUBSTEPS)
        for _ in range(SUBSTEPS):  # semi-implicit Euler
            self.speed += dt * (GRAVITY * math.sin(self.angle) + torque - FRICTION * self.speed)
            self.angle += dt * self.speed
        self.angle = math.remainder(self.angle, 2.0 * math.pi)
        if abs(self.angle) > 0.5 * math.pi:
            self.count("steps_fallen")
        return np.array([self.angle, self.speed])

    def brake(self):
        return self.step(np.clip([-BRAKE * self.speed], -MAX_TORQUE, MAX_TORQUE))


if __name__ == "__main__":
    main(Pendulum)

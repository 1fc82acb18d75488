"""A spiking controller that keeps a pendulum upright.

A population of leaky integrate-and-fire neurons represents angle and speed. Each neuron has a direction in this plane
in which it fires most (population code); the torque is read out by weights that least squares fits to the neurons'
rates (Eliasmith and Anderson 2003, *Neural Engineering*, chapters 2 and 4). Nothing but spikes goes into the torque.
"""

import numpy as np
from pydantic import Field

from brainnet import Node, NodeParameters, SpikePacket, every, main
from brainnet.wire.keys import key
from brainnet.wire.messages import CommandHeader, FeedbackHeader

RATE_HZ = 100.0
STEPS = 10
"""Steps of the neurons, of 1 ms, for each command."""
DT = 1.0 / (RATE_HZ * STEPS)
MEMBRANE_S, REFRACTORY_S, SYNAPSE_S = 0.02, 0.002, 0.01
RANGE = np.array([0.8, 6.0])
"""Angle (rad) and speed (rad/s) up to which the population represents them."""
GAINS = np.array([30.0, 8.0])
"""Torque for each rad and rad/s, N m."""


class Balance(Node):
    """Keeps a pendulum upright with spiking neurons."""

    class Parameters(NodeParameters):
        """What it controls, and with how many neurons."""

        effector: str = Field("pendulum", pattern=r"^[A-Za-z0-9_-]+$", description="what it controls")
        neurons: int = Field(1000, ge=10, le=100_000, description="size of the population")
        seed: int = Field(0, ge=0, description="of the neurons' directions and rates")

    def load(self):
        count, random = self.params.neurons, np.random.default_rng(self.params.seed)
        angle = random.uniform(0.0, 2.0 * np.pi, count)
        self.directions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        # A neuron begins to fire at its threshold on its direction, and fires at its highest rate at 1.
        threshold, highest = random.uniform(-0.9, 0.9, count), random.uniform(100.0, 200.0, count)
        at_highest = 1.0 / (1.0 - np.exp((REFRACTORY_S - 1.0 / highest) / MEMBRANE_S))
        self.gain = (at_highest - 1.0) / (1.0 - threshold)
        self.bias = 1.0 - self.gain * threshold
        # Points on which the readout is fitted, evenly over the disc.
        radius, turn = np.sqrt(random.uniform(0.0, 1.0, 2000)), random.uniform(0.0, 2.0 * np.pi, 2000)
        points = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
        rates = self.rates(points)
        wanted = -(points * RANGE) @ GAINS
        noise = (0.1 * rates.max()) ** 2 * len(points)
        self.readout = np.linalg.solve(rates.T @ rates + noise * np.eye(count), rates.T @ wanted)
        self.voltage, self.rest = np.zeros(count), np.zeros(count)
        self.torque, self.sensed, self.answered = 0.0, None, 0

    def current(self, points):
        """Return the input of the neurons, [..., neurons], for points in the unit disc, [..., 2]."""
        return self.gain * (points @ self.directions.T) + self.bias

    def rates(self, points):
        """Return the rates at which the neurons fire at these points, Hz."""
        current = np.maximum(self.current(points), 1.0 + 1e-9)
        return 1.0 / (REFRACTORY_S - MEMBRANE_S * np.log1p(-1.0 / current)) * (self.current(points) > 1.0)

    def fire(self, point):
        """Run the neurons for one command, and return their spikes, [neurons, STEPS]."""
        current = self.current(point)
        spikes = np.zeros((len(current), STEPS), np.uint8)
        for step in range(STEPS):
            self.rest = np.maximum(self.rest - DT, 0.0)
            awake = np.clip(DT - self.rest, 0.0, DT)  # a neuron wakes up within a step
            self.voltage += (current - self.voltage) * -np.expm1(-awake / MEMBRANE_S)
            fired = self.voltage > 1.0
            spikes[fired, step] = 1
            # The spike came within the step, from where the refractory period counts.
            since = MEMBRANE_S * np.log1p((self.voltage[fired] - 1.0) / np.maximum(current[fired] - 1.0, 1e-9))
            self.rest[fired] = REFRACTORY_S + DT - since
            self.voltage[fired] = 0.0
            np.maximum(self.voltage, 0.0, out=self.voltage)
        return spikes

    def read(self, spikes):
        """Return the torque after these spikes: each adds its weight to a synapse that decays."""
        for column in self.readout @ spikes:
            self.torque += (column / DT - self.torque) * -np.expm1(-DT / SYNAPSE_S)
        return self.torque

    async def setup(self):
        self.command_key = key("motor_command", effector=self.params.effector)
        self.spikes_key = key("spikes", source=self.id, target=self.params.effector)
        self.bus.declare(self.command_key)
        self.bus.declare(self.spikes_key)
        await self.add_subscription(key("motor_feedback", effector=self.params.effector), self.on_feedback)

    async def on_feedback(self, packet: SpikePacket):
        self.sensed, self.answered = packet.data[:, 0].astype(float), FeedbackHeader.of(packet).tick

    @every(hz=RATE_HZ)
    async def balance(self):
        if self.sensed is None:
            return
        point = self.sensed / RANGE
        spikes = self.fire(point / max(1.0, np.linalg.norm(point)))
        torque = self.read(spikes)
        self.publish(self.spikes_key, self.packet(spikes, dt_us=round(1e6 * DT)))
        command = np.array([[torque]], np.float32).clip(-15.0, 15.0)
        packet = self.packet(
            command, modality="motor", dt_us=round(1e6 / RATE_HZ), header=CommandHeader(tick=self.answered)
        )
        self.publish(self.command_key, packet)


if __name__ == "__main__":
    main(Balance)

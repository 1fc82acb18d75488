"""Static synapses: what arrives is added to the input of the steps in which it arrives."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled


class Ring:
    """Sums of weights by port, for the steps that are still to be computed.

    The sums are int64 and made of int32 weights, so they do not depend on the order of additions. They could overflow
    only after 2**32 spikes of the largest weight in one step.

    Args:
        ports: Number of ports.
        span: Steps that may be written ahead.
        size: Neurons.
    """

    def __init__(self, ports: int, span: int, size: int) -> None:
        self.length = 1 << max(1, span - 1).bit_length()
        self.sums = np.zeros((ports, self.length, size), np.int64)

    def take(self, port: int, first_step: int, steps: int) -> NDArray[np.int64]:
        """Return the sums [steps, neurons] of a port, and set them to zero for the steps that come one turn later.

        Raises:
            ValueError: There are more steps than the ring holds.
        """
        if steps > self.length:
            raise ValueError(f"a ring of {self.length} steps was asked for {steps}")
        low = first_step & (self.length - 1)
        sums = self.sums[port]
        if low + steps <= self.length:
            part = sums[low : low + steps]
            taken = part.copy()
            part.fill(0)
            return taken
        at = (first_step + np.arange(steps)) & (self.length - 1)
        taken = sums[at]
        sums[at] = 0
        return taken


class Deliverer(Protocol):
    """Static synapses of any kind."""

    def deliver(self, spikes: Spikes, sums: NDArray[np.int64]) -> None:
        """Add the weights of spikes to the sums [length, neurons] of a ring's port."""


class StaticSynapses:
    """Synapses whose weights and delays do not change.

    Args:
        rows: The synapses.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._kernel: Any = _KERNELS[rows.weights.size > 1, rows.delays.size > 1]

    def deliver(self, spikes: Spikes, sums: NDArray[np.int64]) -> None:
        """Add the weights of spikes to the sums [length, neurons] of a ring's port."""
        rows = self.rows
        if spikes.neurons.size and rows.targets.size:
            self._kernel(
                spikes.first_step,
                spikes.offsets,
                spikes.neurons,
                rows.start,
                rows.targets,
                rows.weights,
                rows.delays,
                sums,
            )


class ScaledSynapses:
    """Synapses whose weights do not change, and whose spikes are not all equally strong.

    Args:
        rows: The synapses.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def deliver(self, spikes: Spikes, efficacy: NDArray[np.float64], sums: NDArray[np.int64]) -> None:
        """Add the weights of spikes, each times its efficacy [spikes], to the sums [length, neurons] of a ring's port.

        A product is rounded to a fixed-point number, halves upwards.
        """
        rows = self.rows
        if spikes.count and rows.count:
            _deliver_scaled(
                spikes.first_step, spikes.offsets, spikes.neurons, efficacy, rows.start, rows.targets, rows.weights,
                rows.delays, sums,
            )  # fmt: skip


# Four kernels instead of one with branches in its innermost loop: an array element less to load is a tenth of the time.
# Indices are unsigned numbers: for others Numba asks of each whether it counts from the end of the array.


@compiled
def _deliver_uniform(first_step, offsets, neurons, start, targets, weights, delays, sums):  # type: ignore[no-untyped-def]
    weight = np.int64(weights[0])
    mask = sums.shape[0] - 1
    for s in range(offsets.size - 1):
        row = sums[(first_step + s + delays[0]) & mask]
        for x in range(offsets[s], offsets[s + 1]):
            i = neurons[x]
            for k in range(np.uint64(start[i]), np.uint64(start[i + 1])):
                row[np.uint32(targets[k])] += weight


@compiled
def _deliver_weights(first_step, offsets, neurons, start, targets, weights, delays, sums):  # type: ignore[no-untyped-def]
    mask = sums.shape[0] - 1
    for s in range(offsets.size - 1):
        row = sums[(first_step + s + delays[0]) & mask]
        for x in range(offsets[s], offsets[s + 1]):
            i = neurons[x]
            for k in range(np.uint64(start[i]), np.uint64(start[i + 1])):
                row[np.uint32(targets[k])] += np.int64(weights[k])


@compiled
def _deliver_delays(first_step, offsets, neurons, start, targets, weights, delays, sums):  # type: ignore[no-untyped-def]
    weight = np.int64(weights[0])
    mask = np.uint64(sums.shape[0] - 1)
    for s in range(offsets.size - 1):
        for x in range(offsets[s], offsets[s + 1]):
            i = neurons[x]
            for k in range(np.uint64(start[i]), np.uint64(start[i + 1])):
                sums[np.uint64(first_step + s + delays[k]) & mask, np.uint32(targets[k])] += weight


@compiled
def _deliver_both(first_step, offsets, neurons, start, targets, weights, delays, sums):  # type: ignore[no-untyped-def]
    mask = np.uint64(sums.shape[0] - 1)
    for s in range(offsets.size - 1):
        for x in range(offsets[s], offsets[s + 1]):
            i = neurons[x]
            for k in range(np.uint64(start[i]), np.uint64(start[i + 1])):
                sums[np.uint64(first_step + s + delays[k]) & mask, np.uint32(targets[k])] += np.int64(weights[k])


@compiled
def _deliver_scaled(  # type: ignore[no-untyped-def]
    first_step, offsets, neurons, efficacy, start, targets, weights, delays, sums
):
    mask = sums.shape[0] - 1
    # a step of 0 through an array of one element
    each_weight, each_delay = min(1, weights.size - 1), min(1, delays.size - 1)
    for s in range(offsets.size - 1):
        for x in range(offsets[s], offsets[s + 1]):
            i = neurons[x]
            for k in range(np.uint64(start[i]), np.uint64(start[i + 1])):
                at = (first_step + s + delays[k * each_delay]) & mask
                sums[at, targets[k]] += np.int64(np.floor(weights[k * each_weight] * efficacy[x] + 0.5))


_KERNELS = {
    (False, False): _deliver_uniform,
    (True, False): _deliver_weights,
    (False, True): _deliver_delays,
    (True, True): _deliver_both,
}

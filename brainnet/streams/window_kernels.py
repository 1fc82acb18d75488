"""Spikes as they are written in a packet, by neuron, in the order in which they are computed with, by step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.snn.kernels import compiled


def bits_of(window_offsets: NDArray[np.int32], fired: NDArray[np.int32], neurons: int) -> NDArray[np.uint8] | None:
    """Return spikes by step as bits [neurons, steps], the highest of a byte first; None when a neuron fires twice."""
    steps = window_offsets.size - 1
    body = np.zeros((neurons * steps + 7) >> 3, np.uint8)
    return body if _fill_bits(window_offsets, fired, steps, body) else None


def fired_of_bits(body: NDArray[np.uint8], neurons: int, steps: int, offsets: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the neurons that fired, by step and rising within it, and fill in where each step begins.

    Args:
        body: Bits [neurons, steps] in row-major order, the highest of a byte first.
        neurons: Number of neurons.
        steps: Number of steps.
        offsets: int32 [steps + 1], zeros; step s then stands at `offsets[s] : offsets[s + 1]`.
    """
    fired = np.empty(int(np.bitwise_count(body).sum(dtype=np.int64)), np.int32)
    used: int = _fill_from_bits(body, neurons, steps, offsets, fired)
    return fired[:used]  # bits after the last neuron do not count


def fired_of_counts(body: NDArray[np.uint8], neurons: int, steps: int, offsets: NDArray[np.int32]) -> NDArray[np.int32]:
    """Do the same for counts [neurons, steps]; a neuron that fired n times in a step stands there n times."""
    fired = np.empty(int(body.sum(dtype=np.int64)), np.int32)
    _fill_from_counts(body, neurons, steps, offsets, fired)
    return fired


def fired_of_addresses(addresses: NDArray[np.intp], steps: int, offsets: NDArray[np.int32]) -> NDArray[np.int32]:
    """Do the same for rising addresses in an array [neurons, steps] in row-major order."""
    fired = np.empty(addresses.size, np.int32)
    _fill_from_addresses(addresses, steps, offsets, fired)
    return fired


# Each kernel below first counts the spikes of every step, and then puts every spike into its place.
# Neurons come in rising order, and so they stand within each step.


@compiled
def _fill_from_addresses(addresses: Any, steps: Any, offsets: Any, fired: Any) -> None:
    width = np.uint64(steps)
    for x in range(addresses.size):
        offsets[np.uint64(addresses[x]) % width + 1] += 1
    place = _begin(offsets)
    for x in range(addresses.size):
        address = np.uint64(addresses[x])
        neuron = address // width
        step = address - neuron * width
        fired[place[step]] = neuron
        place[step] += 1


@compiled
def _fill_bits(offsets: Any, fired: Any, steps: Any, body: Any) -> Any:
    for step in range(steps):
        for x in range(offsets[step], offsets[step + 1]):
            address = np.uint64(fired[x]) * np.uint64(steps) + np.uint64(step)
            bit = np.uint8(128) >> np.uint8(address & np.uint64(7))
            place = address >> np.uint64(3)
            if body[place] & bit:
                return False
            body[place] |= bit
    return True


@compiled
def _fill_from_bits(body: Any, neurons: Any, steps: Any, offsets: Any, fired: Any) -> Any:
    for counting in (True, False):
        place = offsets if counting else _begin(offsets)
        neuron = step = 0
        for byte in body:
            if byte == 0:  # eight at once
                step += 8
                neuron += step // steps
                step %= steps
                continue
            for bit in range(7, -1, -1):
                if (byte >> bit) & 1 and neuron < neurons:
                    if counting:
                        place[step + 1] += 1
                    else:
                        fired[place[step]] = neuron
                        place[step] += 1
                step += 1
                if step == steps:
                    step = 0
                    neuron += 1
    return offsets[steps]


@compiled
def _fill_from_counts(body: Any, neurons: Any, steps: Any, offsets: Any, fired: Any) -> None:
    for neuron in range(neurons):
        for step in range(steps):
            offsets[step + 1] += body[neuron * steps + step]
    place = _begin(offsets)
    for neuron in range(neurons):
        for step in range(steps):
            for _ in range(body[neuron * steps + step]):
                fired[place[step]] = neuron
                place[step] += 1


@compiled
def _begin(offsets: Any) -> Any:
    """Turn counts into offsets, and return where each step begins."""
    for s in range(1, offsets.size):
        offsets[s] += offsets[s - 1]
    return offsets[:-1].copy()

"""Models whose neurons are computed by a compiled kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.simulation.models.base import (
    EXCITATORY,
    INHIBITORY,
    Model,
    ModelParameters,
    Noise,
    Setting,
    Window,
)
from brainnet.simulation.random import draw, mix, poisson_count
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled


class NeuronParameters(ModelParameters):
    """Parameters that all compiled neurons have; a value of a subclass may be one number, a distribution or a list."""

    noise: Noise | None = Field(None, description="Poisson spikes from outside, of each neuron its own")


class CompiledModel(Model):
    """Neurons with an excitatory and an inhibitory port, computed by a compiled kernel.

    A subclass sets `kernel` and `arguments`. The kernel is called with the first step, the sums [steps, neurons] of
    both ports, the arguments, key, thresholds and weight of the noise, and two arrays that it fills as `Spikes` has
    them: `offsets` [steps + 1] and, from the start, `fired`.

    Attributes:
        kernel: The compiled function.
        arguments: What it takes besides: constants, and arrays of `state`, which it changes in place.
        noise: The noise as the kernel takes it.
        most_in_step: How often a neuron may fire in one step.
    """

    parameters: Any
    kernel: Any
    arguments: tuple[Any, ...]
    most_in_step = 1

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        self.noise = setting.noise(self.parameters.noise)

    def advance(self, window: Window) -> Spikes:
        """Compute the steps of one window, and return what fired."""
        offsets = np.zeros(window.steps + 1, np.int32)
        fired: NDArray[np.int32] = np.empty(self.setting.size * window.steps * self.most_in_step, np.int32)
        noise = self.noise
        self.kernel(
            window.first_step,
            window.sums[EXCITATORY],
            window.sums[INHIBITORY],
            *self.arguments,
            noise.key,
            noise.thresholds,
            noise.weight,
            offsets,
            fired,
        )
        return Spikes(window.first_step, offsets, fired[: offsets[-1]].copy())


@compiled
def add_noise(key, table, weight, step, low, bits, into):  # type: ignore[no-untyped-def]
    """Add `noise_of` for the neurons from `low` on to an array with an element for each of them.

    The random bits of all of them come first: that loop becomes vector instructions, the search in the table does not.
    """
    inner = mix(key ^ np.uint64(step))
    for j in range(into.size):
        bits[j] = mix(inner ^ np.uint64(low + j))
    for j in range(into.size):
        into[j] += weight * poisson_count(bits[j], table)


@compiled
def sort_by_step(fired, when, count, offsets):  # type: ignore[no-untyped-def]
    """Bring the first `count` neurons of `fired` into the order of the steps `when` they fired; fill in the offsets.

    Those of one step keep their order.
    """
    for x in range(count):
        offsets[when[x] + 1] += 1
    for s in range(1, offsets.size):
        offsets[s] += offsets[s - 1]
    place = offsets[:-1].copy()
    unsorted = fired[:count].copy()
    for x in range(count):
        fired[place[when[x]]] = unsorted[x]
        place[when[x]] += 1


@compiled
def noise_of(key, thresholds, weight, step, neuron):  # type: ignore[no-untyped-def]
    """Return what arrives from outside at a neuron in one step: a weight times a Poisson count."""
    if not thresholds.size:
        return weight * 0
    return weight * poisson_count(draw(key, step, neuron), thresholds)

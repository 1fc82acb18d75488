"""Models whose neurons are computed by a compiled kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

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


class Kernels(NamedTuple):
    """The compiled functions of a model.

    Attributes:
        window: Computes neurons whose input is known for all steps of a window. It is called with the first step, the
            sums [steps, neurons] of both ports, the arguments of the model, key, thresholds and weight of the noise,
            and two arrays that it fills as `Spikes` has them: `offsets` [steps + 1], which are zero before, and, from
            the start, `fired`.
        learning: Computes neurons with synapses that learn, step by step: `learn` of
            `brainnet.simulation.plasticity.learning_window`, called with `window`. It is a function of the module of
            the model, for the machine code of a function that gets another one as an argument is not stored.
    """

    window: Any
    learning: Any


class CompiledModel(Model):
    """Neurons with an excitatory and an inhibitory port, computed by a compiled kernel.

    A subclass sets `kernels` and `arguments`.

    Attributes:
        kernels: The compiled functions.
        arguments: What they take besides: constants, and arrays of `state`, which they change in place.
        noise: The noise as the kernels take it.
        most_in_step: How often a neuron may fire in one step.
    """

    parameters: Any
    kernels: Kernels
    arguments: tuple[Any, ...]
    most_in_step = 1

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        self.noise = setting.noise(self.parameters.noise)

    def advance(self, window: Window) -> Spikes:
        """Compute the steps of one window, and return what fired."""
        return self._fired(window, self.kernels.window, *self.arguments, *self.noise)

    def learn(self, window: Window, projections: tuple[Any, ...]) -> Spikes:
        """Compute the steps of one window with all that arrives at synapses that learn, and return what fired.

        Args:
            window: The steps; what arrives is added to its sums.
            projections: The synapses, as `brainnet.simulation.plasticity.learning_window.learn` takes them.
        """
        return self._fired(window, self.kernels.learning, (*self.arguments, *self.noise), projections)

    def _fired(self, window: Window, kernel: Any, *arguments: Any) -> Spikes:
        offsets = np.zeros(window.steps + 1, np.int32)
        fired: NDArray[np.int32] = np.empty(self.setting.size * window.steps * self.most_in_step, np.int32)
        sums = (window.sums[EXCITATORY], window.sums[INHIBITORY])
        kernel(window.first_step, *sums, *arguments, offsets, fired)
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

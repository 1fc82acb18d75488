"""Lesions of a stream: what an experiment does to the windows that come from a population of another process."""

from __future__ import annotations

import numpy as np

from brainnet.simulation.spikes import Spikes
from brainnet.wire.messages import Lesion


def lesioned(spikes: Spikes, size: int, lesion: Lesion, random: np.random.Generator) -> Spikes:
    """Return a window as it arrives through a lesion.

    Args:
        spikes: The window.
        size: Neurons of the population.
        lesion: What is done to it.
        random: Draws which neurons change places, and which spikes are lost.
    """
    if lesion.kind == "silence":
        return Spikes.none(spikes.first_step, spikes.offsets.size - 1)
    steps = np.repeat(np.arange(spikes.offsets.size - 1), np.diff(spikes.offsets))
    fired = spikes.neurons
    if lesion.kind == "shuffle":
        fired = random.permutation(size).astype(fired.dtype)[fired]
        order = np.lexsort((fired, steps))  # rising within a step, as the synapses take for granted
        return Spikes(spikes.first_step, spikes.offsets, np.ascontiguousarray(fired[order]))
    kept = random.random(fired.size) >= lesion.share
    counts = np.bincount(steps[kept], minlength=spikes.offsets.size - 1)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(spikes.offsets.dtype)
    return Spikes(spikes.first_step, offsets, np.ascontiguousarray(fired[kept]))

"""Spikes of one population in one window, as lists of neurons by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Spikes:
    """What one population fired in one window.

    Attributes:
        first_step: Number of the window's first step, counted from 0 at the start of the network.
        offsets: int32 [steps + 1]; the neurons that fired in step `first_step + s` are
            `neurons[offsets[s] : offsets[s + 1]]`, in rising order; a neuron that fired n times in one step stands
            there n times.
        neurons: int32 [spikes].
    """

    first_step: int
    offsets: NDArray[np.int32]
    neurons: NDArray[np.int32]

    @property
    def steps(self) -> int:
        """Steps of the window."""
        return self.offsets.size - 1

    @property
    def end_step(self) -> int:
        """The first step after the window."""
        return self.first_step + self.offsets.size - 1

    @property
    def count(self) -> int:
        """Number of spikes."""
        return self.neurons.size

    def in_step(self, step: int) -> NDArray[np.int32]:
        """Return the neurons that fired in one step of the window."""
        at = step - self.first_step
        return self.neurons[self.offsets[at] : self.offsets[at + 1]]

    def since(self, step: int) -> Spikes:
        """Return the part from a step on; all of it when the step is before it, an empty one when it is after it."""
        at = min(max(step - self.first_step, 0), self.steps)
        if not at:
            return self
        low = self.offsets[at]
        return Spikes(self.first_step + at, self.offsets[at:] - low, self.neurons[low:])

    @classmethod
    def none(cls, first_step: int, steps: int) -> Spikes:
        """Return a window without spikes."""
        return cls(first_step, np.zeros(steps + 1, np.int32), np.zeros(0, np.int32))

    @classmethod
    def of_dense(cls, first_step: int, counts: NDArray[Any]) -> Spikes:
        """Return the spikes of an array [neurons, steps] of counts, whole numbers of at least 0."""
        by_step = np.ascontiguousarray(counts.T)
        step, neuron = np.nonzero(by_step)
        times = by_step[step, neuron].astype(np.int64)
        per_step = np.bincount(np.repeat(step, times), minlength=by_step.shape[0])
        offsets = np.zeros(by_step.shape[0] + 1, np.int32)
        np.cumsum(per_step, out=offsets[1:])
        return cls(first_step, offsets, np.repeat(neuron, times).astype(np.int32))

    def dense(self, neurons: int) -> NDArray[np.int32]:
        """Return counts [neurons, steps]."""
        step = np.repeat(np.arange(self.steps), np.diff(self.offsets))
        place = self.neurons.astype(np.int64) * self.steps + step
        return np.bincount(place, minlength=neurons * self.steps).reshape(neurons, self.steps).astype(np.int32)

    @classmethod
    def joined(cls, parts: list[Spikes]) -> Spikes:
        """Return consecutive windows, at least one, as one.

        Raises:
            ValueError: A window does not begin where the one before it ends.
        """
        if len(parts) == 1:  # as in most calls; they are not changed by anybody
            return parts[0]
        offsets, count, end = [parts[0].offsets], parts[0].count, parts[0].end_step
        for part in parts[1:]:
            if part.first_step != end:
                raise ValueError(f"step {end} is next, and the window begins with {part.first_step}")
            offsets.append(part.offsets[1:] + np.int32(count))
            count, end = count + part.count, part.end_step
        return cls(parts[0].first_step, np.concatenate(offsets), np.concatenate([p.neurons for p in parts]))

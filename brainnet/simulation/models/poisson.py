"""Sources that fire at random, each neuron independently, at a rate that may change at given times.

A neuron may fire several times in one step: the count of a step is Poisson with mean rate x dt. The counts are drawn
from a hash of the population, the neuron and the step.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.errors import ModelError
from brainnet.simulation.models.base import Distribution, Finite, Model, ModelParameters, Setting, Window, described
from brainnet.simulation.random import draw, poisson_count, poisson_table
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PoissonParameters(ModelParameters):
    """The rate of the sources."""

    rate_hz: Rate | Distribution | list[Rate] | list[tuple[Finite, Rate]] = Field(
        10.0,
        description="a number, a distribution (negative values count as 0), a list with one number for each neuron, or "
        "steps over time [[t_ms, hz], ...] of all neurons, which are silent before the first",
    )


class Poisson(Model):
    """A population of independent Poisson sources, to which no projection goes."""

    Parameters: ClassVar[type[ModelParameters]] = PoissonParameters
    parameters: PoissonParameters
    ports: ClassVar[tuple[str, ...]] = ()

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        rate = self.parameters.rate_hz
        if isinstance(rate, list) and rate and isinstance(rate[0], tuple):
            changes = [(setting.steps(at), np.array([hz])) for at, hz in rate]
            if any(a >= b for (a, _), (b, _) in itertools.pairwise(changes)):
                raise ModelError(
                    f"{described(self)}: the times of rate_hz must rise, by a step of {setting.dt_ms:g} ms at least",
                    field="rate_hz",
                )
        else:
            one = isinstance(rate, float)
            changes = [(0, np.array([rate]) if one else np.maximum(setting.spread("rate_hz", rate), 0.0))]
        # Rates from step `_from[i]` on are those of `_tables[i]`; there are none before the first.
        self._from = [step for step, _ in changes]
        try:
            self._tables = [_Table(rates * (setting.dt_ms / 1000.0)) for _, rates in changes]
        except ModelError as error:
            raise ModelError(f"{described(self)}: {error}", field="rate_hz") from None
        self._key = setting.key("poisson")

    def advance(self, window: Window) -> Spikes:
        """Compute the steps of one window, and return what fired."""
        parts: list[Spikes] = []
        step, end = window.first_step, window.first_step + window.steps
        while step < end or not parts:
            index = int(np.searchsorted(self._from, step, "right")) - 1
            until = min(end, self._from[index + 1] if index + 1 < len(self._from) else end)
            if index < 0:
                parts.append(Spikes.none(step, until - step))
            else:
                parts.append(self._fire(step, until - step, self._tables[index]))
            step = until
        return Spikes.joined(parts)

    def _fire(self, first_step: int, steps: int, table: _Table) -> Spikes:
        size = self.setting.size
        offsets = np.zeros(steps + 1, np.int32)
        mean = table.mean * size * steps
        room = int(mean + 6.0 * math.sqrt(mean) + 16.0)
        while True:
            fired = np.empty(room, np.int32)
            if _advance(first_step, size, self._key, table.start, table.thresholds, offsets, fired):
                return Spikes(first_step, offsets, fired[: offsets[-1]].copy())
            room *= 2


class _Table:
    """Thresholds of counts, for one mean of all neurons or one each.

    Attributes:
        start: int64 [means + 1]: those of mean i are `thresholds[start[i] : start[i + 1]]`.
        thresholds: uint64.
        mean: The mean over the neurons.
    """

    def __init__(self, means: NDArray[np.float64]) -> None:
        distinct, which = np.unique(means, return_inverse=True)
        tables = [poisson_table(float(mean)) if mean else np.zeros(0, np.uint64) for mean in distinct]
        of_neuron: list[Any] = [tables[i] for i in which]
        self.start = np.zeros(means.size + 1, np.int64)
        np.cumsum([table.size for table in of_neuron], out=self.start[1:])
        self.thresholds = np.concatenate(of_neuron)
        self.mean = float(means.mean())


@compiled
def _advance(first_step, size, key, start, thresholds, offsets, fired):  # type: ignore[no-untyped-def]
    """Return whether there was room for all spikes."""
    count = 0
    shared = start.size == 2
    for s in range(offsets.size - 1):
        for j in range(size):
            of = 0 if shared else j
            low, high = start[of], start[of + 1]
            if low == high:
                continue
            bits = draw(key, first_step + s, j)
            if bits < thresholds[low]:
                continue
            for _ in range(poisson_count(bits, thresholds[low:high])):
                if count == fired.size:
                    return False
                fired[count] = j
                count += 1
        offsets[s + 1] = count
    return True

r"""Rate code: at each step a neuron fires at random, with a probability in proportion to its value.

$$ P(s_t = 1) = \frac{x - x_\text{low}}{x_\text{high} - x_\text{low}} \, r_\text{max} \, \Delta t $$

A value holds until the next payload. Before the first one nothing fires. Neurons and steps are independent (Bernoulli);
for small probabilities the spikes are those of a Poisson process. Source: Dayan and Abbott 2001, *Theoretical
Neuroscience*, section 1.4. The random number of a neuron in a step is `brainnet.simulation.random.uniform` of the seed,
the step and the neuron.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import MICROSECONDS, Block
from brainnet.sensors.encoders.base import Encoder, in_effect
from brainnet.simulation.random import key_of, mix
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled


class Rate(Encoder):
    """Values as rates.

    Args:
        shape: Of the payloads, such as (rows, columns) of frames; each value has one neuron, in C order.
        dt_us: A step in microseconds.
        max_rate_hz: Rate of the largest value; at most one spike a step.
        low: The value, and all below it, that never fires.
        high: The value, and all above it, that fires with `max_rate_hz`; 255 for frames of bytes.
        seed: Of the random numbers.
        name: Encoders of one seed that are to draw different numbers have different names.

    Raises:
        SensorError: A range without extent, or a rate that is negative or more than one spike a step.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dt_us: int,
        *,
        max_rate_hz: float = 100.0,
        low: float = 0.0,
        high: float = 255.0,
        seed: int = 0,
        name: str = "rate",
    ) -> None:
        super().__init__(math.prod(shape), dt_us)
        if not 0 <= max_rate_hz * dt_us <= MICROSECONDS:
            raise SensorError(
                f"{self.name}: max_rate_hz must be 0 to {MICROSECONDS / dt_us:g}, one spike a step, not {max_rate_hz}"
            )
        self._scale = check_range(self.name, low, high)
        self._shape, self._low = tuple(shape), low
        self._key = key_of(seed, "encoder", name)
        self._peak = max_rate_hz * dt_us / MICROSECONDS
        self.state["probability"] = np.zeros(self.size)

    def _encode(self, first_step: int, steps: int, at: Sequence[int], payloads: Sequence[Block]) -> Spikes:
        rows = [self.state["probability"], *(self._probability(block) for block in payloads)]
        offsets = np.zeros(steps + 1, np.int32)
        fired: NDArray[np.int32] = np.empty(self.size * steps, np.int32)
        _fire(self._key, first_step, np.stack(rows), in_effect(first_step, steps, at), offsets, fired)
        self.state["probability"] = rows[-1]
        return Spikes(first_step, offsets, fired[: offsets[-1]].copy())

    def _probability(self, block: Block) -> NDArray[np.float64]:
        values = self.values(block, self._shape).reshape(-1)
        return unit(values, self._low, self._scale) * self._peak


def check_range(name: str, low: float, high: float) -> float:
    """Return 1 / (high - low).

    Raises:
        SensorError: `low` is not below `high`, or one of the two is not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high and math.isfinite(high - low)):
        raise SensorError(f"{name}: low must be below high, and both finite; got {low} and {high}")
    return 1.0 / (high - low)


def unit(values: NDArray[np.float64], low: float, scale: float) -> NDArray[np.float64]:
    """Return values as numbers from 0, for `low` and below, to 1, for `low` + 1 / `scale` and above."""
    return np.clip((values - low) * scale, 0.0, 1.0)


@compiled
def _fire(key, first_step, rows, in_effect, offsets, fired):  # type: ignore[no-untyped-def]
    count = 0
    for s in range(in_effect.size):
        probability = rows[in_effect[s]]
        # `uniform` of key, step and neuron, with the hash of the step taken once
        inner = mix(key ^ np.uint64(first_step + s))
        for j in range(probability.size):
            number = float(mix(inner ^ np.uint64(j)) >> np.uint64(11)) * 2.0**-53
            if number < probability[j]:
                fired[count] = j
                count += 1
        offsets[s + 1] = count

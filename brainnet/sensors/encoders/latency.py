r"""Latency code: each payload lets each neuron fire once, the sooner the larger its value.

$$ t_1 = t_0 + \operatorname{round}\bigl((1 - x)(T - 1)\bigr), \qquad
   x = \operatorname{clip}\Bigl(\frac{v - v_\text{low}}{v_\text{high} - v_\text{low}}, 0, 1\Bigr) $$

$t_0$ is the step of the payload and T the length of the code in steps; rounding is to the nearest step, ties to the
even one. It is `latency_encode` of `brainnet.snn.codes.encoders`. A payload that comes before the code of the last one
has ended replaces it: what has not fired by then does not fire. Source: Thorpe 1990, *Spike arrival times: a highly
efficient coding scheme for neural networks*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block
from brainnet.sensors.encoders.base import Encoder, spikes_at
from brainnet.sensors.encoders.rate import check_range, unit
from brainnet.simulation.spikes import Spikes

_NEVER = -1


class Latency(Encoder):
    """Values as times of a spike.

    Args:
        shape: Of the payloads; each value has one neuron, in C order.
        dt_us: A step in microseconds.
        code_steps: T, at least 2.
        low: The value, and all below it, that fires last.
        high: The value, and all above it, that fires at once; 255 for frames of bytes.
        silent_below: Values below it do not fire; None lets all fire.

    Raises:
        SensorError: A code of fewer than two steps, or a range without extent.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dt_us: int,
        *,
        code_steps: int,
        low: float = 0.0,
        high: float = 255.0,
        silent_below: float | None = None,
    ) -> None:
        super().__init__(math.prod(shape), dt_us)
        if not 2 <= code_steps <= 1 << 31:
            raise SensorError(f"{self.name}: code_steps must be 2 to 2^31, not {code_steps}")
        self._scale = check_range(self.name, low, high)
        self._shape, self._low, self._last, self._silent_below = tuple(shape), low, code_steps - 1, silent_below
        self.state["due"] = np.full(self.size, _NEVER, np.int64)

    def _encode(self, first_step: int, steps: int, at: Sequence[int], payloads: Sequence[Block]) -> Spikes:
        codes = [self.state["due"], *(self._due(step, block) for step, block in zip(at, payloads, strict=True))]
        begins, ends = [first_step, *at], [*at, first_step + steps]
        found = []
        for due, begin, end in zip(codes, begins, ends, strict=True):
            neurons = np.flatnonzero((due >= begin) & (due < end))
            found.append((due[neurons], neurons))
        self.state["due"] = codes[-1]
        return spikes_at(first_step, steps, *(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _due(self, step: int, block: Block) -> NDArray[np.int64]:
        values = self.values(block, self._shape).reshape(-1)
        due = step + np.rint((1.0 - unit(values, self._low, self._scale)) * self._last).astype(np.int64)
        if self._silent_below is not None:
            due[values < self._silent_below] = _NEVER
        return due

"""What raises the modulator of a projection: the spikes of a population, and values from outside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.spikes import Spikes

UNIT: Final = 1 << 24
"""A rise of 1 as a whole number. Rises of one step are added as whole numbers, so that their order does not matter."""
MAX_AMOUNT: Final = float(1 << 20)
"""The largest rise at once that comes from outside."""


class Modulation:
    """The rises of one projection's modulator in the steps that are still to be computed.

    Args:
        name: Of the modulator.
        source: The population whose spikes raise it; None where it comes from outside alone.
        delay: Steps from a spike to its effect, at least 1.
        per_spike: By how much a spike raises it.
        longest_window: Steps of the longest window that the source sends, and that is computed at once.

    Attributes:
        name: Of the modulator.
        source: The population, or None.
        delay: Steps.
        next_step: The first step of the source that is not taken in yet.
    """

    def __init__(self, name: str, source: str | None, delay: int, per_spike: float, longest_window: int) -> None:
        self.name = name
        self.source = source
        self.delay = delay
        self.next_step = 0
        self._per_spike = math.floor(per_spike * UNIT + 0.5)
        self._ring = np.zeros(delay + 2 * longest_window, np.int64)
        self._outside: dict[int, int] = {}

    def receive(self, spikes: Spikes) -> None:
        """Take in the next window of the source.

        Raises:
            ModelError: It is not the next one.
        """
        if spikes.first_step != self.next_step:
            raise ModelError(
                f"modulator {self.name}: step {self.next_step} is next, and the window begins with step "
                f"{spikes.first_step}"
            )
        self.next_step = spikes.end_step
        arrive = (spikes.first_step + self.delay + np.arange(spikes.steps)) % self._ring.size
        self._ring[arrive] += self._per_spike * np.diff(spikes.offsets).astype(np.int64)

    def add(self, step: int, amount: float) -> None:
        """Let the modulator rise in a step that is still to be computed.

        Raises:
            ModelError: The amount is not finite, or larger than `MAX_AMOUNT`.
        """
        if not (math.isfinite(amount) and abs(amount) <= MAX_AMOUNT):
            raise ModelError(f"modulator {self.name}: an amount of {amount:g}; it is at most {MAX_AMOUNT:g}")
        self._outside[step] = self._outside.get(step, 0) + math.floor(amount * UNIT + 0.5)

    def take(self, step: int) -> float:
        """Return the rise in one step, the next one."""
        at = step % self._ring.size
        rise = int(self._ring[at]) + self._outside.pop(step, 0)
        self._ring[at] = 0
        return rise / UNIT

    def save(self) -> dict[str, NDArray[Any]]:
        """Return everything that the next steps depend on, as arrays by name."""
        steps = sorted(self._outside)
        return {
            "next": np.array([self.next_step]),
            "ring": self._ring.copy(),
            "steps": np.array(steps, np.int64),
            "amounts": np.array([self._outside[step] for step in steps], np.int64),
        }

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `save` returned.

        Raises:
            KeyError: An array is missing.
            ValueError: An array does not fit.
        """
        self._ring[:] = saved["ring"]
        self.next_step = int(saved["next"][0])
        self._outside = dict(zip(saved["steps"].tolist(), saved["amounts"].tolist(), strict=True))

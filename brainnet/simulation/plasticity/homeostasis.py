r"""Homeostasis: thresholds that drift until the neurons fire at a target rate.

The rule is that of `brainnet.snn.plasticity.homeostasis`, $\theta \leftarrow \theta + \eta (s - r)$ in each step,
applied once for all steps of a window: with n spikes of a neuron in a window of T seconds and a target rate of r,

$$
\theta \leftarrow \theta + \eta (n - r T)
$$

Windows lie on a grid of steps that begins with step 0, whatever steps are computed at once. A threshold moves from
its value without homeostasis by `max_shift` at most.

Source: intrinsic plasticity of Lazar, Pipa and Triesch 2009, *SORN: a self-organizing recurrent neural network*,
Frontiers in Computational Neuroscience 3:23.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from brainnet.errors import ModelError


class Homeostasis(BaseModel):
    """Constants of the rule; the gain and the shift are in the unit of the model's threshold."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    target_hz: float = Field(5.0, ge=0, allow_inf_nan=False, description="rate that each neuron tends to")
    gain: float = Field(
        0.05, gt=0, allow_inf_nan=False, description="eta: what a spike too many adds to the threshold, mV for lif"
    )
    window_ms: float = Field(
        1000.0, gt=0, allow_inf_nan=False, description="time between two changes, rounded to steps, at least one"
    )
    max_shift: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="how far a threshold may move from its beginning, up or down"
    )


class Thresholds(NamedTuple):
    """The thresholds of a model.

    Attributes:
        values: float64 [neurons], which the model reads in every step; they may be changed between two steps.
        above: float64 [neurons], what they must stay above.
    """

    values: NDArray[np.float64]
    above: NDArray[np.float64]


class Drift:
    """Homeostasis of one population.

    Args:
        rule: Constants.
        thresholds: Of its model.
        dt_ms: One step.

    Attributes:
        grid: Steps between two changes.

    Raises:
        ModelError: A threshold could fall to a value at which a neuron would fire for ever.
    """

    def __init__(self, rule: Homeostasis, thresholds: Thresholds, dt_ms: float) -> None:
        room = float((thresholds.values - thresholds.above).min())
        if rule.max_shift >= room:
            raise ModelError(
                f"max_shift: a threshold that falls by {rule.max_shift:g} meets the reset or resting potential; it "
                f"must be below {room:g}",
                field="max_shift",
            )
        self.grid = max(1, round(rule.window_ms / dt_ms))
        self._rule = rule
        self._expected = rule.target_hz * self.grid * dt_ms / 1000.0
        self._thresholds = thresholds.values
        self._begin = thresholds.values.copy()
        self._counts = np.zeros(self._begin.size, np.int64)
        self._shift = np.zeros(self._begin.size)

    def count(self, end_step: int, neurons: NDArray[np.int32]) -> None:
        """Take in what fired in steps up to an end that lies on the grid or before its next point."""
        self._counts += np.bincount(neurons, minlength=self._counts.size)
        if end_step % self.grid == 0:
            moved = self._shift + self._rule.gain * (self._counts - self._expected)
            self._shift = np.clip(moved, -self._rule.max_shift, self._rule.max_shift)
            self._counts[:] = 0
            self._thresholds[:] = self._begin + self._shift

    def save(self) -> dict[str, NDArray[Any]]:
        """Return everything that the next steps depend on, as arrays by name."""
        return {"counts": self._counts.copy(), "shift": self._shift.copy()}

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `save` returned.

        Raises:
            KeyError: An array is missing.
            ValueError: An array does not fit.
        """
        self._counts[:] = saved["counts"]
        self._shift[:] = saved["shift"]
        self._thresholds[:] = self._begin + self._shift

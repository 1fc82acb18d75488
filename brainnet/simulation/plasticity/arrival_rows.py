"""Synapses that learn, sorted by when the spikes of a source arrive, and found again by their targets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import to_fixed
from brainnet.simulation.rows import Rows


class ArrivalRows:
    """Synapses of one source with one delay as a row of their own: their spikes arrive in the same step.

    Args:
        rows: The synapses.
        targets: Number of target neurons.

    Attributes:
        sources: Number of source neurons.
        delays: int32, the delays that there are, rising.
        count: Number of rows; that of source `i` and delay number `g` is `g * sources + i`.
        start: int64 [rows + 1], where the synapses of each row begin.
        targets: int32 [synapses], sorted by row.
        in_start: int64 [targets + 1], where the places of each target begin in the next two.
        in_synapse: int32 [synapses], which synapses end in a target.
        in_row: int32 [synapses], and in which rows they are.
    """

    def __init__(self, rows: Rows, targets: int) -> None:
        synapses = rows.count
        self.sources = rows.sources
        source = np.repeat(np.arange(rows.sources), np.diff(rows.start))
        delay = np.broadcast_to(rows.delays, (synapses,))
        self.delays = np.unique(delay).astype(np.int32)
        row = np.searchsorted(self.delays, delay) * rows.sources + source
        self._order = np.argsort(row, kind="stable")
        self.count = max(1, self.delays.size) * rows.sources
        self.start = np.zeros(self.count + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=self.count), out=self.start[1:])
        self.targets = np.ascontiguousarray(rows.targets[self._order])
        row = row[self._order].astype(np.int32)
        self.in_synapse = np.argsort(self.targets, kind="stable").astype(np.int32)
        self.in_row = np.ascontiguousarray(row[self.in_synapse])
        self.in_start = np.zeros(targets + 1, np.int64)
        np.cumsum(np.bincount(self.targets, minlength=targets), out=self.in_start[1:])

    def sorted(self, weights: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return weights in the order of the rows here, from one or [synapses] in that of the rows given."""
        return np.broadcast_to(weights, self._order.shape)[self._order].copy()

    def given(self, weights: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return weights in the order of the rows that were given, from the order here."""
        result = np.empty_like(weights)
        result[self._order] = weights
        return result


class Bounds:
    """Between which weights stay.

    Args:
        w_min: The smallest.
        w_max: The largest.

    Attributes:
        fixed: int64 [2], both as fixed-point numbers.

    Raises:
        ModelError: They are the wrong way round, or too large.
    """

    def __init__(self, w_min: float, w_max: float) -> None:
        self._named = f"w_min {w_min:g} and w_max {w_max:g}"
        low, high = int(to_fixed(w_min)), int(to_fixed(w_max))
        if low >= high:
            raise ModelError(f"w_min {w_min:g} must lie below w_max {w_max:g}", field="w_min")
        self.fixed = np.array([low, high], np.int64)

    def check(self, weights: NDArray[np.int32]) -> None:
        """Refuse fixed-point weights that lie outside.

        Raises:
            ModelError: One does.
        """
        # The weight itself is not named: where some are drawn to try a rule, others would lie outside.
        if ((weights < self.fixed[0]) | (weights > self.fixed[1])).any():
            raise ModelError(f"a weight lies outside of {self._named}")

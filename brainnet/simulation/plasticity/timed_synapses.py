"""What all synapses have that learn from the times of spikes: rows of arrivals, bounds, and traces of both sides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.simulation.plasticity.arrival_rows import ArrivalRows, Bounds
from brainnet.simulation.plasticity.traces import TABLE
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes

_ALL_WHOLE: Final = np.ones(0)


class TimedSynapses(ABC):
    """The synapses of one projection that learn from the times of spikes.

    Args:
        rows: The synapses at the beginning.
        targets: Number of target neurons.
        bounds: Of the weights, lowest and highest.

    Raises:
        ModelError: The bounds are the wrong way round, or a weight lies outside of them.
    """

    def __init__(self, rows: Rows, targets: int, bounds: tuple[float, float]) -> None:
        self._bounds = Bounds(*bounds)
        if rows.count:
            self._bounds.check(rows.weights)
        self._rows = ArrivalRows(rows, targets)
        self._targets = targets

    def _traces(self, *kinds: int) -> dict[str, NDArray[Any]]:
        """Return traces of all rows and targets at rest.

        Args:
            kinds: How many traces each side has, where it is not one.
        """
        count = self._rows.count
        return {
            # after the arrivals of step `pre_at`, and before them
            "pre": np.zeros((*kinds, count)),
            "pre_before": np.zeros((*kinds, count)),
            "pre_at": np.full(count, -TABLE, np.int64),
            "post": np.zeros((*kinds, self._targets)),
            "post_at": np.full(self._targets, -TABLE, np.int64),
        }

    def arrive(
        self, step: int, history: Spikes, sums: NDArray[np.int64], efficacy: NDArray[np.float64] | None = None
    ) -> None:
        """Add what arrives in one step to the sums [neurons], and let it change the synapses.

        Args:
            step: The step.
            history: The spikes of the source, at least from `step` minus the longest delay on.
            sums: Input of the port in this step.
            efficacy: [spikes of the history], what the added weights are multiplied by; None for 1.
        """
        self._take(step, self._arrivals(history), sums, _ALL_WHOLE if efficacy is None else efficacy)

    def _arrivals(self, history: Spikes) -> tuple[Any, ...]:
        """Return the spikes and the rows of synapses as the kernels take them."""
        rows = self._rows
        spikes = (history.first_step, history.offsets, history.neurons)
        return (*spikes, rows.delays, rows.sources, rows.start, rows.targets)

    @abstractmethod
    def _take(self, step: int, arrivals: Any, sums: NDArray[np.int64], efficacy: NDArray[np.float64]) -> None:
        """Run the kernel of the rule; an efficacy without elements stands for 1."""

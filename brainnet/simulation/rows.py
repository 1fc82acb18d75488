"""The synapses of one projection, in rows by source neuron."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Synapses as compressed sparse rows: those of source `i` are `start[i] : start[i + 1]`.

    Attributes:
        start: int64 [sources + 1].
        targets: int32 [synapses].
        weights: int32 fixed point, [synapses], or [1] where all are equal.
        delays: int32 steps, at least 1, [synapses], or [1] where all are equal.
    """

    start: NDArray[np.int64]
    targets: NDArray[np.int32]
    weights: NDArray[np.int32]
    delays: NDArray[np.int32]

    @property
    def sources(self) -> int:
        """Number of source neurons."""
        return self.start.size - 1

    @property
    def count(self) -> int:
        """Number of synapses."""
        return self.targets.size

    @property
    def shortest_delay(self) -> int:
        """Steps of the shortest delay; 1 where there is no synapse."""
        return int(self.delays.min()) if self.count else 1

    @property
    def longest_delay(self) -> int:
        """Steps of the longest delay; 1 where there is no synapse."""
        return int(self.delays.max()) if self.count else 1

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.start.nbytes + self.targets.nbytes + self.weights.nbytes + self.delays.nbytes

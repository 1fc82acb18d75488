"""A region with a compiled kernel."""

from __future__ import annotations

import numpy as np

from brainnet import Partial, Query, Region
from brainnet.snn.kernels import compiled


class Compiles(Region):
    """Compiles a kernel when it loads."""

    def load(self) -> None:
        @compiled
        def total(values: np.ndarray) -> float:
            found = 0.0
            for value in values:
                found += value
            return found

        assert total(np.ones(3, np.float32)) == 3.0

    def answer(self, query: Query) -> Partial:
        return Partial()

"""Compiled CPU kernels (Numba) of the search; imported when there is enough to search."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from brainnet.snn.kernels import compiled


@compiled
def products(rows: NDArray[np.int8], query: NDArray[np.int8], out: NDArray[np.int32]) -> None:
    """``out`` [N] is the product of every one of ``rows`` [N, D] with ``query`` [D], in whole numbers."""
    for i in range(rows.shape[0]):
        total = numba.int32(0)
        for j in range(rows.shape[1]):
            total += numba.int32(rows[i, j]) * numba.int32(query[j])
        out[i] = total

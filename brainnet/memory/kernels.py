"""Compiled CPU kernels (Numba) of the search; imported only when the store is large enough."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from brainnet.snn.kernels import compiled


@compiled
def int8_matvec(rows: NDArray[np.int8], query: NDArray[np.int8], out: NDArray[np.int32]) -> None:
    """Write the product of `rows` [N, D] and `query` [D] to `out` [N], in int32.

    It is exact: a product is at most 127 * 127, so int32 overflows only beyond D = 133,000.
    """
    for i in range(rows.shape[0]):
        # numpy would first convert the whole matrix to a wider type: four times the memory traffic;
        # int32 (not Numba's default int64) lets the compiler use the widest multiply-add of the CPU
        total = numba.int32(0)
        for j in range(rows.shape[1]):
            total += numba.int32(rows[i, j]) * numba.int32(query[j])
        out[i] = total


@compiled
def weighted_sums(
    starts: NDArray[np.int64],
    items: NDArray[np.int64],
    weights: NDArray[np.float32],
    rows: NDArray[np.int8],
    out: NDArray[np.float32],
) -> None:
    """Add to `out` [N, D] the sums of `weights[i] * rows[items[i]]` over `starts[n] <= i < starts[n + 1]`.

    This is the product of a sparse CSR matrix (`starts`, `items`, `weights`) and a dense matrix of int8 `rows`.
    """
    for n in range(len(starts) - 1):
        for i in range(starts[n], starts[n + 1]):
            row, weight = rows[items[i]], weights[i]
            # the inner loop runs along contiguous memory of both arrays, so it vectorises
            for j in range(rows.shape[1]):
                out[n, j] += weight * numba.float32(row[j])


@compiled
def add_neighbours(
    scores: NDArray[np.float32],
    previous: NDArray[np.int64],
    following: NDArray[np.int64],
    next_weight: np.float32,
    previous_weight: np.float32,
    out: NDArray[np.float32],
) -> None:
    """Write to `out` the cubed scores with shares of the cubed scores of the neighbours.

    Args:
        scores: float32 [N].
        previous: the row of the previous episode of the session, or -1.
        following: the row of the next episode of the session, or -1.
        next_weight: the share that an episode receives from its previous one.
        previous_weight: the share that an episode receives from its next one.
        out: float32 [N].
    """
    # one pass without temporaries: the numpy version makes four arrays of N and reads each from memory again
    for n in range(len(scores)):
        total = scores[n] * scores[n] * scores[n]
        if previous[n] >= 0:
            score = scores[previous[n]]
            total += next_weight * score * score * score
        if following[n] >= 0:
            score = scores[following[n]]
            total += previous_weight * score * score * score
        out[n] = total

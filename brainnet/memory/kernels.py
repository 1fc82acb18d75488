"""Compiled CPU kernels (Numba) of the search; imported when there is enough to search."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from brainnet.snn.kernels import compiled


@compiled
def products(rows: NDArray[np.int8], query: NDArray[np.int8], out: NDArray[np.int32]) -> None:
    """`out` [N] is the product of every one of `rows` [N, D] with `query` [D], in whole numbers."""
    for i in range(rows.shape[0]):
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
    """`out` [N, D], zero before, becomes the sums over `starts[n] <= i < starts[n + 1]` of
    `weights[i] * rows[items[i]]`.
    """
    for n in range(len(starts) - 1):
        for i in range(starts[n], starts[n + 1]):
            row, weight = rows[items[i]], weights[i]
            for j in range(rows.shape[1]):
                out[n, j] += weight * numba.float32(row[j])


@compiled
def in_context(
    scores: NDArray[np.float32],
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    following: np.float32,
    preceding: np.float32,
    out: NDArray[np.float32],
) -> None:
    """`out` is the cube of every score, plus `following` times that of the one `before` it and `preceding`
    times that of the one `after` it; -1 stands for none.
    """
    for n in range(len(scores)):
        total = scores[n] * scores[n] * scores[n]
        if before[n] >= 0:
            score = scores[before[n]]
            total += following * score * score * score
        if after[n] >= 0:
            score = scores[after[n]]
            total += preceding * score * score * score
        out[n] = total

"""Fusion of two searches by their scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["convex_combination"]


def convex_combination(one: NDArray[np.float32], other: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """`share` of the one score plus the rest of the other, each divided by its best, so that a score is in [0, 1].

    Scores are not below 0; a side without any score above 0 says nothing. Scores keep what ranks lose: how sure a
    side is of its first against its second. Bruch, Gai and Ingber 2023, *An analysis of fusion functions for hybrid
    retrieval*, find this better than reciprocal rank fusion wherever they tried.
    """
    fused = np.zeros_like(one)
    for scores, weight in ((one, share), (other, 1 - share)):
        best = scores.max(initial=0)
        if best > 0 and weight > 0:
            fused += np.float32(weight) * (scores / best)
    return fused

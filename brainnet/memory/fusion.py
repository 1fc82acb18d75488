"""Fusion of two searches by their scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["convex_combination"]


def convex_combination(first: NDArray[np.float32], second: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """Return `weight` times `first` plus `1 - weight` times `second`, each divided by its maximum.

    Scores must not be negative. Each normalised score is in [0, 1]; a side whose scores are all 0 adds nothing.

    Source: Bruch, Gai and Ingber 2023, *An analysis of fusion functions for hybrid retrieval*. They find it better
    than reciprocal rank fusion in all their experiments, because scores keep the distances that ranks lose.
    """
    fused = np.zeros_like(first)
    for scores, share in ((first, weight), (second, 1 - weight)):
        best = scores.max(initial=0)
        if best > 0 and share > 0:
            # a numpy float64 weight would make the product float64
            fused += np.float32(share) * (scores / best)
    return fused

"""Figures that several evaluations report."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainnet.errors import ModelError

Item = TypeVar("Item", bound=Hashable)


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Compute the expected calibration error: mean gap of confidence and accuracy, weighted by the bins' share.

    Guo et al. 2017, *On Calibration of Modern Neural Networks*, equation 5.

    Args:
        confidence: The probability given to each answer, [N].
        correct: Whether each answer was right, [N].
        bins: Number of bins of equal width.

    Returns:
        The error, in [0, 1].

    Raises:
        ModelError: The two are not of one length [N] with N >= 1.
    """
    confidences: NDArray[np.float64] = np.asarray(confidence, np.float64)
    hits: NDArray[np.float64] = np.asarray(correct, np.float64)
    if confidences.ndim != 1 or confidences.shape != hits.shape or not confidences.size:
        raise ModelError(
            f"confidence {confidences.shape} and correct {hits.shape} must be of one length [N], N at least 1"
        )
    bin_of = np.minimum((confidences * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, hits - confidences, bins)
    return float(np.abs(gaps).sum() / len(confidences))


def ndcg(ranking: Sequence[Item], gains: Mapping[Item, float], at: int = 10) -> float:
    """Compute the normalised discounted cumulative gain of the first `at` items of `ranking`.

    Gains are linear, discounts log2(rank + 1), as in trec_eval (Jaervelin and Kekaelaeinen 2002).

    Returns:
        The gain in [0, 1]; 0 when nothing is relevant.
    """

    def total(values: Sequence[float]) -> float:
        return sum(value / math.log2(rank + 2) for rank, value in enumerate(values[:at]))

    best = total(sorted(gains.values(), reverse=True))
    return total([gains.get(item, 0.0) for item in ranking]) / best if best > 0 else 0.0


def recall(ranking: Sequence[Item], relevant: set[Item], at: int = 10) -> float:
    """Compute the share of `relevant` that is among the first `at` items of `ranking`.

    Raises:
        ModelError: `relevant` is empty.
    """
    if not relevant:
        raise ModelError("relevant is empty, so recall is not defined")
    return len(relevant.intersection(ranking[:at])) / len(relevant)

"""Figures that several evaluations report."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainnet.errors import ModelError

Item = TypeVar("Item", bound=Hashable)


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = 15) -> float:
    """ECE over `bins` of equal width: mean distance of confidence from accuracy, weighted by the bins' share.

    `confidence` [N] is the probability given to each answer, `right` [N] whether it was right. Guo et al. 2017,
    *On Calibration of Modern Neural Networks*, equation 5.
    """
    given: NDArray[np.float64] = np.asarray(confidence, np.float64)
    found: NDArray[np.float64] = np.asarray(right, np.float64)
    if given.ndim != 1 or given.shape != found.shape or not given.size:
        raise ModelError(f"confidence {given.shape} and right {found.shape} must be of one length [N], N at least 1")
    bin_of = np.minimum((given * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, found - given, bins)
    return float(np.abs(gaps).sum() / len(given))


def ndcg(ranking: Sequence[Item], gains: Mapping[Item, float], at: int = 10) -> float:
    """Normalised discounted cumulative gain of the first `at` of `ranking`; 0 where nothing is relevant.

    Gains are linear, discounts log2(rank + 1), as in trec_eval (Jaervelin and Kekaelaeinen 2002).
    """

    def total(values: Sequence[float]) -> float:
        return sum(value / math.log2(rank + 2) for rank, value in enumerate(values[:at]))

    best = total(sorted(gains.values(), reverse=True))
    return total([gains.get(item, 0.0) for item in ranking]) / best if best > 0 else 0.0


def recall(ranking: Sequence[Item], relevant: set[Item], at: int = 10) -> float:
    """Share of `relevant`, of which there must be some, among the first `at` of `ranking`."""
    if not relevant:
        raise ModelError("relevant holds nothing, so that recall has no meaning")
    return len(relevant.intersection(ranking[:at])) / len(relevant)

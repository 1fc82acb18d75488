"""Reciprocal rank fusion of several rankings (Cormack, Clarke and Buettcher 2009)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

__all__ = ["RANK_CONSTANT", "reciprocal_rank_fusion"]

RANK_CONSTANT = 60

_K = TypeVar("_K", bound=Hashable)


def reciprocal_rank_fusion(rankings: Iterable[Sequence[_K]], constant: int = RANK_CONSTANT) -> dict[_K, float]:
    """Score of every item, the sum over rankings of 1 / (constant + rank), rank counted from 1.

    Items come in order of falling score; equal scores stay in the order in which they were first met.
    """
    scores: dict[_K, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (constant + rank)
    return dict(sorted(scores.items(), key=lambda entry: -entry[1]))

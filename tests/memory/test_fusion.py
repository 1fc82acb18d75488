"""Reciprocal rank fusion against its definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.memory import reciprocal_rank_fusion

RANKINGS = st.lists(st.lists(st.integers(0, 20), unique=True, max_size=15), max_size=4)


@given(rankings=RANKINGS)
def test_is_the_sum_of_reciprocal_ranks_in_falling_order(rankings: list[list[int]]) -> None:
    fused = reciprocal_rank_fusion(rankings)
    assert set(fused) == {item for ranking in rankings for item in ranking}
    for item, score in fused.items():
        ranks = [ranking.index(item) + 1 for ranking in rankings if item in ranking]
        assert score == pytest.approx(sum(1 / (60 + rank) for rank in ranks))
    assert list(fused.values()) == sorted(fused.values(), reverse=True)


def test_agreement_beats_one_first_place() -> None:
    assert next(iter(reciprocal_rank_fusion([["a", "b"], ["c", "b"]]))) == "b"

"""The fusion of two searches against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.memory import convex_combination

PAIRS = st.lists(st.tuples(st.floats(0, 50, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=30)


@given(pairs=PAIRS, share=st.floats(0, 1))
def test_is_the_weighed_sum_of_shares_of_the_best(pairs: list[tuple[float, float]], share: float) -> None:
    one, other = (np.array(side, np.float32) for side in zip(*pairs, strict=True))
    fused = convex_combination(one, other, share)
    expected = [
        share * a / max(float(one.max()), 1e-45) + (1 - share) * b / max(float(other.max()), 1e-45) for a, b in pairs
    ]
    assert fused == pytest.approx(expected, abs=1e-5)
    assert fused.max() <= 1 + 1e-6


def test_a_clear_first_of_one_side_beats_two_middling_ranks() -> None:
    words, vectors = np.array([9, 4, 4.1], np.float32), np.array([0.1, 0.5, 0.49], np.float32)
    assert convex_combination(words, vectors, 0.6).argmax() == 0
    assert convex_combination(words, vectors, 0.2).argmax() == 1


def test_a_silent_side_changes_no_order() -> None:
    scores, silent = np.array([3, 1, 2], np.float32), np.zeros(3, np.float32)
    for fused in (convex_combination(scores, silent, 0.5), convex_combination(silent, scores, 0.5)):
        assert fused.argsort().tolist() == scores.argsort().tolist()
    assert convex_combination(silent[:0], silent[:0], 0.5).shape == (0,)

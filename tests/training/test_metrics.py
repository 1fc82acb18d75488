"""Metrics beside values worked out by hand and by plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.training import expected_calibration_error, ndcg, recall


def test_calibration_of_one_bin_is_confidence_minus_accuracy() -> None:
    assert expected_calibration_error([0.9, 0.9, 0.9, 0.9], [1, 1, 1, 0]) == pytest.approx(0.15)


def test_calibration_does_not_let_bins_cancel() -> None:
    # one bin 0.4 too sure, the other 0.4 too unsure
    assert expected_calibration_error([0.95, 0.95, 0.55, 0.55], [1, 0, 1, 1]) == pytest.approx(0.45)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_calibration_equals_the_definition(answers: list[tuple[float, bool]]) -> None:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in answers:
        bins.setdefault(min(int(confidence * 15), 14), []).append((confidence, right))
    expected = sum(
        len(found) / len(answers) * abs(np.mean([r for _, r in found]) - np.mean([c for c, _ in found]))
        for found in bins.values()
    )
    given_confidence, was_right = zip(*answers, strict=True)
    assert expected_calibration_error(given_confidence, was_right) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(("confidence", "right"), [([], []), ([0.5], [1, 0]), ([[0.5]], [[1]])])
def test_calibration_names_shapes_that_do_not_fit(confidence: list[float], right: list[float]) -> None:
    with pytest.raises(ModelError, match=r"confidence .* and correct"):
        expected_calibration_error(confidence, right)


def test_ndcg_discounts_by_rank_and_compares_with_the_best_order() -> None:
    gains = {"a": 3.0, "b": 1.0}
    best = 3 + 1 / math.log2(3)
    assert ndcg(["a", "b"], gains) == pytest.approx(1)
    assert ndcg(["b", "x", "a"], gains) == pytest.approx((1 + 3 / math.log2(4)) / best)
    assert ndcg(["x"] * 10 + ["a"], gains) == 0
    assert ndcg(["x", "a"], gains, at=1) == 0
    assert ndcg(["a"], {}) == 0


def test_recall_counts_each_relevant_item_among_the_first() -> None:
    assert recall(["a", "x", "b"], {"a", "b", "c"}, at=3) == pytest.approx(2 / 3)
    assert recall(["a", "x", "b"], {"a", "b"}, at=2) == 0.5
    with pytest.raises(ModelError, match="relevant"):
        recall(["a"], set())

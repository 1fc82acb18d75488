"""The benchmark of the episodic store: what its rows say. Never the timings."""

from __future__ import annotations

import pytest

from brainnet.bench.memory import RIVAL, Plan, measure


def test_rows_hold_ratios_to_the_full_text_search_of_sqlite() -> None:
    told: list[str] = []
    rows = {row.name: row for row in measure(Plan(episodes=60, stored=3, questions=3), told.append)}
    assert set(rows) == {
        "store_many",
        "store_one_p50",
        "store_one_p99",
        "search_p50",
        "search_p99",
        "open",
        "file",
    }
    for row in rows.values():
        assert row.value > 0
        if row.name != "open":
            assert row.rival == RIVAL
            assert row.rival_value
            assert row.ratio == pytest.approx(row.value / row.rival_value)
    assert rows["store_one_p99"].value >= rows["store_one_p50"].value
    assert len(told) == 4

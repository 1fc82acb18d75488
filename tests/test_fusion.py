"""The fusion rule: pooling, and that stopping early never changes the outcome."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.fusion import fuse, same
from brainnet.messages import Candidate, Partial

unit = st.floats(0.0, 1.0)
texts = st.sampled_from(["7", "1", "under the workbench", "Under the workbench.", "rose"])
candidates = st.builds(Candidate, text=texts, probability=unit)
partials = st.builds(
    Partial,
    candidates=st.lists(candidates, max_size=4, unique_by=lambda c: same(c.text)),
    confidence=unit,
    error=st.sampled_from([None, None, None, "cannot"]),
)
regions = ["a", "b", "c", "d"]


def one(text: str, probability: float = 1.0, confidence: float = 1.0) -> Partial:
    return Partial(candidates=[Candidate(text=text, probability=probability)], confidence=confidence)


@given(
    st.fixed_dictionaries(dict.fromkeys(regions, partials)),
    st.fixed_dictionaries(dict.fromkeys(regions, unit)),
    st.fixed_dictionaries(dict.fromkeys(regions, unit)),
    st.permutations(regions),
    st.integers(1, 4),
)
def test_a_settled_outcome_is_the_outcome_of_waiting_for_all(
    answers: dict[str, Partial],
    route_probs: dict[str, float],
    reliability: dict[str, float],
    order: list[str],
    heard: int,
) -> None:
    early = fuse({r: answers[r] for r in order[:heard]}, route_probs, regions, reliability)
    late = fuse(answers, route_probs, regions, reliability)
    if early.settled:
        winner, runner_up = late.ranked[0], late.ranked[1].score if len(late.ranked) > 1 else 0.0
        early_winner = next(s for s in late.ranked if same(s.text) == same(early.ranked[0].text))
        # rounding may tie what was apart by one ulp; the winner's score is never below another's
        assert early_winner.score == pytest.approx(winner.score) or early_winner.score > runner_up


def test_equal_candidates_of_different_regions_pool() -> None:
    fused = fuse(
        {"a": one("Rose", 0.6), "b": one("rose.", 0.6), "c": one("tulip", 1.0)},
        {"a": 0.3, "b": 0.3, "c": 0.34},
        ["a", "b", "c"],
        {},
    )
    assert same(fused.ranked[0].text) == "rose"
    assert fused.ranked[0].regions == ["a", "b"]
    assert fused.ranked[0].score == pytest.approx(0.36)


def test_weight_is_route_probability_times_confidence_times_reliability() -> None:
    fused = fuse({"a": one("x", 0.5, 0.8)}, {"a": 0.9}, ["a"], {"a": 0.5})
    assert fused.ranked[0].score == pytest.approx(0.9 * 0.8 * 0.5 * 0.5)
    assert fused.confidence == pytest.approx(0.8 * 0.5)


def test_nothing_is_settled_while_a_missing_region_could_still_win() -> None:
    sure = fuse({"a": one("x")}, {"a": 0.7, "b": 0.2}, ["a", "b"], {})
    unsure = fuse({"a": one("x", confidence=0.3)}, {"a": 0.7, "b": 0.25}, ["a", "b"], {})
    assert sure.settled
    assert not unsure.settled
    assert unsure.open_weight == pytest.approx(0.25)


def test_errors_contribute_nothing() -> None:
    fused = fuse({"a": Partial(error="no picture", confidence=1.0)}, {"a": 1.0}, ["a"], {})
    assert fused.ranked == []
    assert fused.confidence == 0.0
    assert not fused.settled

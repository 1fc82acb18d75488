"""The fusion rule: what counts as the same claim, what weighs how much, and that stopping early changes no outcome."""

from __future__ import annotations

import json
import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from brainnet.errors import ModelError
from brainnet.prompts import Trust, claim, fuse, load_trust
from brainnet.wire.messages import Candidate, Partial

unit = st.floats(0.0, 1.0)
texts = st.sampled_from(
    ["7", "1", "seven", "The digit on the door is a 7.", "it is 1", "under the workbench", "Under the workbench.", ""]
)
candidates = st.builds(Candidate, text=texts, probability=unit)
partials = st.builds(
    Partial,
    candidates=st.lists(candidates, max_size=5),
    confidence=unit,
    error=st.sampled_from([None, None, None, "cannot"]),
)
trusts = st.builds(Trust, st.floats(0, 1e6), st.floats(-1e6, 1e6), st.floats(1e-9, math.inf))
regions = ["a", "b", "c", "d"]


def one(text: str, probability: float = 1.0, confidence: float = 1.0) -> Partial:
    return Partial(candidates=[Candidate(text=text, probability=probability)], confidence=confidence)


@given(
    st.fixed_dictionaries(dict.fromkeys(regions, partials)),
    st.fixed_dictionaries(dict.fromkeys(regions, unit)),
    st.fixed_dictionaries(dict.fromkeys(regions, unit)),
    st.dictionaries(st.sampled_from(regions), trusts),
    st.sampled_from(["", "Which digit is on the door?", "Is it a 7 or a 1?"]),
    st.permutations(regions),
    st.integers(1, 4),
)
def test_a_settled_outcome_is_the_outcome_of_waiting_for_all(
    answers: dict[str, Partial],
    route_probs: dict[str, float],
    reliability: dict[str, float],
    trust: dict[str, Trust],
    question: str,
    order: list[str],
    heard: int,
) -> None:
    early = fuse({r: answers[r] for r in order[:heard]}, route_probs, regions, reliability, trust, question)
    late = fuse({r: answers[r] for r in order}, route_probs, regions, reliability, trust, question)
    if early.settled:
        assert claim(early.ranked[0].text, question) == claim(late.ranked[0].text, question)


@given(
    st.dictionaries(st.sampled_from(regions), partials, max_size=3),
    st.fixed_dictionaries(dict.fromkeys(regions, unit)),
    st.dictionaries(st.sampled_from(regions), trusts),
)
def test_it_settles_exactly_when_the_missing_can_no_longer_put_another_claim_first(
    heard: dict[str, Partial], route_probs: dict[str, float], trust: dict[str, Trust]
) -> None:
    """The worst that the missing regions can say: all of them, sure of it, that the runner-up is right."""
    early = fuse(heard, route_probs, regions, {}, trust)
    assume(early.ranked and abs(early.lead - early.open_weight) > 1e-6)
    rival = early.ranked[1].text if len(early.ranked) > 1 else "something else"
    late = fuse(heard | {r: one(rival) for r in regions if r not in heard}, route_probs, regions, {}, trust)
    assert early.settled == (claim(late.ranked[0].text) == claim(early.ranked[0].text))


@given(st.fixed_dictionaries(dict.fromkeys(regions, partials)), st.permutations(regions))
def test_the_order_of_arrival_changes_no_score(answers: dict[str, Partial], order: list[str]) -> None:
    probs = dict.fromkeys(regions, 0.25)
    here = fuse(answers, probs, regions, {})
    there = fuse({r: answers[r] for r in order}, probs, regions, {})
    scores = [sorted((claim(s.text), round(s.score, 9)) for s in fused.ranked) for fused in (here, there)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("one_text", "other", "question"),
    [
        ("Rose", "a rose.", ""),
        ("7", "seven", ""),
        ("7", "The digit on the garage door is a 7.", "Which digit is on the garage door?"),
        ("ankle boot", "Anna's red box has an ankle boot.", "What is in Anna's red box?"),
        ("cat", "It's a cat!", "Is it a cat or a dog?"),
        ("t-shirt", "On the hook there is a T-shirt", "what is on the hook"),
        ("", " ", ""),
    ],
)
def test_what_claims_the_same(one_text: str, other: str, question: str) -> None:
    assert claim(one_text, question) == claim(other, question)


@pytest.mark.parametrize(
    ("one_text", "other", "question"),
    [
        ("7", "The digit on the door is not 7.", "Which digit is on the door?"),
        ("shirt", "t-shirt", ""),
        ("7", "The digit on the blue door is a 7.", "Which digit is on the red door?"),
        ("in the garage", "on the garage", "Where is it?"),
        ("Here.", "There.", "Where is it?"),
        ("cat", "dog", "Is it a cat or a dog?"),
        ("3.5", "35", ""),
    ],
)
def test_what_does_not(one_text: str, other: str, question: str) -> None:
    assert claim(one_text, question) != claim(other, question)


def test_the_same_claim_of_different_regions_pools_in_the_words_of_the_surest() -> None:
    partials = {"a": one("Rose", 0.6), "b": one("a rose.", 0.7), "c": one("tulip", 1.0)}
    for order in permutations(partials):
        arrived = {region: partials[region] for region in order}
        fused = fuse(arrived, {"a": 0.3, "b": 0.3, "c": 0.34}, ["a", "b", "c"], {})
        assert fused.ranked[0].text == "a rose."
        assert fused.ranked[0].regions == ["b", "a"]
    assert fused.ranked[0].score == pytest.approx(0.39)
    assert fused.ranked[0].support["b"] == pytest.approx({"probability": 0.7, "confidence": 1.0, "weight": 0.3})


def test_a_region_that_says_the_same_twice_counts_once() -> None:
    twice = Partial(
        candidates=[Candidate(text="rose", probability=0.8), Candidate(text="a Rose", probability=0.8)], confidence=1.0
    )
    assert fuse({"a": twice}, {"a": 0.5}, ["a"], {}).ranked[0].score == pytest.approx(0.5)


def test_every_claim_keeps_what_it_rests_on() -> None:
    remembered = Partial(
        candidates=[
            Candidate(text="It is a 7", probability=0.6, content={"episode_id": 1}),
            Candidate(text="It is a 4", probability=0.4, content={"episode_id": 2}),
        ],
        confidence=1.0,
        content={"episode_id": 1, "from": "memory"},
    )
    seen = Partial(candidates=[Candidate(text="4", probability=0.9)], confidence=0.9, content={"steps": 3})
    fused = fuse({"m": remembered, "v": seen}, {"m": 0.5, "v": 0.5}, ["m", "v"], {})
    assert [claim(s.text) for s in fused.ranked] == ["4", "7"]
    assert fused.ranked[0].content == {"m": {"episode_id": 2, "from": "memory"}, "v": {"steps": 3}}
    assert fused.ranked[1].content == {"m": {"episode_id": 1, "from": "memory"}}


def test_weight_is_route_probability_times_trust_times_reliability() -> None:
    fused = fuse({"a": one("x", 0.5, 0.8)}, {"a": 0.9}, ["a"], {"a": 0.5})
    assert fused.ranked[0].score == pytest.approx(0.9 * 0.8 * 0.5 * 0.5)
    assert fused.confidence == pytest.approx(0.8 * 0.5)
    trust = Trust(2.0, -1.0)
    believed = 1 / (1 + math.exp(1.0 - 2.0 * math.log(0.8 / 0.2)))
    fused = fuse({"a": one("x", 0.5, 0.8)}, {"a": 0.9}, ["a"], {"a": 0.5}, {"a": trust})
    assert fused.ranked[0].score == pytest.approx(0.9 * believed * 0.5 * 0.5)
    assert fused.confidence == pytest.approx(believed / trust(1.0) * 0.5)


@given(trusts, unit, unit)
def test_trust_is_a_probability_and_grows_with_confidence(trust: Trust, less: float, more: float) -> None:
    less, more = sorted((less, more))
    assert 0 <= trust(less) <= trust(more) <= trust(1.0) <= 1


def test_trust_that_would_fall_with_confidence_is_refused() -> None:
    for slope, offset, floor in ((-0.1, 0.0, 1.0), (math.nan, 0.0, 1.0), (1.0, math.inf, 1.0), (1.0, 0.0, 0.0)):
        with pytest.raises(ModelError, match="slope of at least 0"):
            Trust(slope, offset, floor)


@given(trusts, unit, unit)
def test_a_share_is_one_for_certainty_and_grows_with_probability(trust: Trust, less: float, more: float) -> None:
    less, more = sorted((less, more))
    assert trust.share(0.0) == 0
    assert trust.share(1.0) == pytest.approx(1)
    assert 0 <= trust.share(less) <= trust.share(more) <= 1


def test_a_region_speaks_against_what_it_gives_little_probability() -> None:
    """Both find "4" possible; the memory prefers "7", which the eye as good as rules out."""
    memory = Partial(
        candidates=[Candidate(text="7", probability=0.7), Candidate(text="4", probability=0.3)], confidence=1.0
    )
    eye = Partial(
        candidates=[
            Candidate(text="9", probability=0.66),
            Candidate(text="4", probability=0.32),
            Candidate(text="7", probability=0.0001),
        ],
        confidence=1.0,
    )
    probs = {"m": 0.5, "e": 0.5}
    even = Trust(0.0, 0.0, 0.01)
    assert fuse({"m": memory, "e": eye}, probs, ["m", "e"], {}).ranked[0].text == "7"
    assert fuse({"m": memory, "e": eye}, probs, ["m", "e"], {}, {"m": even, "e": even}).ranked[0].text == "4"


def test_trust_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    rows = np.array([[1.0, 0.5, 0.25], [2.0, -1.0, np.inf]], np.float32)
    save_file({"trust": rows}, path, {"regions": json.dumps(["a", "b"])})
    assert load_trust(path) == {"a": Trust(1.0, 0.5, 0.25), "b": Trust(2.0, -1.0)}
    save_file({"trust": rows[:1]}, path, {"regions": json.dumps(["a", "b"])})
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    for name in ("t", "none", "missing"):
        with pytest.raises(ModelError, match=rf"{name}\.safetensors holds no trust"):
            load_trust(tmp_path / f"{name}.safetensors")


def test_nothing_is_settled_while_a_missing_region_could_still_win() -> None:
    sure = fuse({"a": one("x")}, {"a": 0.7, "b": 0.2}, ["a", "b"], {})
    unsure = fuse({"a": one("x", confidence=0.3)}, {"a": 0.7, "b": 0.25}, ["a", "b"], {})
    assert sure.settled
    assert not unsure.settled
    assert unsure.open_weight == pytest.approx(0.25)
    doubted = fuse({"a": one("x", confidence=0.3)}, {"a": 0.7, "b": 0.25}, ["a", "b"], {}, {"b": Trust(0.0, -3.0)})
    assert doubted.settled  # what is missing would not be believed


def test_errors_contribute_nothing() -> None:
    fused = fuse({"a": Partial(error="no picture", confidence=1.0)}, {"a": 1.0}, ["a"], {})
    assert fused.ranked == []
    assert fused.confidence == 0.0
    assert not fused.settled

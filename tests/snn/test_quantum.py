"""Quantum modulation against its closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.snn.models.quantum import modulate, select_routes


def torch_softmax(scores: object) -> np.ndarray:
    row: np.ndarray = torch.softmax(torch.as_tensor(scores, dtype=torch.float64), 0).numpy()
    return row


SCORES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)
MILD = st.lists(st.floats(-8, 8), min_size=2, max_size=12)
PROBS = SCORES.map(torch_softmax)


@given(scores=MILD)
def test_agrees_with_the_formulas(scores: list[float]) -> None:
    result = modulate(scores, base_threshold=2.0, max_temperature=math.inf)
    probs = torch_softmax(scores)
    entropy = float(torch.special.entr(torch.from_numpy(probs)).sum())
    half = math.pi * min(1.0, entropy / math.log(len(scores))) / 2
    rotation = np.array([[math.cos(half), -math.sin(half)], [math.sin(half), math.cos(half)]])
    alpha = (rotation @ [1.0, 0.0])[0] ** 2
    assert result.probs == pytest.approx(probs)
    assert result.entropy == pytest.approx(entropy, abs=1e-9)
    assert result.alpha == pytest.approx(alpha, abs=1e-9)
    assert result.temperature == pytest.approx(1 / (alpha + 1e-6), rel=1e-6)
    assert result.threshold == pytest.approx(2.0 * (1 + 0.2 * (1 - alpha)))
    assert result.route_probs == pytest.approx(torch_softmax(np.array(scores) / result.temperature))


@given(scores=SCORES, data=st.data())
def test_always_gives_probabilities(scores: list[float], data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)).filter(any))
    result = modulate(scores, mask)
    for probs in (result.probs, result.route_probs):
        assert probs.sum() == pytest.approx(1.0)
        assert (probs >= 0).all()
        assert (probs[~np.array(mask)] == 0).all()
    assert 0.0 <= result.alpha <= 1.0
    assert 0.0 <= result.entropy <= math.log(sum(mask)) + 1e-9
    assert 1 / (1 + 1e-6) <= result.temperature <= 20.0
    assert 1.0 <= result.threshold <= 1.2


@given(scores=MILD, data=st.data())
def test_a_masked_route_is_as_if_it_were_not_there(scores: list[float], data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)).filter(any))
    masked = modulate(scores, keep)
    alone = modulate([score for score, kept in zip(scores, keep, strict=True) if kept])
    assert masked.alpha == pytest.approx(alone.alpha)
    assert masked.route_probs[np.array(keep)] == pytest.approx(alone.route_probs)


@given(scores=MILD, shift=st.floats(-100, 100))
def test_a_common_offset_changes_nothing(scores: list[float], shift: float) -> None:
    assert modulate(scores).route_probs == pytest.approx(modulate([s + shift for s in scores]).route_probs, abs=1e-9)


@given(score=st.floats(-1e6, 1e6))
def test_one_route_is_sure(score: float) -> None:
    result = modulate([score])
    assert (result.entropy, result.alpha, list(result.route_probs)) == (0.0, 1.0, [1.0])


@given(count=st.integers(2, 20), score=st.floats(-100, 100))
def test_equal_scores_are_undecided(count: int, score: float) -> None:
    result = modulate([score] * count)
    assert result.alpha == pytest.approx(0.0, abs=1e-9)
    assert result.temperature == 20.0
    assert result.threshold == pytest.approx(1.2)
    assert result.route_probs == pytest.approx([1 / count] * count)
    assert modulate([score] * count, max_temperature=math.inf).temperature == pytest.approx(1e6)


def test_a_clear_winner_is_sure() -> None:
    result = modulate([50.0, 0.0, 0.0])
    assert result.alpha == pytest.approx(1.0)
    assert result.temperature == pytest.approx(1.0, abs=1e-5)


def test_uncertainty_spreads_the_choice() -> None:
    scores = [2.2, 0.8, 0.0, 0.0]
    result = modulate(scores)
    assert result.temperature > 1.5
    assert len(select_routes(result.route_probs)) > len(select_routes(result.probs))


@pytest.mark.parametrize(
    ("scores", "mask", "message"),
    [
        ([], None, "non-empty"),
        ([[1.0]], None, "one non-empty row"),
        ([1.0, math.nan], None, "NaN"),
        ([1.0, math.inf], None, "inf"),
        ([1.0, 2.0], [False, False], "no route"),
        ([1.0, 2.0], [True], "does not fit"),
    ],
)
def test_refuses_what_is_no_decision(scores: list[float], mask: list[bool] | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        modulate(scores, mask)


@pytest.mark.parametrize("argument", ["base_threshold", "epsilon", "max_temperature", "plasticity"])
def test_refuses_constants_out_of_range(argument: str) -> None:
    for value in (-1.0, math.nan):
        with pytest.raises(ModelError, match=argument):
            modulate([1.0, 2.0], **{argument: value})  # type: ignore[arg-type]


@given(probs=PROBS, mass=st.floats(0.01, 1.0))
def test_chooses_the_smallest_set_that_reaches_the_mass(probs: np.ndarray, mass: float) -> None:
    chosen = select_routes(probs, mass)
    assert chosen
    assert len(set(chosen)) == len(chosen)
    assert probs[chosen].sum() >= mass - 1e-8
    # Whatever other set is smaller by one holds less: the likeliest ones are the best that many routes can do.
    assert np.sort(probs)[::-1][: len(chosen) - 1].sum() < mass
    assert list(probs[chosen]) == sorted(probs[chosen], reverse=True)


def test_chooses_lower_indices_first_among_equals_and_never_an_impossible_route() -> None:
    assert select_routes([0.25, 0.25, 0.25, 0.25], 0.5) == [0, 1]
    assert select_routes([0.5, 0.5, 0.0], 1.0) == [0, 1]
    assert select_routes([0.81, 0.19]) == [0]
    assert select_routes([0.79, 0.21]) == [0, 1]


def test_a_mass_that_is_missed_by_rounding_is_reached() -> None:
    assert select_routes([0.7 - 0.95e-9, 0.3 + 0.95e-9], 0.7) == [0]
    assert select_routes([0.7 - 1.05e-9, 0.3 + 1.05e-9], 0.7) == [0, 1]


def test_refuses_to_choose_by_what_is_no_probability() -> None:
    for mass in (0.0, -1.0, 1.1):
        with pytest.raises(ModelError, match="mass"):
            select_routes([1.0], mass)
    for probs in ([0.5, 0.4], [1.5, -0.5], [math.nan, 1.0], [[1.0]]):
        with pytest.raises(ModelError, match="add up to 1"):
            select_routes(probs)

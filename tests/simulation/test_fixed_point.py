"""Weights as whole numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import MAX_WEIGHT, UNIT, from_fixed, to_fixed

WEIGHTS = st.floats(-MAX_WEIGHT, MAX_WEIGHT)


@given(st.lists(WEIGHTS, max_size=20))
def test_rounding_is_to_the_nearest_and_halves_go_up(weights: list[float]) -> None:
    exact = [math.floor(Fraction(weight) * UNIT + Fraction(1, 2)) for weight in weights]
    assert to_fixed(weights).tolist() == exact


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=20))
def test_fixed_point_numbers_come_back(numbers: list[int]) -> None:
    fixed = np.array(numbers, np.int32)
    assert from_fixed(fixed).tolist() == [number / UNIT for number in numbers]
    back = to_fixed(from_fixed(fixed))
    assert back.dtype == np.int32
    assert back.tolist() == numbers


def test_halves_and_shapes() -> None:
    assert to_fixed([0.5 / UNIT, -0.5 / UNIT, 1.5 / UNIT]).tolist() == [1, 0, 2]
    assert to_fixed(1.0).shape == ()
    assert to_fixed(np.ones((2, 3))).shape == (2, 3)
    assert to_fixed([]).shape == (0,)
    assert from_fixed(np.array([3 << 40], np.int64)).tolist() == [3 * 2.0**24]


@given(st.floats(0, 0.5, exclude_min=True, exclude_max=True))
def test_the_largest_number_below_a_half_is_rounded_down(fraction: float) -> None:
    assert int(to_fixed(fraction / UNIT)) == 0


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
def test_weights_are_finite(weight: float) -> None:
    with pytest.raises(ModelError, match="finite"):
        to_fixed([1.0, weight])


@pytest.mark.parametrize("weight", [32768.0, -32768.0, 1e300, np.nextafter(MAX_WEIGHT, math.inf)])
def test_weights_have_a_largest_value(weight: float) -> None:
    with pytest.raises(ModelError, match="does not fit"):
        to_fixed(weight)

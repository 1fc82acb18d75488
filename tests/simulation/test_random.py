"""Random numbers by counter: against the standard library, exact probabilities, and a second writing of the hash."""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal, localcontext
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.simulation.random import (
    MAX_MEAN_COUNT,
    decay,
    draw,
    exp,
    key_of,
    log,
    mix,
    normal,
    normal_quantile,
    poisson_count,
    poisson_table,
    poisson_thresholds,
    uniform,
)

WORDS = st.integers(0, 2**64 - 1)
COUNTERS = st.integers(0, 2**62)
MASK = 2**64 - 1


def split_mix(x: int) -> int:
    """SplitMix64, the finalizer of Steele, Lea and Flood 2014 with Stafford's constants (mix 13)."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_the_published_sequence_of_split_mix() -> None:
    """The first outputs of SplitMix64 for the seed 1234567, as Rosetta Code and others list them."""
    seeds = [(1234567 + n * 0x9E3779B97F4A7C15) & MASK for n in range(3)]
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(mix(np.uint64(seed))) for seed in seeds] == expected


@given(WORDS, COUNTERS, COUNTERS)
def test_draws_against_whole_numbers_of_python(key: int, first: int, second: int) -> None:
    bits = split_mix(split_mix(key ^ first) ^ second)
    assert int(draw(np.uint64(key), first, second)) == bits
    assert uniform(np.uint64(key), first, second) == (bits >> 11) / 2**53
    middle = ((bits >> 12) + 0.5) / 2**52
    assert normal(np.uint64(key), first, second) == pytest.approx(NormalDist().inv_cdf(middle), rel=1e-13, abs=1e-15)


def test_keys_are_beginnings_of_sha_256() -> None:
    text = "7\0projection\0a->b\0weights"
    expected = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    assert int(key_of(7, "projection", "a->b", "weights")) == expected
    assert len({int(key_of(*purpose)) for purpose in ((1, "a"), (1, "b"), (2, "a"), (1, "a", "b"))}) == 4


def chi_square(values: list[float], bins: int) -> float:
    counts = np.bincount((np.array(values) * bins).astype(int), minlength=bins)
    mean = len(values) / bins
    return float(((counts - mean) ** 2).sum() / mean)


@pytest.mark.parametrize("which", ["first", "second", "both", "key"])
def test_uniform_numbers_are_even(which: str) -> None:
    """Along each counter, in pairs of neighbours, and over keys: 100 bins, so a chi square of 99 with 99 degrees."""
    key = key_of(3, "even")
    places = {
        "first": [(key, n, 5) for n in range(20_000)],
        "second": [(key, 5, n) for n in range(20_000)],
        "both": [(key, n, m) for n in range(200) for m in range(100)],
        "key": [(key_of(n, "even"), 0, 0) for n in range(20_000)],
    }[which]
    values = [uniform(*place) for place in places]
    assert 0 <= min(values) <= max(values) < 1
    far = 6 * math.sqrt(2 * 99)
    assert abs(chi_square(values, 100) - 99) < far
    squares = [(int(10 * a) * 10 + int(10 * b) + 0.5) / 100 for a, b in zip(values[::2], values[1::2], strict=True)]
    assert abs(chi_square(squares, 100) - 99) < far


def test_normal_numbers_have_mean_deviation_and_tails() -> None:
    count = 20_000
    values = np.array([normal(key_of(4, "bell"), n, 0) for n in range(count)])
    assert abs(values.mean()) < 5 / math.sqrt(count)
    assert abs(values.std() - 1) < 5 / math.sqrt(2 * count)
    share = [NormalDist().cdf(value) for value in values.tolist()]
    assert abs(chi_square(share, 100) - 99) < 6 * math.sqrt(2 * 99)


@given(st.floats(2.0**-60, 1 - 2.0**-53))
@example(0.075)
@example(0.925)
@example(0.5)
@example(2.0**-53)
@example(1 - 2.0**-53)
@example(math.exp(-25.0))
def test_quantiles_of_the_normal_distribution(p: float) -> None:
    assert normal_quantile(p) == pytest.approx(NormalDist().inv_cdf(p), rel=1e-14, abs=1e-15)


def test_no_normal_number_is_farther_than_its_bound() -> None:
    """The smallest and the largest probabilities that 52 bits give."""
    assert 0 < -normal_quantile(0.5 / 2**52) < 8.3
    assert normal_quantile((2**52 - 0.5) / 2**52) == pytest.approx(-normal_quantile(0.5 / 2**52), rel=1e-12)
    assert (2**52 - 0.5) / 2**52 < 1


@given(st.floats(5e-324, 1.7976931348623157e308))
@example(1.0)
@example(1 - 2.0**-53)
@example(1 + 2.0**-52)
@example(2.0**-1074)
@example(0.7071067811865476)
@example(0.7071067811865475)
def test_logarithms(x: float) -> None:
    assert log(x) == pytest.approx(math.log(x), rel=4 * 2**-52, abs=0)


@given(st.floats(-708, 709.78))
@example(0.0)
@example(1.0)
@example(-1e-300)
@example(0.34657359027997264)
@example(709.782712893384)
def test_exponentials(x: float) -> None:
    assert exp(x) == pytest.approx(math.exp(x), rel=4 * 2**-52, abs=0)


def test_exponentials_at_the_ends() -> None:
    assert exp(0.0) == 1
    assert exp(709.79) == exp(math.inf) == math.inf
    assert exp(-746.0) == exp(-math.inf) == 0
    assert exp(-740.0) == pytest.approx(math.exp(-740.0), abs=5e-324)


@given(st.floats(1e-3, 100), st.floats(1e-3, 1000))
def test_decays(dt: float, tau: float) -> None:
    exact = math.exp(-dt / tau)
    assert decay(dt, tau) == pytest.approx(exact, rel=1e-12, abs=1e-300)
    with localcontext() as context:
        context.prec = 80
        precise = (-Decimal(dt) / Decimal(tau)).exp()
    spacing = math.ulp(float(precise))
    assert abs(Fraction(decay(dt, tau)) - Fraction(precise)) <= Fraction(spacing) / 2


@pytest.mark.parametrize(("dt", "tau"), [(1, 0), (1, -1), (1, math.nan), (math.inf, 1), (math.nan, 1), (1, math.inf)])
def test_decays_that_are_none(dt: float, tau: float) -> None:
    with pytest.raises(ModelError, match="time constant"):
        decay(dt, tau)


@given(st.floats(0, MAX_MEAN_COUNT))
@example(0.0)
@example(1e-12)
@example(MAX_MEAN_COUNT)
def test_poisson_thresholds_are_exact_probabilities(mean: float) -> None:
    thresholds = [int(threshold) for threshold in poisson_thresholds(mean)]
    assert thresholds == sorted(thresholds)
    with localcontext() as context:
        context.prec = 80
        rate, below, term = Decimal(mean), Decimal(0), (-Decimal(mean)).exp()
        for count, threshold in enumerate(thresholds):
            below += term
            assert abs(Decimal(threshold) - below * 2**64) <= 1
            term *= rate / (count + 1)
        # what lies beyond the last threshold is at most what 64 bits can tell
        assert (1 - below) * 2**64 < (2 if thresholds else 1) + (term * 2**64).to_integral_value() + 1


@given(st.floats(0, 20), WORDS)
def test_counts_are_how_many_thresholds_are_reached(mean: float, bits: int) -> None:
    thresholds = poisson_thresholds(mean)
    expected = sum(bits >= int(threshold) for threshold in thresholds)
    assert poisson_count(np.uint64(bits), poisson_table(mean)) == expected


def test_poisson_counts_have_their_mean_and_variance() -> None:
    count, mean = 20_000, 3.5
    table = poisson_table(mean)
    drawn = np.array([poisson_count(np.uint64(draw(key_of(5, "events"), n, 0)), table) for n in range(count)])
    assert abs(drawn.mean() - mean) < 5 * math.sqrt(mean / count)
    # the variance of a variance: (mean + 2 mean^2) / n
    assert abs(drawn.var() - mean) < 5 * math.sqrt((mean + 2 * mean**2) / count)


@pytest.mark.parametrize("mean", [-1e-9, math.nan, math.inf, MAX_MEAN_COUNT + 1e-9])
def test_means_that_are_not_possible(mean: float) -> None:
    with pytest.raises(ModelError, match="0 to 100"):
        poisson_thresholds(mean)

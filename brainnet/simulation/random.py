"""Random numbers that depend on what they are for, and not on who draws them or when.

Each number is a hash of a key (seed and purpose) and of two counters, such as a neuron and a step. So two processes
that compute parts of one network draw what one process would draw, and a resumed process what the first one would have
drawn.

The hash is the finalizer of SplitMix64 (Steele, Lea and Flood 2014, *Fast Splittable Pseudorandom Number Generators*),
applied to the key and each counter in turn. Logarithm and exponential are computed here, in additions and
multiplications alone: those of the system's mathematical library differ in the last bit from machine to machine.
"""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal, localcontext
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError

_LN2: Final = 0.6931471805599453
_LN2_HIGH: Final = 0.693147180369123816490  # with zeros at its end, so that its products with small integers are exact
_LN2_LOW: Final = 1.90821492927058770002e-10
_TO_UNIT: Final = 2.0**-53
_INVERSE_FACTORIALS: Final = tuple(1.0 / math.factorial(k) for k in range(18))

# Wichura 1988, algorithm AS 241 (Applied Statistics 37(3), 477-484), routine PPND16.
_CENTRE_NUMERATOR: Final = (
    3.3871328727963666080e0,
    1.3314166789178437745e2,
    1.9715909503065514427e3,
    1.3731693765509461125e4,
    4.5921953931549871457e4,
    6.7265770927008700853e4,
    3.3430575583588128105e4,
    2.5090809287301226727e3,
)
_CENTRE_DENOMINATOR: Final = (
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
    2.1213794301586595867e4,
    3.9307895800092710610e4,
    2.8729085735721942674e4,
    5.2264952788528545610e3,
)
_TAIL_NUMERATOR: Final = (
    1.42343711074968357734e0,
    4.63033784615654529590e0,
    5.76949722146069140550e0,
    3.64784832476320460504e0,
    1.27045825245236838258e0,
    2.41780725177450611770e-1,
    2.27238449892691845833e-2,
    7.74545014278341407640e-4,
)
_TAIL_DENOMINATOR: Final = (
    1.0,
    2.05319162663775882187e0,
    1.67638483018380384940e0,
    6.89767334985100004550e-1,
    1.48103976427480074590e-1,
    1.51986665636164571966e-2,
    5.47593808499534494600e-4,
    1.05075007164441684324e-9,
)
_FAR_NUMERATOR: Final = (
    6.65790464350110377720e0,
    5.46378491116411436990e0,
    1.78482653991729133580e0,
    2.96560571828504891230e-1,
    2.65321895265761230930e-2,
    1.24266094738807843860e-3,
    2.71155556874348757815e-5,
    2.01033439929228813265e-7,
)
_FAR_DENOMINATOR: Final = (
    1.0,
    5.99832206555887937690e-1,
    1.36929880922735805310e-1,
    1.48753612908506148525e-2,
    7.86869131145613259100e-4,
    1.84631831751005468180e-5,
    1.42151175831644588870e-7,
    2.04426310338993978564e-15,
)


def key_of(seed: int, *purpose: object) -> np.uint64:
    """Return the key of one purpose: the same for the same seed and words, on every machine.

    Args:
        seed: The seed of the whole network.
        purpose: What the numbers are for, such as "weights" and the name of a projection.
    """
    text = "\0".join([str(seed), *map(str, purpose)])
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


@numba.njit(inline="always", error_model="numpy")
def mix(x: np.uint64) -> np.uint64:
    """Return the hash of one number."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(inline="always", error_model="numpy")
def draw(key: np.uint64, first: int, second: int) -> np.uint64:
    """Return 64 random bits for a key and two counters."""
    return mix(mix(key ^ np.uint64(first)) ^ np.uint64(second))


@numba.njit(inline="always", error_model="numpy")
def uniform(key: np.uint64, first: int, second: int) -> float:
    """Return a number of [0, 1) for a key and two counters, a multiple of 2**-53."""
    return float(draw(key, first, second) >> np.uint64(11)) * _TO_UNIT


@numba.njit(inline="always", error_model="numpy")
def _ratio(numerator: tuple[float, ...], denominator: tuple[float, ...], x: float) -> float:
    above, below = 0.0, 0.0
    for i in range(7, -1, -1):
        above = above * x + numerator[i]
        below = below * x + denominator[i]
    return above / below


@numba.njit(error_model="numpy")
def log(x: float) -> float:
    """Return the natural logarithm of a number > 0, within a few units in the last place."""
    mantissa, exponent = math.frexp(x)
    if mantissa < 0.7071067811865476:
        mantissa *= 2.0
        exponent -= 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    z = s * s
    total = 0.0
    for k in range(23, 0, -2):
        total = total * z + 1.0 / k
    return exponent * _LN2 + 2.0 * s * total


@numba.njit(error_model="numpy")
def exp(x: float) -> float:
    """Return the exponential of a number, within a few units in the last place."""
    if x > 709.782712893384:
        return math.inf
    if x < -745.0:
        return 0.0
    halves = math.floor(x / _LN2 + 0.5)
    rest = (x - halves * _LN2_HIGH) - halves * _LN2_LOW
    total = _INVERSE_FACTORIALS[17]
    for k in range(16, -1, -1):
        total = total * rest + _INVERSE_FACTORIALS[k]
    return math.ldexp(total, int(halves))


@numba.njit(error_model="numpy")
def normal_quantile(p: float) -> float:
    """Return the number below which a standard normal variable lies with probability p, 0 < p < 1."""
    q = p - 0.5
    if abs(q) <= 0.425:
        return q * _ratio(_CENTRE_NUMERATOR, _CENTRE_DENOMINATOR, 0.180625 - q * q)
    r = math.sqrt(-log(p if q < 0.0 else 1.0 - p))
    if r <= 5.0:
        value = _ratio(_TAIL_NUMERATOR, _TAIL_DENOMINATOR, r - 1.6)
    else:
        value = _ratio(_FAR_NUMERATOR, _FAR_DENOMINATOR, r - 5.0)
    return -value if q < 0.0 else value


@numba.njit(error_model="numpy")
def normal(key: np.uint64, first: int, second: int) -> float:
    """Return a standard normal number for a key and two counters, at most 8.3 from 0."""
    # an odd multiple of 2**-53, which is neither 0 nor 1
    return normal_quantile((float(draw(key, first, second) >> np.uint64(12)) + 0.5) * 2.0 * _TO_UNIT)


def decay(dt_ms: float, tau_ms: float) -> float:
    """Return exp(-dt / tau), correctly rounded and therefore the same on every machine.

    Raises:
        ModelError: The time constant is not positive, or one of the two is not finite.
    """
    if not (math.isfinite(dt_ms) and math.isfinite(tau_ms) and tau_ms > 0):
        raise ModelError(f"a time constant must be positive, and a step finite; got {tau_ms} ms and {dt_ms} ms")
    with localcontext() as context:
        context.prec = 40
        return float((-Decimal(dt_ms) / Decimal(tau_ms)).exp())


def poisson_thresholds(mean: float) -> NDArray[np.uint64]:
    """Return the thresholds of `poisson_count` for a mean count.

    Raises:
        ModelError: The mean is negative, or too large for a count within one step.
    """
    if not 0.0 <= mean <= MAX_MEAN_COUNT:
        raise ModelError(f"a Poisson source has a mean of 0 to {MAX_MEAN_COUNT:g} events in a step, got {mean}")
    with localcontext() as context:
        context.prec = 60
        rate = Decimal(mean)
        term = (-rate).exp()
        thresholds: list[int] = []
        total, count = Decimal(0), 0
        scale = Decimal(1 << 64)
        while True:
            total += term
            threshold = int(total * scale)
            if threshold >= (1 << 64) - 1 or len(thresholds) > 4 * MAX_MEAN_COUNT:
                break
            thresholds.append(threshold)
            count += 1
            term = term * rate / count
    return np.array(thresholds, np.uint64)


def poisson_table(mean: float) -> NDArray[np.uint64]:
    """Return the table of `poisson_count` for a mean count: a guide, and `poisson_thresholds`.

    The guide has the number of thresholds that all bits with a certain beginning reach, so that the search begins
    where it nearly ends: for a mean of 8 it takes one comparison in place of nine.

    Raises:
        ModelError: As `poisson_thresholds`.
    """
    thresholds = poisson_thresholds(mean)
    beginnings = np.arange(_GUIDE, dtype=np.uint64) << np.uint64(64 - _GUIDE_BITS)
    guide = np.searchsorted(thresholds, beginnings, side="right").astype(np.uint64)
    return np.concatenate([guide, thresholds])


MAX_MEAN_COUNT: Final = 100.0
_GUIDE_BITS: Final = 8
_GUIDE: Final = 1 << _GUIDE_BITS


@numba.njit(inline="always", error_model="numpy")
def poisson_count(bits: np.uint64, table: NDArray[np.uint64]) -> np.int64:
    """Return the Poisson count that belongs to 64 random bits: how many thresholds of a table they reach."""
    count = np.int64(table[bits >> np.uint64(64 - _GUIDE_BITS)])
    while count < table.size - _GUIDE and bits >= table[_GUIDE + count]:
        count += 1
    return count

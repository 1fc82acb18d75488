"""Weights and delays as they are written in a rule: a number, or a distribution that each synapse draws from."""

from __future__ import annotations

import math
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

FIXED: Final = 0
NORMAL: Final = 1
LOGNORMAL: Final = 2
UNIFORM: Final = 3

_FARTHEST: Final = 8.3
"""No normal number of `brainnet.simulation.random` lies farther from the mean, in standard deviations."""
_USUAL: Final = 3.3
"""All but one of a thousand normal numbers lie nearer to the mean."""
_LAST_BITS: Final = 1e-12


class Drawn(BaseModel):
    """A value that each synapse draws: exactly one of `normal`, `lognormal` and `uniform`.

    Normal numbers are cut at zero on the side of their mean: those of a positive mean are at least 0, those of a
    negative one at most 0, so that the sign of a weight is certain. With a mean of 0 they are not cut.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    normal: tuple[Finite, NotNegative] | None = Field(
        None, description="mean and standard deviation; cut at zero on the side of the mean"
    )
    lognormal: tuple[Finite, NotNegative] | None = Field(
        None, description="mean and standard deviation of the logarithm, mu and sigma"
    )
    uniform: tuple[Finite, Finite] | None = Field(None, description="lowest and highest value")
    factor: Finite = Field(1.0, description="what is drawn is multiplied by it: negative for inhibitory weights")

    @model_validator(mode="after")
    def _one_of_them(self) -> Drawn:
        if sum(given is not None for given in (self.normal, self.lognormal, self.uniform)) != 1:
            raise ValueError("needs exactly one of normal: [mean, sd], lognormal: [mu, sigma] and uniform: [low, high]")
        if self.uniform is not None and self.uniform[0] > self.uniform[1]:
            raise ValueError("uniform: the lowest value comes first")
        return self

    def constants(self) -> tuple[int, float, float, float]:
        """Return the kind, its two parameters and the factor, as the kernels take them."""
        if self.normal is not None:
            return NORMAL, *self.normal, self.factor
        if self.lognormal is not None:
            return LOGNORMAL, *self.lognormal, self.factor
        assert self.uniform is not None
        return UNIFORM, *self.uniform, self.factor

    def bounds(self) -> tuple[float, float]:
        """Return numbers below and above which nothing can be drawn."""
        return self._between(-_FARTHEST, _FARTHEST)

    def usual(self) -> tuple[float, float]:
        """Return numbers between which all but one of a thousand values lie."""
        return self._between(-_USUAL, _USUAL)

    def median(self) -> float:
        """Return the value that half of what is drawn exceeds."""
        return self._between(0.0, 0.0)[0]

    def largest(self) -> float:
        """Return a bound of the absolute value of what can be drawn."""
        return max(map(abs, self.bounds()))

    def _between(self, low: float, high: float) -> tuple[float, float]:
        """Return the values that belong to two standard normal numbers; of a uniform value, its ends or its middle."""
        kind, first, second, factor = self.constants()
        if kind == UNIFORM:
            middle = 0.5 * first + 0.5 * second
            ends = (first, second) if low < high else (middle, middle)
        elif kind == NORMAL:
            ends = (first + low * second, first + high * second)
            if first > 0:
                ends = (max(0.0, ends[0]), ends[1])
            elif first < 0:
                ends = (ends[0], min(0.0, ends[1]))
        else:
            # the logarithm of the network and that of this machine may differ in the last bit
            ends = (_exp(first + low * second) * (1 - _LAST_BITS), _exp(first + high * second) * (1 + _LAST_BITS))
        a, b = ends[0] * factor, ends[1] * factor
        return min(a, b), max(a, b)


def _exp(exponent: float) -> float:
    return math.exp(exponent) if exponent < 700 else math.inf


Value = Finite | Drawn
"""A number, or `{normal: [mean, sd]}`, `{lognormal: [mu, sigma]}` or `{uniform: [low, high]}`."""


def constants(value: float | Drawn) -> tuple[int, float, float, float]:
    """Return the kind, two parameters and a factor of any value, as the kernels take them."""
    return value.constants() if isinstance(value, Drawn) else (FIXED, value, 0.0, 1.0)

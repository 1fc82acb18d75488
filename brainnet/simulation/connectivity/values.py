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

    def largest(self) -> float:
        """Return a bound of the absolute value of what can be drawn."""
        kind, first, second, factor = self.constants()
        if kind == UNIFORM:
            return max(abs(first), abs(second)) * abs(factor)
        if kind == NORMAL:
            return (abs(first) + _FARTHEST * second) * abs(factor)
        exponent = first + _FARTHEST * second
        return math.exp(exponent) * abs(factor) if exponent < 700 else math.inf


Value = Finite | Drawn
"""A number, or `{normal: [mean, sd]}`, `{lognormal: [mu, sigma]}` or `{uniform: [low, high]}`."""


def constants(value: float | Drawn) -> tuple[int, float, float, float]:
    """Return the kind, two parameters and a factor of any value, as the kernels take them."""
    return value.constants() if isinstance(value, Drawn) else (FIXED, value, 0.0, 1.0)

"""Weights as whole numbers, so that the sum of many does not depend on their order."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError

UNIT: Final = 1 << 16
"""A weight of 1 (mV, pA, or whatever the model's unit is) as a fixed-point number."""
MAX_WEIGHT: Final = (2**31 - 1) / UNIT
"""The largest weight, about 32,768."""


def to_fixed(weights: Any) -> NDArray[np.int32]:
    """Return weights as fixed-point numbers, rounded to the nearest, halves upwards.

    Raises:
        ModelError: A weight is not finite, or larger than `MAX_WEIGHT`.
    """
    values = np.asarray(weights, np.float64)
    if not np.isfinite(values).all():
        raise ModelError("a weight is not a finite number")
    if values.size and float(np.abs(values).max()) > MAX_WEIGHT:
        raise ModelError(
            f"a weight of {float(np.abs(values).max()):g} does not fit; at most {MAX_WEIGHT:g} is possible"
        )
    return np.floor(values * UNIT + 0.5).astype(np.int32)


def from_fixed(weights: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return fixed-point numbers as floating-point ones, without an error."""
    return weights.astype(np.float64) / UNIT

"""Exponentials of whole steps, from tables that are made by multiplication alone: the same on every machine."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.snn.kernels import compiled

TABLE: Final = 1 << 14
"""Steps up to which the decay of a trace is looked up; after them a trace counts as zero."""
_BITS: Final = 62


def powers(base: float, count: int = TABLE) -> NDArray[np.float64]:
    """Return base**0, base**1, ..., as many as `count`."""
    return np.multiply.accumulate(np.concatenate([[1.0], np.full(count - 1, base)]))


def squares(base: float) -> NDArray[np.float64]:
    """Return base**1, base**2, base**4, ..., of which `power` is made.

    For time constants of seconds in steps of a tenth of a millisecond, a table of all powers would be too long.
    """
    found = [base]
    for _ in range(_BITS - 1):
        found.append(found[-1] * found[-1])
    return np.array(found)


@compiled
def power(steps, table):  # type: ignore[no-untyped-def]
    """Return a base to a power of at least 0, from its `squares`."""
    result = 1.0
    bit = 0
    while steps:
        if steps & 1:
            result *= table[bit]
        steps >>= 1
        bit += 1
    return result


@compiled
def trace(value, steps, table):  # type: ignore[no-untyped-def]
    """Return what is left of a trace after some steps, 0 or more."""
    # An unsigned number: for others Numba asks of each whether it counts from the end of the array.
    return value * table[np.uint64(steps)] if steps < table.size else 0.0

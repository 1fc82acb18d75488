"""Compiled drawing of weights and delays."""

from __future__ import annotations

import numba
import numpy as np

from brainnet.simulation.connectivity.values import LOGNORMAL, NORMAL, UNIFORM
from brainnet.simulation.random import exp, normal, uniform
from brainnet.snn.kernels import compiled


@numba.njit(error_model="numpy")
def drawn(kind, first, second, factor, key, row, index):  # type: ignore[no-untyped-def]
    """Return the value of one synapse: a number, or one drawn with the key and two counters."""
    value = first
    if kind == NORMAL:
        value = first + second * normal(key, row, index)
        if (first > 0.0 and value < 0.0) or (first < 0.0 and value > 0.0):
            value = 0.0
    elif kind == LOGNORMAL:
        value = exp(first + second * normal(key, row, index))
    elif kind == UNIFORM:
        value = first + (second - first) * uniform(key, row, index)
    return value * factor


@compiled
def fill(  # type: ignore[no-untyped-def]
    start, targets, low, kind, first, second, factor, unit, least, most, key, values
):
    """Draw a value for each synapse of rows, in whole multiples of `unit`, and at least `least`.

    The counters are the source and the target, the latter with the number of earlier synapses between the same two in
    its upper half: they do not depend on which part of the targets is made.

    Returns:
        The largest absolute value above `most`, in multiples of `unit`, or 0. Only with 0 may `values` be used.
    """
    worst = 0.0
    for i in range(start.size - 1):
        before, again = np.int64(-1), 0
        for k in range(start[i], start[i + 1]):
            target = np.int64(targets[k])
            again = again + 1 if target == before else 0
            before = target
            counter = (target + low) | (again << 32)
            value = np.floor(drawn(kind, first, second, factor, key, i, counter) / unit + 0.5)
            if abs(value) <= most:
                values[k] = np.int32(max(value, least))
            else:
                values[k] = 0
                worst = np.inf if np.isnan(value) else max(worst, abs(value))
    return worst

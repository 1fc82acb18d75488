"""The mask of ChronoSpikeAttention (`brainnet.snn.layers.attention`) in numpy, for models that run outside torch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["chrono_mask", "default_tau"]


def default_tau(steps: int) -> float:
    """Return a quarter of the steps: an eighth favours recent steps, a half favours long context."""
    return steps / 4


@lru_cache(maxsize=8)
def chrono_mask(steps: int, length: int, tau: float, causal_positions: bool) -> NDArray[np.float32]:
    """Return the mask M over the joint axis of (step, position) pairs: float32 [T * L, T * L], query rows, key columns.

    The result is cached; callers must not write to it.
    """
    lag = np.subtract.outer(np.arange(steps), np.arange(steps))
    in_time = np.where(lag >= 0, np.exp(-np.maximum(lag, 0) / tau), 0.0).astype(np.float32)
    in_place = np.ones((length, length), np.float32)
    if causal_positions:
        in_place = np.tril(in_place)
    # (step, position) pairs are flattened with the step first, as the Kronecker product orders them
    mask: NDArray[np.float32] = np.kron(in_time, in_place)
    return mask

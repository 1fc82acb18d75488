r"""Leaky integrate-and-fire neurons in integers, for devices without floating point: the same bits everywhere.

$$
\begin{aligned}
V &\leftarrow \operatorname{clamp}(\lfloor V \cdot \text{leak} / 256 \rfloor + I,\ -32768,\ 32767) \\
s &= 1 \text{ if } V \ge \theta \text{ else } 0, \qquad V \leftarrow V_\text{reset} \text{ where } s = 1
\end{aligned}
$$

The membrane potential V is int16 and the arithmetic int32. Division rounds toward minus infinity, as an arithmetic
shift by 8 bits does, so a negative potential decays to -1 and stays there. The default leak of 230/256 is a decay of
about 0.9 a step. No region of this project uses the neuron; it is here for hardware without floating point.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import int32
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.snn.kernels import compiled
from brainnet.snn.workspace import parallel_over_columns

_LOW, _HIGH = -32768, 32767
# V after the leak is in int16. A current beyond this bound clamps V to the same end as the bound itself.
_CURRENT_BOUND = _HIGH - _LOW


class IntegerLIFParams(NamedTuple):
    """Constants of the neurons.

    Attributes:
        leak: in 256ths per step, 0 to 256.
        threshold: in units of V, within int16.
        reset: in units of V, within int16.
    """

    leak: int = 230
    threshold: int = 1024
    reset: int = 0


class IntegerLIFState(NamedTuple):
    """The membrane potential int16 after the last step, of the shape of one step."""

    membrane: NDArray[np.int16]


def integer_lif_sequence(
    currents: NDArray[np.integer[Any]], state: IntegerLIFState | None, params: IntegerLIFParams | None = None
) -> tuple[NDArray[np.uint8], IntegerLIFState]:
    """Return the spikes uint8 [T, ...] (0/1) of neurons under integer `currents` [T, ...], and the state after step T.

    The result equals the equation in unbounded integers for all currents of all integer types. Two halves with the
    state carried over give the same result as the whole. Uses torch's number of threads.

    Args:
        currents: [T, ...], any integer type.
        state: the state before the first step; None for V = 0.
        params: the constants.

    Raises:
        ModelError: an empty sequence, a type or shape that does not fit, or constants out of range.
    """
    params = params or IntegerLIFParams()
    membrane = _initial_membrane(currents, state, params)
    steps = currents.shape[0]
    flat = np.ascontiguousarray(_as_int32(currents)).reshape(steps, -1)
    spikes, after = np.empty(flat.shape, np.uint8), membrane.copy().reshape(-1)
    constants = (np.int32(params.leak), np.int32(params.threshold), np.int32(params.reset))
    parallel_over_columns(_integrate, torch.get_num_threads(), *flat.shape, flat, after, *constants, spikes)
    return spikes.reshape(currents.shape), IntegerLIFState(after.reshape(membrane.shape))


def _as_int32(currents: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Return the currents in int32, clipped to `_CURRENT_BOUND`, which has the same effect in the kernel."""
    if not np.can_cast(currents.dtype, np.int32):
        lowest = 0 if currents.dtype.kind == "u" else -_CURRENT_BOUND
        currents = np.clip(currents, lowest, _CURRENT_BOUND)
    return currents.astype(np.int32, copy=False)


def _initial_membrane(
    currents: NDArray[Any], state: IntegerLIFState | None, params: IntegerLIFParams
) -> NDArray[np.int16]:
    if not isinstance(currents, np.ndarray) or not np.issubdtype(currents.dtype, np.integer):
        actual = getattr(currents, "dtype", type(currents).__name__)
        raise ModelError(f"currents must be a numpy array of an integer type, not {actual}")
    if currents.ndim == 0 or currents.shape[0] == 0:
        raise ModelError(f"currents must be [steps, ...] with at least one step, not of shape {currents.shape}")
    bounds = {"leak": (0, 256), "threshold": (_LOW, _HIGH), "reset": (_LOW, _HIGH)}
    for name, (low, high) in bounds.items():
        value = getattr(params, name)
        if not isinstance(value, int | np.integer) or not low <= value <= high:
            raise ModelError(f"{name} must be an integer from {low} to {high}, not {value}")
    membrane = np.zeros(currents.shape[1:], np.int16) if state is None else state.membrane
    if membrane.dtype != np.int16 or membrane.shape != currents.shape[1:]:
        raise ModelError(
            f"state is {membrane.dtype} of shape {membrane.shape}; one step of the currents is of shape "
            f"{currents.shape[1:]} and needs int16"
        )
    return membrane


@compiled
def _integrate(
    currents: NDArray[np.int32],
    membrane: NDArray[np.int16],
    leak: np.int32,
    threshold: np.int32,
    reset: np.int32,
    spikes: NDArray[np.uint8],
    first: int,
    last: int,
) -> None:
    """Integrate columns `first` to `last` of `currents` [T, M]; `membrane` [M] is read and overwritten."""
    potential = membrane[first:last].astype(np.int32)
    for t in range(currents.shape[0]):
        x = currents[t, first:last]
        s = spikes[t, first:last]
        for i in range(potential.size):
            # Numba computes sums in int64; the conversions to int32 let the loop vectorise at full width
            current = int32(min(max(x[i], int32(-_CURRENT_BOUND)), int32(_CURRENT_BOUND)))
            # >> on a signed integer is floor division by a power of two
            v = int32(int32(int32(potential[i] * leak) >> int32(8)) + current)
            v = min(max(v, int32(_LOW)), int32(_HIGH))
            fired = v >= threshold
            s[i] = fired
            potential[i] = reset if fired else v
    membrane[first:last] = potential

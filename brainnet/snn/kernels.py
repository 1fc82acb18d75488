"""Compiled CPU kernels (Numba) of the sequence operations in this package.

All arrays are float32, C-contiguous, time first. A kernel loops over blocks of columns, and over time inside a block,
so that the state of a block stays in the first-level cache. The LIF kernels add in the same order as the torch
references, so that spikes are equal bit by bit.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from brainnet.snn.kernel_cache import Kernel, cached

FloatArray = NDArray[np.float32]

# Columns per block. 512 float32 are 2 KiB per array: the few arrays of a scan stay in a first-level cache of 32 KiB.
_BLOCK = 512
# lif_forward holds only two rows of potentials, so its blocks can be wider, with fewer loop starts per step.
_WIDE_BLOCK = 4096
# lif_backward holds the potentials of all steps of a block; 2^17 float32 are 512 KiB, a second-level cache.
_NARROW_BLOCK = 64
_CACHED_FLOATS = 1 << 17
_ZERO = np.float32(0)
_ONE = np.float32(1)


def compiled(function: Kernel) -> Kernel:
    """Compile on first call, release the GIL while running, and store the machine code in Numba's cache folder.

    Division by zero gives infinity or NaN, as in numpy; a test for it would prevent vectorisation.
    """
    return cached(function, nogil=True, error_model="numpy")


def compiled_fastmath(function: Kernel) -> Kernel:
    """Compile like `compiled`, with fastmath: for kernels in which no spike depends on the last bit."""
    return cached(function, nogil=True, error_model="numpy", fastmath=True)


def prepare() -> None:
    """Let Numba read its tables of types and functions, as it does before it loads or compiles the first kernel.

    It needs about 0.3 s for that. A process that forks others does it once for all of them.
    """
    _nothing()


@compiled
def _nothing() -> None:
    pass


@numba.njit(inline="always", error_model="numpy")
def _integrate_step(
    previous: FloatArray,
    x: FloatArray,
    b: FloatArray,
    threshold: np.float32,
    subtracted: np.float32,
    zeroed: np.float32,
    u: FloatArray,
) -> None:
    # one formula for all three resets: `subtracted` and `zeroed` select them without a branch in the loop
    for i in range(u.size):
        fired = _ONE if previous[i] > threshold else _ZERO
        u[i] = b[i] * (previous[i] * (_ONE - zeroed * fired)) + x[i] - subtracted * fired


@compiled
def lif_forward(
    currents: FloatArray,
    membrane: FloatArray,
    beta: FloatArray,
    threshold: np.float32,
    subtracted: np.float32,
    zeroed: np.float32,
    spikes: FloatArray,
    after: FloatArray,
    first: int,
    last: int,
) -> None:
    """Integrate columns `first` to `last` of `currents` [T, M] from `membrane` [M].

    Fills `spikes` [T, M] and `after` [M], the potential after the last step.
    """
    steps = currents.shape[0]
    potentials = np.empty((2, _WIDE_BLOCK), np.float32)
    for start in range(first, last, _WIDE_BLOCK):
        stop = min(last, start + _WIDE_BLOCK)
        b = beta[start:stop]
        u = membrane[start:stop]
        for t in range(steps):
            # two rows in turn, so that the caller's `membrane` is never written to
            previous, u = u, potentials[t % 2, : stop - start]
            _integrate_step(previous, currents[t, start:stop], b, threshold, subtracted, zeroed, u)
            s = spikes[t, start:stop]
            # each loop writes one array: with more, LLVM cannot prove that they do not overlap and does not vectorise
            for i in range(stop - start):
                s[i] = _ONE if u[i] > threshold else _ZERO
        after[start:stop] = u


@compiled
def lif_backward(
    grad_spikes: FloatArray,
    grad_last: FloatArray,
    currents: FloatArray,
    membrane: FloatArray,
    beta: FloatArray,
    threshold: np.float32,
    subtracted: np.float32,
    zeroed: np.float32,
    alpha: np.float32,
    beta_learns: bool,
    grad_currents: FloatArray,
    grad_membrane: FloatArray,
    grad_beta: FloatArray,
    first: int,
    last: int,
) -> None:
    """Back-propagate columns `first` to `last` through time with the arctangent surrogate.

    No gradient passes through the reset. Adds to `grad_beta`, and only if `beta_learns`. The potentials are integrated
    again, block by block in the cache: that is faster than writing all of them to memory and reading them back.
    """
    steps = currents.shape[0]
    width = max(_NARROW_BLOCK, min(_BLOCK, _CACHED_FLOATS // steps))
    trace = np.empty((steps, width), np.float32)
    # surrogate of brainnet.snn.neurons.surrogate: (alpha / 2) / (1 + (pi / 2 alpha x)^2)
    scale = alpha / np.float32(2)
    slope = np.float32(np.pi) * scale
    for start in range(first, last, width):
        stop = min(last, start + width)
        b = beta[start:stop]
        # recompute the potentials of this block
        for t in range(steps):
            previous = trace[t - 1, : stop - start] if t > 0 else membrane[start:stop]
            u = trace[t, : stop - start]
            _integrate_step(previous, currents[t, start:stop], b, threshold, subtracted, zeroed, u)
        carried = grad_membrane[start:stop]
        carried[:] = grad_last[start:stop]
        gb = grad_beta[start:stop]
        for t in range(steps - 1, -1, -1):
            u = trace[t, : stop - start]
            previous = trace[t - 1, : stop - start] if t > 0 else membrane[start:stop]
            gs = grad_spikes[t, start:stop]
            gx = grad_currents[t, start:stop]
            for i in range(stop - start):
                over = slope * (u[i] - threshold)
                gx[i] = gs[i] * scale / (_ONE + over * over) + carried[i]
            # gx is d loss / d u[t], since u[t] contains the current; separate loops, so that each vectorises
            if beta_learns:
                for i in range(stop - start):
                    gb[i] += gx[i] * previous[i] * (_ONE - zeroed * (_ONE if previous[i] > threshold else _ZERO))
            for i in range(stop - start):
                carried[i] = b[i] * (_ONE - zeroed * (_ONE if previous[i] > threshold else _ZERO)) * gx[i]


@compiled
def scan_forward(forget: FloatArray, value: FloatArray, state: FloatArray, hidden: FloatArray) -> None:
    """Compute `hidden[t] = forget[t] * hidden[t-1] + (1 - forget[t]) * value[t]` [T, M] with `hidden[-1] = state`."""
    steps, columns = forget.shape
    for start in range(0, columns, _BLOCK):
        stop = min(columns, start + _BLOCK)
        for t in range(steps):
            previous = hidden[t - 1, start:stop] if t > 0 else state[start:stop]
            f = forget[t, start:stop]
            v = value[t, start:stop]
            h = hidden[t, start:stop]
            for i in range(stop - start):
                h[i] = f[i] * previous[i] + (_ONE - f[i]) * v[i]


@compiled
def scan_backward(
    grad_hidden: FloatArray,
    grad_last: FloatArray,
    forget: FloatArray,
    value: FloatArray,
    state: FloatArray,
    hidden: FloatArray,
    grad_forget: FloatArray,
    grad_value: FloatArray,
    grad_state: FloatArray,
) -> None:
    """Compute the gradients of `scan_forward`; `grad_last` [M] is that of the last hidden state as an output."""
    steps, columns = forget.shape
    for start in range(0, columns, _BLOCK):
        stop = min(columns, start + _BLOCK)
        carried = grad_state[start:stop]
        carried[:] = grad_last[start:stop]
        for t in range(steps - 1, -1, -1):
            previous = hidden[t - 1, start:stop] if t > 0 else state[start:stop]
            f = forget[t, start:stop]
            v = value[t, start:stop]
            gh = grad_hidden[t, start:stop]
            gf = grad_forget[t, start:stop]
            gv = grad_value[t, start:stop]
            for i in range(stop - start):
                g = gh[i] + carried[i]
                gf[i] = g * (previous[i] - v[i])
                gv[i] = g * (_ONE - f[i])
                carried[i] = g * f[i]


@compiled_fastmath
def norm_forward(x: FloatArray, gain: FloatArray, epsilon: float, result: FloatArray, scale: FloatArray) -> None:
    """Divide each row of `x` [R, C] by its root mean square and multiply by `gain` [C]; `scale` [R] = 1 / RMS."""
    rows, columns = x.shape
    for r in range(rows):
        total = _ZERO
        for c in range(columns):
            total += x[r, c] * x[r, c]
        scale[r] = _ONE / np.sqrt(total / np.float32(columns) + np.float32(epsilon))
        for c in range(columns):
            result[r, c] = x[r, c] * scale[r] * gain[c]


@compiled_fastmath
def norm_backward(
    grad: FloatArray,
    x: FloatArray,
    gain: FloatArray,
    scale: FloatArray,
    grad_x: FloatArray,
    grad_gain: FloatArray,
) -> None:
    """Compute the gradients of `norm_forward`; adds to `grad_gain` [C]."""
    rows, columns = x.shape
    for r in range(rows):
        # the part of the gradient along x, which the normalisation removes
        along = _ZERO
        for c in range(columns):
            along += grad[r, c] * gain[c] * x[r, c]
            grad_gain[c] += grad[r, c] * x[r, c] * scale[r]
        along *= scale[r] * scale[r] / np.float32(columns)
        for c in range(columns):
            grad_x[r, c] = scale[r] * (grad[r, c] * gain[c] - x[r, c] * along)

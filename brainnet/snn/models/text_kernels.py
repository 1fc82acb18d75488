"""Compiled CPU kernels (Numba) of the text model: normalisation fused with the operation that follows it.

All arrays are float32, C-contiguous, time first. A kernel processes one stream (text) after the other through time, so
that the state of a stream stays in the first-level cache, and normalisation needs no extra pass over memory. Gradients
of parameters are returned per stream [B, C]; the caller adds them up.
"""

from __future__ import annotations

import numba
import numpy as np

from brainnet.snn.kernels import FloatArray, compiled_fastmath

_ZERO = np.float32(0)
_ONE = np.float32(1)
_HALF = np.float32(0.5)
_LOG2_E = np.float32(1.4426950408889634)
# ln 2 in two parts (Cody and Waite): the first has few bits, so that n times it is exact
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
# beyond these, n + 127 leaves the range of float32's exponent bits
_LOWEST, _HIGHEST = np.float32(-87), np.float32(87)
_TAYLOR = tuple(np.float32(1 / f) for f in (5040, 720, 120, 24, 6, 2))
# the arctangent surrogate with alpha 2 is 1 / (1 + (pi x)^2)
_SLOPE = np.float32(np.pi)


@numba.njit(inline="always", fastmath=True, error_model="numpy")
def exponential(x: np.float32) -> np.float32:
    """Return e^x to about one unit in the last place for |x| <= 87, and clamped beyond.

    x = n ln 2 + r; a Taylor polynomial of r, and n added to the exponent bits. There are no branches and no call of the
    math library, so that loops vectorise.
    """
    x = min(max(x, _LOWEST), _HIGHEST)
    n = np.floor(x * _LOG2_E + _HALF)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    # Horner's scheme, written out, so that vectorising does not depend on the compiler unrolling a loop
    p = _TAYLOR[0]
    p = p * r + _TAYLOR[1]
    p = p * r + _TAYLOR[2]
    p = p * r + _TAYLOR[3]
    p = p * r + _TAYLOR[4]
    p = p * r + _TAYLOR[5]
    p = (p * r + _ONE) * r + _ONE
    # 2^n: float32 stores the exponent plus 127 from bit 23 on
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(inline="always", fastmath=True, error_model="numpy")
def logistic(x: np.float32) -> np.float32:
    """Return 1 / (1 + e^-x)."""
    return _ONE / (_ONE + exponential(-x))


@numba.njit(inline="always", fastmath=True, error_model="numpy")
def inverse_rms(row: FloatArray, epsilon: np.float32) -> np.float32:
    """Return 1 / RMS of a row."""
    total = _ZERO
    for i in range(row.size):
        total += row[i] * row[i]
    return _ONE / np.sqrt(total / np.float32(row.size) + epsilon)


@numba.njit(inline="always", fastmath=True, error_model="numpy")
def _integrate(
    previous: FloatArray,
    x: FloatArray,
    scale: np.float32,
    gain: FloatArray,
    bias: FloatArray,
    beta: FloatArray,
    u: FloatArray,
) -> None:
    channels = x.size
    for i in range(u.size):
        u[i] = beta[i] * previous[i] + bias[i] - (_ONE if previous[i] > _ONE else _ZERO)
    # slices, because Numba wraps negative indices: for an index that is a sum it adds a test, which blocks vectorising
    for p in range(0, u.size, channels):
        part, gains = u[p : p + channels], gain[p : p + channels]
        for i in range(channels):
            part[i] += x[i] * scale * gains[i]


@numba.njit(inline="always", fastmath=True, error_model="numpy")
def grad_gain_step(
    current: FloatArray, row: FloatArray, scale: np.float32, gain: FloatArray, grad_gain: FloatArray, normal: FloatArray
) -> None:
    """Compute gradients of gains (added to `grad_gain`) and of normalised channels from those of currents.

    `normal` [C] is filled with the gradient of the normalised channels.
    """
    channels = row.size
    normal[:] = _ZERO
    for p in range(0, gain.size, channels):
        currents, gains, grad_gains = current[p : p + channels], gain[p : p + channels], grad_gain[p : p + channels]
        for i in range(channels):
            grad_gains[i] += currents[i] * row[i] * scale
        for i in range(channels):
            normal[i] += currents[i] * gains[i]


@numba.njit(inline="always", fastmath=True, error_model="numpy")
def grad_rms_norm(normal: FloatArray, row: FloatArray, scale: np.float32, grad: FloatArray) -> None:
    """Fill `grad` with the gradient of a row that was normalised by `scale`, given that of the result."""
    # the component along the row, which the normalisation removes
    along = _ZERO
    for i in range(row.size):
        along += normal[i] * row[i]
    along *= scale * scale / np.float32(row.size)
    for i in range(row.size):
        grad[i] = scale * (normal[i] - row[i] * along)


@compiled_fastmath
def neurons_forward(
    x: FloatArray,
    gain: FloatArray,
    bias: FloatArray,
    beta: FloatArray,
    membrane: FloatArray,
    epsilon: np.float32,
    spikes: FloatArray,
    after: FloatArray,
) -> None:
    """Run LIF neurons (threshold 1, reset by subtraction) on the RMS-normalised rows of `x` [T, B, C].

    They start from `membrane` [B, N]. N is a multiple of C: neuron i sees channel i modulo C. Fills `spikes` [T, B, N]
    and `after` [B, N], the potentials after the last step.
    """
    steps, streams, _ = x.shape
    count = gain.size
    potentials = np.empty((2, count), np.float32)
    # streams outside, time inside: the potentials of one stream stay in the cache over all steps
    for b in range(streams):
        u = membrane[b]
        for t in range(steps):
            row = x[t, b]
            # two rows in turn, so that the caller's `membrane` is never written to
            previous, u = u, potentials[t % 2]
            _integrate(previous, row, inverse_rms(row, epsilon), gain, bias, beta, u)
            s = spikes[t, b]
            for i in range(count):
                s[i] = _ONE if u[i] > _ONE else _ZERO
        after[b] = u


@compiled_fastmath
def neurons_backward(
    grad_spikes: FloatArray,
    grad_after: FloatArray,
    x: FloatArray,
    gain: FloatArray,
    bias: FloatArray,
    beta: FloatArray,
    membrane: FloatArray,
    spike_cost: np.float32,
    epsilon: np.float32,
    grad_x: FloatArray,
    grad_gain: FloatArray,
    grad_bias: FloatArray,
    grad_beta: FloatArray,
    grad_membrane: FloatArray,
) -> None:
    """Compute the gradients of `neurons_forward` with the arctangent surrogate; fills the last five arrays.

    No gradient passes through the reset. `spike_cost` is added to the gradient of every spike.
    """
    steps, streams, channels = x.shape
    count = gain.size
    trace = np.empty((steps + 1, count), np.float32)
    scales = np.empty(steps, np.float32)
    current = np.empty(count, np.float32)
    normal = np.empty(channels, np.float32)
    for b in range(streams):
        # recompute the potentials of this stream instead of storing those of all streams in the forward pass
        trace[0] = membrane[b]
        for t in range(steps):
            scales[t] = inverse_rms(x[t, b], epsilon)
            _integrate(trace[t], x[t, b], scales[t], gain, bias, beta, trace[t + 1])
        # `carried` is d loss / d u[t] from the later steps; it ends as the gradient of the initial membrane
        carried, gg, gbias, gbeta = grad_membrane[b], grad_gain[b], grad_bias[b], grad_beta[b]
        carried[:] = grad_after[b]
        gg[:] = _ZERO
        gbias[:] = _ZERO
        gbeta[:] = _ZERO
        for t in range(steps - 1, -1, -1):
            u, previous, gs, row, gx = trace[t + 1], trace[t], grad_spikes[t, b], x[t, b], grad_x[t, b]
            scale = scales[t]
            for i in range(count):
                # the cost of a spike enters like a term of the loss, before the surrogate
                over = _SLOPE * (u[i] - _ONE)
                current[i] = (gs[i] + spike_cost) / (_ONE + over * over) + carried[i]
            # one array written per loop: with more, LLVM cannot prove that they do not overlap
            for i in range(count):
                gbeta[i] += current[i] * previous[i]
            for i in range(count):
                carried[i] = beta[i] * current[i]
            for i in range(count):
                gbias[i] += current[i]
            grad_gain_step(current, row, scale, gain, gg, normal)
            grad_rms_norm(normal, row, scale, gx)


@numba.njit(inline="always", fastmath=True, error_model="numpy")
def _recurrent_step(
    projected: FloatArray, bias: FloatArray, previous: FloatArray, forget: FloatArray, hidden: FloatArray
) -> None:
    columns = hidden.size
    value = projected[columns : 2 * columns]
    # the gate in a loop of its own, which vectorises; `forget` is needed again in the backward pass
    for i in range(columns):
        forget[i] = logistic(projected[i] + bias[i])
    for i in range(columns):
        hidden[i] = forget[i] * previous[i] + (_ONE - forget[i]) * value[i]


@numba.njit(inline="always", fastmath=True, error_model="numpy")
def _grad_gate_step(
    grad: FloatArray, gate: FloatArray, sigmoid: FloatArray, grad_normal: FloatArray, grad_gate: FloatArray
) -> None:
    """Compute gradients of normal * SiLU(gate).

    Fills `grad_normal`, and `grad_gate` without its factor normal, which the caller multiplies.
    """
    for i in range(gate.size):
        sigmoid[i] = logistic(gate[i])
    for i in range(gate.size):
        grad_normal[i] = grad[i] * gate[i] * sigmoid[i]
    for i in range(gate.size):
        grad_gate[i] = grad[i] * sigmoid[i] * (_ONE + gate[i] * (_ONE - sigmoid[i]))


@compiled_fastmath
def recurrence_forward(
    projected: FloatArray,
    bias: FloatArray,
    gain: FloatArray,
    hidden: FloatArray,
    epsilon: np.float32,
    result: FloatArray,
    after: FloatArray,
) -> None:
    """Run a gated recurrence whose hidden state is normalised and multiplied by a SiLU gate.

    `projected` [T, B, 3 C] holds forget gate, value and output gate. The recurrence starts from `hidden` [B, C]. Fills
    `result` [T, B, C], and `after` [B, C] with the last hidden state.
    """
    steps, streams, columns = result.shape
    states = np.empty((2, columns), np.float32)
    forget = np.empty(columns, np.float32)
    for b in range(streams):
        h = hidden[b]
        for t in range(steps):
            row = projected[t, b]
            previous, h = h, states[t % 2]
            _recurrent_step(row, bias, previous, forget, h)
            # normalised and gated while the state is in the cache; no array of hidden states [T, B, C] is written
            scale = inverse_rms(h, epsilon)
            gate, y = row[2 * columns :], result[t, b]
            for i in range(columns):
                y[i] = h[i] * scale * gain[i] * gate[i] * logistic(gate[i])
        after[b] = h


@compiled_fastmath
def recurrence_backward(
    grad_result: FloatArray,
    grad_after: FloatArray,
    projected: FloatArray,
    bias: FloatArray,
    gain: FloatArray,
    hidden: FloatArray,
    epsilon: np.float32,
    grad_projected: FloatArray,
    grad_bias: FloatArray,
    grad_gain: FloatArray,
    grad_hidden: FloatArray,
) -> None:
    """Compute the gradients of `recurrence_forward`; fills the last four arrays."""
    steps, streams, columns = grad_result.shape
    trace = np.empty((steps + 1, columns), np.float32)
    forgets = np.empty((steps, columns), np.float32)
    normal = np.empty(columns, np.float32)
    total = np.empty(columns, np.float32)
    sigmoid = np.empty(columns, np.float32)
    for b in range(streams):
        # recompute the hidden states, as for the neurons
        trace[0] = hidden[b]
        for t in range(steps):
            _recurrent_step(projected[t, b], bias, trace[t], forgets[t], trace[t + 1])
        carried, gg, gb = grad_hidden[b], grad_gain[b], grad_bias[b]
        carried[:] = grad_after[b]
        gg[:] = _ZERO
        gb[:] = _ZERO
        for t in range(steps - 1, -1, -1):
            h, previous, f, gy = trace[t + 1], trace[t], forgets[t], grad_result[t, b]
            value, gate = projected[t, b, columns : 2 * columns], projected[t, b, 2 * columns :]
            gf = grad_projected[t, b, :columns]
            gv = grad_projected[t, b, columns : 2 * columns]
            go = grad_projected[t, b, 2 * columns :]
            scale = inverse_rms(h, epsilon)
            # from here `normal` is d loss / d normalised state, first with its gain, then without
            _grad_gate_step(gy, gate, sigmoid, normal, go)
            for i in range(columns):
                go[i] *= h[i] * scale * gain[i]
            for i in range(columns):
                gg[i] += normal[i] * h[i] * scale
            for i in range(columns):
                normal[i] *= gain[i]
            grad_rms_norm(normal, h, scale, total)
            for i in range(columns):
                total[i] += carried[i]
            for i in range(columns):
                # derivative of the logistic function; the factor h[t-1] - value follows in the next loop
                gf[i] = total[i] * f[i] * (_ONE - f[i])
            for i in range(columns):
                gf[i] *= previous[i] - value[i]
            for i in range(columns):
                gb[i] += gf[i]
            for i in range(columns):
                gv[i] = total[i] * (_ONE - f[i])
            for i in range(columns):
                carried[i] = total[i] * f[i]


@compiled_fastmath
def cross_entropy(logits: FloatArray, targets: FloatArray, weight: np.float32) -> float:
    """Return the sum over the rows of `logits` [R, V] of -log softmax at `targets` [R].

    `logits` are overwritten with `weight` times their gradients, so that no second array of R x V is needed.
    """
    rows, classes = logits.shape
    # float64: a sum over many rows
    total = 0.0
    for r in range(rows):
        row = logits[r]
        # subtract the maximum, so that the exponentials cannot overflow
        top = row[0]
        for i in range(classes):
            top = max(top, row[i])
        at = row[targets[r]] - top
        mass = _ZERO
        for i in range(classes):
            row[i] = exponential(row[i] - top)
            mass += row[i]
        # one division per row instead of one per class
        share = weight / mass
        for i in range(classes):
            row[i] *= share
        row[targets[r]] -= weight
        total += np.log(np.float64(mass)) - np.float64(at)
    return total

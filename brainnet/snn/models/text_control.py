r"""The units of the non-spiking control of the text model: SiLU units on the same normalised channels.

$$
y = \mathrm{SiLU}(g \odot \mathrm{RMSNorm}(x) + b)
$$
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from brainnet.snn.kernels import FloatArray, compiled_fastmath
from brainnet.snn.layers.norm import EPSILON
from brainnet.snn.models.text_kernels import grad_gain_step, grad_rms_norm, inverse_rms, logistic
from brainnet.snn.models.text_layers import population_currents
from brainnet.snn.workspace import empty

_EPSILON = np.float32(EPSILON)
_ZERO, _ONE = np.float32(0), np.float32(1)


def normalized_silu(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Return the outputs [T, B, N] of SiLU units on RMSNorm(`x`); differentiable in all three tensors.

    Args:
        x: [T, B, C].
        gain: [N]; N is a multiple of C, and unit i sees channel i modulo C.
        bias: [N].
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.silu(population_currents(x, gain, bias))
    result: Tensor = _NormalizedSiLU.apply(x, gain, bias)
    return result


@numba.njit(inline="always", fastmath=True, error_model="numpy")
def _currents(row: FloatArray, scale: np.float32, gain: FloatArray, bias: FloatArray, currents: FloatArray) -> None:
    channels = row.size
    # one population of C units at a time, so that no loop needs the index modulo C
    for p in range(0, gain.size, channels):
        gains, biases, part = gain[p : p + channels], bias[p : p + channels], currents[p : p + channels]
        for i in range(channels):
            part[i] = row[i] * scale * gains[i] + biases[i]


@compiled_fastmath
def units_forward(x: FloatArray, gain: FloatArray, bias: FloatArray, epsilon: np.float32, result: FloatArray) -> None:
    """Fill `result` [T, B, N]."""
    steps, streams, _ = x.shape
    for t in range(steps):
        for b in range(streams):
            row, y = x[t, b], result[t, b]
            _currents(row, inverse_rms(row, epsilon), gain, bias, y)
            for i in range(gain.size):
                y[i] *= logistic(y[i])


@compiled_fastmath
def units_backward(
    grad: FloatArray,
    x: FloatArray,
    gain: FloatArray,
    bias: FloatArray,
    epsilon: np.float32,
    grad_x: FloatArray,
    grad_gain: FloatArray,
    grad_bias: FloatArray,
) -> None:
    """Compute the gradients of `units_forward`; fills the last three, gain and bias summed over all rows."""
    steps, streams, channels = x.shape
    current, sigmoid = np.empty(gain.size, np.float32), np.empty(gain.size, np.float32)
    normal = np.empty(channels, np.float32)
    grad_gain[:] = _ZERO
    grad_bias[:] = _ZERO
    for t in range(steps):
        for b in range(streams):
            row, gy, gx = x[t, b], grad[t, b], grad_x[t, b]
            scale = inverse_rms(row, epsilon)
            _currents(row, scale, gain, bias, current)
            for i in range(gain.size):
                sigmoid[i] = logistic(current[i])
            # derivative of SiLU: sigmoid(x) (1 + x (1 - sigmoid(x)))
            for i in range(gain.size):
                current[i] = gy[i] * sigmoid[i] * (_ONE + current[i] * (_ONE - sigmoid[i]))
            for i in range(gain.size):
                grad_bias[i] += current[i]
            grad_gain_step(current, row, scale, gain, grad_gain, normal)
            grad_rms_norm(normal, row, scale, gx)


class _NormalizedSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        result = empty(*x.shape[:2], len(gain))
        x, gain, bias = (part.detach().contiguous() for part in (x, gain, bias))
        units_forward(x.numpy(), gain.numpy(), bias.numpy(), _EPSILON, result)
        ctx.save_for_backward(x, gain, bias)
        return torch.from_numpy(result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        x, gain, bias = ctx.saved_tensors
        grad, grad_x = grads[0].contiguous().numpy(), empty(*x.shape)
        grad_gain, grad_bias = empty(len(gain)), empty(len(gain))
        units_backward(grad, x.numpy(), gain.numpy(), bias.numpy(), _EPSILON, grad_x, grad_gain, grad_bias)
        return torch.from_numpy(grad_x), torch.from_numpy(grad_gain), torch.from_numpy(grad_bias)

r"""What the text model's control has in place of neurons: SiLU units that see the same normalised channels.

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
from brainnet.snn.models.text_kernels import logistic, scale_of, to_channels, to_row
from brainnet.snn.models.text_layers import populations
from brainnet.snn.workspace import empty

_EPSILON = np.float32(EPSILON)
_ZERO, _ONE = np.float32(0), np.float32(1)


def normalised_units(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Outputs [T, B, N] of units that see RMSNorm(`x` [T, B, C]); N is a multiple of C, unit i sees channel i modulo
    C, times `gain` [N] and plus `bias` [N]. Differentiable in all three.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.silu(populations(x, gain, bias))
    result: Tensor = _Units.apply(x, gain, bias)
    return result


@numba.njit(inline="always", fastmath=True, error_model="numpy")
def _currents(row: FloatArray, scale: np.float32, gain: FloatArray, bias: FloatArray, currents: FloatArray) -> None:
    channels = row.size
    for p in range(0, gain.size, channels):
        gains, biases, part = gain[p : p + channels], bias[p : p + channels], currents[p : p + channels]
        for i in range(channels):
            part[i] = row[i] * scale * gains[i] + biases[i]


@compiled_fastmath
def units_forward(x: FloatArray, gain: FloatArray, bias: FloatArray, epsilon: np.float32, result: FloatArray) -> None:
    """Fills `result` [T, B, N]."""
    steps, streams, _ = x.shape
    for t in range(steps):
        for b in range(streams):
            row, y = x[t, b], result[t, b]
            _currents(row, scale_of(row, epsilon), gain, bias, y)
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
    """Gradients of `units_forward`; fills the last three, those of gain and bias summed over all rows."""
    steps, streams, channels = x.shape
    current, opened = np.empty(gain.size, np.float32), np.empty(gain.size, np.float32)
    normal = np.empty(channels, np.float32)
    grad_gain[:] = _ZERO
    grad_bias[:] = _ZERO
    for t in range(steps):
        for b in range(streams):
            row, gy, gx = x[t, b], grad[t, b], grad_x[t, b]
            scale = scale_of(row, epsilon)
            _currents(row, scale, gain, bias, current)
            for i in range(gain.size):
                opened[i] = logistic(current[i])
            for i in range(gain.size):
                current[i] = gy[i] * opened[i] * (_ONE + current[i] * (_ONE - opened[i]))
            for i in range(gain.size):
                grad_bias[i] += current[i]
            to_channels(current, row, scale, gain, grad_gain, normal)
            to_row(normal, row, scale, gx)


class _Units(torch.autograd.Function):
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

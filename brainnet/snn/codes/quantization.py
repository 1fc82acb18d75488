r"""Weights (and activations) of 8 or 4 bits, and training that sees the rounding.

Symmetric and uniform, with one scale per row (Nagel et al. 2021, *A White Paper on Neural Network Quantization*):

.. math:: s = \frac{\max |x|}{2^{b-1} - 1}, \qquad q = \operatorname{round}(x / s), \qquad \hat x = s q

so that q lies within ±127 or ±7, ties round to even, and zero stays zero. In training the forward pass uses
:math:`\hat x` and the backward pass takes :math:`d\hat x / dx = 1` (straight-through, Bengio et al. 2013).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from brainnet.errors import ModelError
from brainnet.snn.checks import finite, real, whole
from brainnet.snn.codes.spike_codes import SpikeCode, spike_matmul

Bits = Literal[8, 4]


class Quantized(NamedTuple):
    """`values` int8, within ±127 or ±7, times `scale` (float32, one per row, broadcasts against values)."""

    values: Tensor
    scale: Tensor

    def dequantize(self) -> Tensor:
        """Float32 of the same shape."""
        return self.values.float() * self.scale


def quantize(x: Tensor, bits: Bits, axes: tuple[int, ...] | None = None) -> Quantized:
    """Round float `x` with one scale for each slice over `axes` (None: all but the first, a scale per output).

    The error of each value is at most half a scale. Raises ModelError for other types, bits and non-finite values.
    """
    scale = _scale(x, bits, axes)
    return Quantized(torch.round(x.detach().float() / scale).to(torch.int8), scale)


def pack_int4(values: Tensor) -> Tensor:
    """Two int4 values a byte, uint8 [..., (K + 1) // 2]: the first in the low half, in two's complement."""
    whole("values", values)
    if values.ndim < 1 or (values.numel() and not (int(values.min()) >= -8 and int(values.max()) <= 7)):
        raise ModelError("values must be [..., K] of integers from -8 to 7")
    nibbles = F.pad(values, (0, values.shape[-1] % 2)).to(torch.int16) & 0xF
    return (nibbles[..., 0::2] | nibbles[..., 1::2] << 4).to(torch.uint8)


def unpack_int4(packed: Tensor, count: int) -> Tensor:
    """The int8 values [..., count] of `pack_int4`."""
    if count < 0:
        raise ModelError(f"count must be 0 or more, not {count}")
    if packed.dtype != torch.uint8 or packed.ndim < 1 or packed.shape[-1] != (count + 1) // 2:
        raise ModelError(f"packed must be uint8 [..., {(count + 1) // 2}], not {packed.dtype} {tuple(packed.shape)}")
    nibbles = torch.stack([packed & 0xF, packed >> 4], -1).flatten(-2)[..., :count].to(torch.int8)
    return torch.where(nibbles > 7, nibbles - 16, nibbles)


def fake_quantize(x: Tensor, bits: Bits, axes: tuple[int, ...] | None = None) -> Tensor:
    """`x` as it will be after `quantize`, with the gradient of the identity."""
    rounded = quantize(x, bits, axes).dequantize().to(x.dtype)
    result: Tensor = _StraightThrough.apply(x, rounded)
    return result


def train_quantized(model: nn.Module, bits: Bits) -> nn.Module:
    """Let every Linear and convolution of `model` see its weight rounded from now on; returns the model.

    The float weights keep learning underneath. `quantized_weights` gives what training arrived at. Raises ModelError
    when there is nothing to quantise.
    """
    found = [m for m in model.modules() if _has_weights(m) and not parametrize.is_parametrized(m, "weight")]
    if not found:
        raise ModelError("model must hold at least one Linear or convolution that is not yet quantised")
    for module in found:
        parametrize.register_parametrization(module, "weight", _FakeQuantized(bits))
    return model


def quantized_weights(model: nn.Module) -> dict[str, Quantized]:
    """The rounded weights of every module under `train_quantized`, by the module's name."""
    result = {}
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrization: Any = module.parametrizations["weight"]
            result[name] = quantize(parametrization.original, parametrization[0].bits)
    return result


def quantized_linear(x: Tensor, weight: Quantized, bias: Tensor | None = None) -> Tensor:
    """Float [..., out] of `x` [..., in] and a quantised `weight` [out, in]; the scale is applied to the sums.

    Raises ModelError, naming the argument, for what does not fit.
    """
    _fits(x, weight, bias)
    result = F.linear(x, weight.values.to(x.dtype)) * weight.scale.squeeze(-1).to(x.dtype)
    return result if bias is None else result + bias


def spiking_linear(x: Tensor, weight: Quantized, code: SpikeCode, bias: Tensor | None = None) -> Tensor:
    """W8A-spike: activations `x` [..., in], rounded to int8 with a scale per row, meet `weight` as spikes.

    Equal to the product of the two rounded matrices, whatever the code; `code` must reach ±127. Raises ModelError,
    naming the argument, for what does not fit.
    """
    _fits(x, weight, bias)
    activations = quantize(x, 8, axes=(-1,))
    sums = spike_matmul(activations.values, weight.values.T, code)
    result = sums.float() * activations.scale * weight.scale.squeeze(-1)
    return result if bias is None else result + bias


def _fits(x: Tensor, weight: Quantized, bias: Tensor | None) -> None:
    values, scale = weight
    if values.ndim != 2 or scale.shape != (len(values), 1):
        found = f"{tuple(values.shape)} with {tuple(scale.shape)}"
        raise ModelError(f"weight must be [out, in] with a scale [out, 1], not {found}")
    out, width = values.shape
    if finite("x", real("x", x)).ndim < 1 or x.shape[-1] != width or x.device != values.device:
        found = f"{tuple(x.shape)} on {x.device}"
        raise ModelError(f"x must be [..., {width}] on {values.device}, not {found}")
    if bias is not None and (bias.shape != (out,) or bias.device != x.device):
        raise ModelError(f"bias must be [{out}] on {x.device}, not {tuple(bias.shape)} on {bias.device}")


def _scale(x: Tensor, bits: Bits, axes: tuple[int, ...] | None) -> Tensor:
    if bits not in (8, 4):
        raise ModelError(f"bits must be 8 or 4, got {bits}")
    # also in float32, which scales and sums are in
    largest = finite("x", real("x", x).detach().float()).abs()
    if x.ndim < 1 or not x.numel():
        raise ModelError(f"x must have at least one value, got shape {tuple(x.shape)}")
    over = tuple(range(1, x.ndim)) if axes is None else axes
    if not all(-x.ndim <= axis < x.ndim for axis in over):
        raise ModelError(f"axes must be among those of x {tuple(x.shape)}, got {over}")
    if over:
        largest = largest.amax(over, keepdim=True)
    # the smallest normal number keeps rows of zeros, and of denormals, from dividing by nothing
    return (largest / (2 ** (bits - 1) - 1)).clamp(min=torch.finfo(torch.float32).tiny)


def _has_weights(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)


class _FakeQuantized(nn.Module):
    def __init__(self, bits: Bits) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        return fake_quantize(weight, self.bits)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rounded: Tensor) -> Tensor:
        return rounded

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None

r"""Weights (and activations) of 8 or 4 bits, and quantisation-aware training.

Symmetric and uniform, with one scale per row (Nagel et al. 2021, *A White Paper on Neural Network Quantization*):

$$
s = \frac{\max |x|}{2^{b-1} - 1}, \qquad q = \operatorname{round}(x / s), \qquad \hat x = s q
$$

so that q lies within ±127 or ±7, ties round to even, and zero stays zero. In training the forward pass uses
$\hat x$ and the backward pass takes $d\hat x / dx = 1$ (straight-through, Bengio et al. 2013).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from brainnet.errors import ModelError
from brainnet.snn.checks import check_finite, check_float, check_integer
from brainnet.snn.codes.spike_codes import SpikeCode, spike_matmul

Bits = Literal[8, 4]


class Quantized(NamedTuple):
    """A quantised tensor.

    Attributes:
        values: int8, within ±127 (8 bits) or ±7 (4 bits).
        scale: float32, one per row; broadcasts against `values`.
    """

    values: Tensor
    scale: Tensor

    def dequantize(self) -> Tensor:
        """Return the float32 tensor `values * scale`."""
        return self.values.float() * self.scale


def quantize(x: Tensor, bits: Bits, axes: tuple[int, ...] | None = None) -> Quantized:
    """Quantise float `x` with one scale for each slice over `axes`.

    The error of each value is at most half a scale.

    Args:
        x: a floating-point tensor.
        bits: 8 or 4.
        axes: the axes that share a scale; None for all but the first (one scale per output of a weight matrix).

    Raises:
        ModelError: other types, other bits, other axes, or values that are not finite.
    """
    # detached: rounding has no useful gradient, `fake_quantize` supplies one
    scale = _scale(x, bits, axes)
    return Quantized(torch.round(x.detach().float() / scale).to(torch.int8), scale)


def pack_int4(values: Tensor) -> Tensor:
    """Pack two int4 values per byte, uint8 [..., (K + 1) // 2]: the first in the low half, in two's complement.

    Raises:
        ModelError: values that are not integers from -8 to 7.
    """
    check_integer("values", values)
    if values.ndim < 1 or (values.numel() and not (int(values.min()) >= -8 and int(values.max()) <= 7)):
        raise ModelError("values must be [..., K] of integers from -8 to 7")
    # int16 for the shift by 4 bits, which would overflow int8
    nibbles = F.pad(values, (0, values.shape[-1] % 2)).to(torch.int16) & 0xF
    return (nibbles[..., 0::2] | nibbles[..., 1::2] << 4).to(torch.uint8)


def unpack_int4(packed: Tensor, count: int) -> Tensor:
    """Return the int8 values [..., count] that `pack_int4` packed.

    Raises:
        ModelError: a negative count, or bytes of another shape or type.
    """
    if count < 0:
        raise ModelError(f"count must be 0 or more, not {count}")
    if packed.dtype != torch.uint8 or packed.ndim < 1 or packed.shape[-1] != (count + 1) // 2:
        raise ModelError(f"packed must be uint8 [..., {(count + 1) // 2}], not {packed.dtype} {tuple(packed.shape)}")
    nibbles = torch.stack([packed & 0xF, packed >> 4], -1).flatten(-2)[..., :count].to(torch.int8)
    # sign extension of a 4-bit two's complement number
    return torch.where(nibbles > 7, nibbles - 16, nibbles)


def fake_quantize(x: Tensor, bits: Bits, axes: tuple[int, ...] | None = None) -> Tensor:
    """Return `x` quantised and dequantised, with the gradient of the identity (straight-through estimator)."""
    quantized = quantize(x, bits, axes).dequantize().to(x.dtype)
    result: Tensor = _StraightThrough.apply(x, quantized)
    return result


def train_quantized(model: nn.Module, bits: Bits) -> nn.Module:
    """Make every Linear and convolution of `model` use its quantised weight from now on, and return the model.

    The optimiser continues to update the float weights. `quantized_weights` returns the quantised ones.

    Raises:
        ModelError: there is nothing to quantise.
    """
    # modules that are parametrised already are skipped, so that a second call does not quantise twice
    layers = [m for m in model.modules() if _has_weights(m) and not parametrize.is_parametrized(m, "weight")]
    if not layers:
        raise ModelError("model must hold at least one Linear or convolution that is not yet quantised")
    for module in layers:
        parametrize.register_parametrization(module, "weight", _FakeQuantized(bits))
    return model


def quantized_weights(model: nn.Module) -> dict[str, Quantized]:
    """Return the quantised weight of every module under `train_quantized`, by the name of the module."""
    result = {}
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            # `original` is the float weight that the optimiser updates
            parametrization: Any = module.parametrizations["weight"]
            result[name] = quantize(parametrization.original, parametrization[0].bits)
    return result


def quantized_linear(x: Tensor, weight: Quantized, bias: Tensor | None = None) -> Tensor:
    """Return float [..., out] of `x` [..., in] and a quantised `weight` [out, in].

    Raises:
        ModelError: arguments that do not fit each other.
    """
    _check_linear(x, weight, bias)
    # the scale multiplies the sums: [out] multiplications instead of [out, in]
    result = F.linear(x, weight.values.to(x.dtype)) * weight.scale.squeeze(-1).to(x.dtype)
    return result if bias is None else result + bias


def spiking_linear(x: Tensor, weight: Quantized, code: SpikeCode, bias: Tensor | None = None) -> Tensor:
    """Return float [..., out] of `x` [..., in] and `weight`, with int8 activations sent as spikes (W8A-spike).

    The result equals the product of the two quantised matrices for every code that reaches ±127.

    Raises:
        ModelError: arguments that do not fit each other, or activations outside the range of the code.
    """
    _check_linear(x, weight, bias)
    activations = quantize(x, 8, axes=(-1,))
    # integer sums, so that the result does not depend on the spike code
    sums = spike_matmul(activations.values, weight.values.T, code)
    result = sums.float() * activations.scale * weight.scale.squeeze(-1)
    return result if bias is None else result + bias


def _check_linear(x: Tensor, weight: Quantized, bias: Tensor | None) -> None:
    values, scale = weight
    if values.ndim != 2 or scale.shape != (len(values), 1):
        actual = f"{tuple(values.shape)} with {tuple(scale.shape)}"
        raise ModelError(f"weight must be [out, in] with a scale [out, 1], not {actual}")
    out, width = values.shape
    if check_finite("x", check_float("x", x)).ndim < 1 or x.shape[-1] != width or x.device != values.device:
        actual = f"{tuple(x.shape)} on {x.device}"
        raise ModelError(f"x must be [..., {width}] on {values.device}, not {actual}")
    if bias is not None and (bias.shape != (out,) or bias.device != x.device):
        raise ModelError(f"bias must be [{out}] on {x.device}, not {tuple(bias.shape)} on {bias.device}")


def _scale(x: Tensor, bits: Bits, axes: tuple[int, ...] | None) -> Tensor:
    if bits not in (8, 4):
        raise ModelError(f"bits must be 8 or 4, got {bits}")
    # in float32 like scales and sums: a float64 value may be finite and still overflow float32
    largest = check_finite("x", check_float("x", x).detach().float()).abs()
    if x.ndim < 1 or not x.numel():
        raise ModelError(f"x must have at least one value, got shape {tuple(x.shape)}")
    reduced = tuple(range(1, x.ndim)) if axes is None else axes
    if not all(-x.ndim <= axis < x.ndim for axis in reduced):
        raise ModelError(f"axes must be among those of x {tuple(x.shape)}, got {reduced}")
    if reduced:
        largest = largest.amax(reduced, keepdim=True)
    # the smallest normal number avoids a division by zero for rows of zeros or denormals
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
    def forward(ctx: Any, x: Tensor, quantized: Tensor) -> Tensor:
        return quantized

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None

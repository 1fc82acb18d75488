"""Checks of what callers hand in: one sentence that names the argument and what was expected."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from brainnet.errors import ModelError


def whole(name: str, values: Tensor) -> Tensor:
    """`values`, which must be of an integer type."""
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ModelError(f"{name} must be of an integer type, not {values.dtype}")
    return values


def real(name: str, values: Tensor) -> Tensor:
    """`values`, which must be of a floating-point type."""
    if not values.is_floating_point():
        raise ModelError(f"{name} must be of a floating-point type, not {values.dtype}")
    return values


def finite(name: str, values: Tensor) -> Tensor:
    """`values`, which must hold no NaN and no infinity. Elsewhere than on CPU it is not checked: it would wait."""
    if values.device.type == "cpu" and not bool(torch.isfinite(values).all()):
        raise ModelError(f"{name} must be finite, but holds NaN or infinity")
    return values


def number(name: str, value: float) -> float:
    """`value`, which must be a finite number."""
    if not math.isfinite(value):
        raise ModelError(f"{name} must be a finite number, not {value}")
    return value


def positive(name: str, value: float) -> float:
    """`value`, which must be a finite number above zero."""
    if not (math.isfinite(value) and value > 0):
        raise ModelError(f"{name} must be a finite number above 0, not {value}")
    return value


def sequence(name: str, values: Tensor) -> Tensor:
    """`values` [T, ...], which must hold at least one step of finite floating-point numbers."""
    if values.ndim == 0 or values.shape[0] == 0:
        raise ModelError(f"{name} must be [steps, ...] with at least one step, not of shape {tuple(values.shape)}")
    return finite(name, real(name, values))


def step_of(name: str, values: Tensor, given: str, sequence: Tensor, kind: torch.dtype | None = None) -> Tensor:
    """`values`, which must be of the shape, device and type (or `kind`) of one step of `sequence` [T, ...]."""
    expected = (tuple(sequence.shape[1:]), kind or sequence.dtype, sequence.device)
    if (tuple(values.shape), values.dtype, values.device) != expected:
        found = f"shape {tuple(values.shape)}, {values.dtype} on {values.device}"
        shape, dtype, device = expected
        raise ModelError(f"{name} is of {found}; one step of {given} is of shape {shape}, {dtype} on {device}")
    return finite(name, values)


def parameter(name: str, value: Tensor | float, given: str, sequence: Tensor) -> Tensor:
    """A constant of the neurons, finite, in the type of `sequence` [T, ...] and broadcast against one step of it."""
    step = sequence.shape[1:]
    # a Python number at once in that type: by way of float32 it would lose digits
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=sequence.dtype)
    if tensor.ndim and tensor.device != sequence.device:  # a number may come from anywhere
        raise ModelError(f"{name} is on {tensor.device}, {given} on {sequence.device}; they must be together")
    try:
        return finite(name, tensor.to(sequence)).expand(step)
    except RuntimeError:
        shape = tuple(tensor.shape)
        raise ModelError(
            f"{name} is of shape {shape}, which does not broadcast against one step {tuple(step)}"
        ) from None

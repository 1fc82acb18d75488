"""Argument checks: each raises an error of one sentence that names the argument and what was expected."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from brainnet.errors import ModelError


def check_integer(name: str, values: Tensor) -> Tensor:
    """Return `values`.

    Raises:
        ModelError: the tensor is not of an integer type.
    """
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ModelError(f"{name} must be of an integer type, not {values.dtype}")
    return values


def check_float(name: str, values: Tensor) -> Tensor:
    """Return `values`.

    Raises:
        ModelError: the tensor is not of a floating-point type.
    """
    if not values.is_floating_point():
        raise ModelError(f"{name} must be of a floating-point type, not {values.dtype}")
    return values


def check_finite(name: str, values: Tensor) -> Tensor:
    """Return `values`.

    Only tensors on CPU are checked: elsewhere the check would wait for the device.

    Raises:
        ModelError: the tensor holds NaN or infinity.
    """
    # a finite sum has only finite terms, and takes a fraction of the time; that of large terms may overflow
    if values.device.type == "cpu" and not (
        bool(torch.isfinite(values.detach().sum())) or bool(torch.isfinite(values).all())
    ):
        raise ModelError(f"{name} must be finite, but holds NaN or infinity")
    return values


def check_number(name: str, value: float) -> float:
    """Return `value`.

    Raises:
        ModelError: the number is not finite.
    """
    if not math.isfinite(value):
        raise ModelError(f"{name} must be a finite number, not {value}")
    return value


def check_positive(name: str, value: float) -> float:
    """Return `value`.

    Raises:
        ModelError: the number is not finite or not above 0.
    """
    if not (math.isfinite(value) and value > 0):
        raise ModelError(f"{name} must be a finite number above 0, not {value}")
    return value


def check_sequence(name: str, values: Tensor) -> Tensor:
    """Return `values` [T, ...].

    Raises:
        ModelError: there is no time step, or the values are not finite floating-point numbers.
    """
    if values.ndim == 0 or values.shape[0] == 0:
        raise ModelError(f"{name} must be [steps, ...] with at least one step, not of shape {tuple(values.shape)}")
    return check_finite(name, check_float(name, values))


def check_step(
    name: str, values: Tensor, sequence_name: str, sequence: Tensor, dtype: torch.dtype | None = None
) -> Tensor:
    """Return `values`, one time step.

    Args:
        name: the name of the argument for the error message.
        values: the tensor to check.
        sequence_name: the name of the sequence.
        sequence: the sequence [T, ...] whose steps `values` must match in shape, device and type.
        dtype: the expected type, if it is not that of the sequence.

    Raises:
        ModelError: the tensor does not match a step of the sequence, or is not finite.
    """
    expected = (tuple(sequence.shape[1:]), dtype or sequence.dtype, sequence.device)
    if (tuple(values.shape), values.dtype, values.device) != expected:
        actual = f"shape {tuple(values.shape)}, {values.dtype} on {values.device}"
        shape, step_dtype, device = expected
        raise ModelError(
            f"{name} is of {actual}; one step of {sequence_name} is of shape {shape}, {step_dtype} on {device}"
        )
    return check_finite(name, values)


def as_parameter(name: str, value: Tensor | float, sequence_name: str, sequence: Tensor) -> Tensor:
    """Return a constant of the neurons in the type of `sequence`, broadcast to one of its steps.

    Args:
        name: the name of the argument for the error message.
        value: a number or a tensor.
        sequence_name: the name of the sequence.
        sequence: the sequence [T, ...].

    Raises:
        ModelError: the value is on another device, not finite, or does not broadcast.
    """
    step = sequence.shape[1:]
    # a Python number is converted directly to that type: through float32 it would lose digits
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=sequence.dtype)
    if tensor.ndim and tensor.device != sequence.device:  # a scalar tensor may be on any device
        raise ModelError(f"{name} is on {tensor.device}, {sequence_name} on {sequence.device}; they must be together")
    try:
        return check_finite(name, tensor.to(sequence)).expand(step)
    except RuntimeError:
        shape = tuple(tensor.shape)
        raise ModelError(
            f"{name} is of shape {shape}, which does not broadcast against one step {tuple(step)}"
        ) from None

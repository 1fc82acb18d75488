"""Checks of what callers hand in: one sentence that names the argument and what was expected."""

from __future__ import annotations

import torch
from torch import Tensor

from brainnet.errors import ModelError


def whole(name: str, values: Tensor) -> Tensor:
    """``values``, which must be of an integer type."""
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ModelError(f"{name} must be of an integer type, not {values.dtype}")
    return values


def real(name: str, values: Tensor) -> Tensor:
    """``values``, which must be of a floating-point type."""
    if not values.is_floating_point():
        raise ModelError(f"{name} must be of a floating-point type, not {values.dtype}")
    return values


def finite(name: str, values: Tensor) -> Tensor:
    """``values``, which must hold no NaN and no infinity. Elsewhere than on CPU it is not checked: it would wait."""
    if values.device.type == "cpu" and not bool(torch.isfinite(values).all()):
        raise ModelError(f"{name} must be finite, but holds NaN or infinity")
    return values

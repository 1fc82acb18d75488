"""Writes weights files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], dtype: torch.dtype = torch.float16
) -> None:
    """Write `tensors` as a safetensors file, replacing it atomically.

    Args:
        path: The file.
        tensors: Tensors by name.
        metadata: Texts that the file holds beside the tensors.
        dtype: Type to which floating-point tensors are converted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {
        name: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()
        for name, value in tensors.items()
    }
    part = path.with_suffix(".part")
    save_file(stored, part, dict(metadata))
    part.chmod(0o644)  # safetensors creates files that only the owner can read
    part.replace(path)

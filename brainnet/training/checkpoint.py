"""Training checkpoints: files that are replaced atomically and hold the identity of their training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from brainnet.errors import TrainingError

_IDENTITY = "__training__"


def save(path: Path, state: Mapping[str, Any], identity: str) -> None:
    """Write `state` atomically: an interruption leaves the old file.

    Args:
        path: The checkpoint file.
        state: Tensors, numbers, strings and containers of them.
        identity: Name of the training; `load` accepts no other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".checkpoint-part")
    torch.save({**state, _IDENTITY: identity}, part)
    part.replace(path)


def load(path: Path, identity: str) -> dict[str, Any] | None:
    """Read the state in `path`, on the CPU.

    Returns:
        The state; None when there is no such file.

    Raises:
        TrainingError: The file is no checkpoint, or a checkpoint of a training with another identity.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        stored_identity = state.pop(_IDENTITY)
    except (OSError, RuntimeError, UnpicklingError, KeyError, AttributeError, EOFError) as error:
        raise TrainingError(f"{path} is no checkpoint that can be read ({error}); remove it to start over") from error
    if stored_identity != identity:
        raise TrainingError(
            f"{path} is a checkpoint of other settings ({stored_identity}, requested: {identity}); "
            "use the same settings, or remove it to start over"
        )
    return state

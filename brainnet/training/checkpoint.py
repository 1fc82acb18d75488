"""Checkpoints of trainings: files that are replaced whole and know what training they are of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from brainnet.errors import TrainingError

_IDENTITY = "__training__"


def save(path: Path, state: Mapping[str, Any], identity: str) -> None:
    """Write `state` (tensors, numbers, strings and containers of them); an interruption leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".checkpoint-part")
    torch.save({**state, _IDENTITY: identity}, part)
    part.replace(path)


def load(path: Path, identity: str) -> dict[str, Any] | None:
    """The state in `path`, on the CPU; None where there is no such file.

    Raises:
        TrainingError: the file is no checkpoint, or one of a training with another identity.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = state.pop(_IDENTITY)
    except (OSError, RuntimeError, UnpicklingError, KeyError, AttributeError, EOFError) as error:
        raise TrainingError(f"{path} is no checkpoint that can be read ({error}); remove it to begin anew") from error
    if found != identity:
        raise TrainingError(
            f"{path} is a checkpoint of other settings ({found}, asked for: {identity}); "
            "name the same settings, or remove it to begin anew"
        )
    return state

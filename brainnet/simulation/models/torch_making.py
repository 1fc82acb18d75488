"""Finds and makes the torch module of a population, and loads its weights."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brainnet.errors import ConfigError, ModelError
from brainnet.simulation.models.base import Setting
from brainnet.texts import did_you_mean

if TYPE_CHECKING:
    from torch import nn

_KEYS: Final = ("state_dict", "model_state_dict", "model", "net")
"""Where checkpoints of training programs hold the weights."""


def find_module(module: ModuleType, wanted: str, name: str) -> Any:
    """Return what makes the torch module in a file, or the module itself.

    Args:
        module: The file, imported.
        wanted: Its name there; "" for the only class of a torch module that the file defines.
        name: The model as it was given, for errors.

    Raises:
        ConfigError: There is none, or more than one.
    """
    import torch

    own = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, torch.nn.Module) and value.__module__ == module.__name__
    }
    if wanted:
        found = getattr(module, wanted, None)
        if found is None:
            known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise ConfigError(f"model torch:{name}: the file has no {wanted}{did_you_mean(wanted, known)}")
        if not (callable(found) or isinstance(found, torch.nn.Module)):
            raise ConfigError(f"model torch:{name}: {wanted} is neither a torch module nor makes one")
        return found
    if len(own) != 1:
        raise ConfigError(
            f"model torch:{name} must hold one torch module, found {', '.join(own) or 'none'}; name it as "
            "torch:FILE.py:CLASS"
        )
    return next(iter(own.values()))


def make_module(make: Any, arguments: Mapping[str, Any], setting: Setting, who: str) -> nn.Module:
    """Make the module; weights that it draws are the same in every process.

    Args:
        make: A module class, a function that makes a module, or a module, which is copied.
        arguments: What it is called with.
        setting: Of the population.
        who: Names it in errors.

    Raises:
        ModelError: It cannot be made, or is no module.
    """
    import torch

    if isinstance(make, torch.nn.Module):
        if arguments:
            raise ModelError(f"{who} is a module already and takes no arguments")
        return copy.deepcopy(make)
    try:
        with drawing_from(int(setting.key("torch weights") >> np.uint64(1))):
            module = make(**arguments)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(f"{who} cannot be made with the arguments {sorted(arguments)}: {reason}") from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{who} is no torch module but a {type(module).__name__}")
    return module


@contextlib.contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Let torch draw from a seed, and let others draw on as if nothing had been drawn."""
    import torch

    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def load_checkpoint(module: nn.Module, path: Path, who: str) -> None:
    """Load the weights of a file that torch.save wrote into a module.

    Raises:
        ModelError: The file does not exist, is no such file, or is of another network.
    """
    import torch

    if not path.is_file():
        raise ModelError(f"{who}: the checkpoint {path} does not exist", field="checkpoint")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of torch, pickle or zipfile
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{who}: the checkpoint {path} is no file of weights that torch.save wrote: {reason}", field="checkpoint"
        ) from None
    for key in _KEYS:
        if isinstance(weights, dict) and isinstance(weights.get(key), dict):
            weights = weights[key]
            break
    if not isinstance(weights, dict):
        raise ModelError(
            f"{who}: the checkpoint {path} holds a {type(weights).__name__}, and no state_dict", field="checkpoint"
        )
    try:
        module.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:400]
        raise ModelError(f"{who}: the checkpoint {path} is of another network: {reason}", field="checkpoint") from None

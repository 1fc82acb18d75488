"""Finds the model that a connectome names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from brainnet.errors import ConfigError, ModelError
from brainnet.imports import find_class
from brainnet.simulation.models.base import Model, Setting, parameters_of
from brainnet.texts import did_you_mean

ENTRY_POINT_GROUP: Final = "brainnet.models"

MODELS: Final = {
    "lif": "lif:LIF",
    "integer_lif": "integer_lif:IntegerLIF",
    "izhikevich": "izhikevich:Izhikevich",
    "adaptive_lif": "adaptive_lif:AdaptiveLIF",
    "biological_lif": "biological_lif:BiologicalLIF",
    "relay": "relay:Relay",
    "device": "device:DeviceModel",
    "encoder": "brainnet.sensors.encoder_model:EncoderModel",
    "poisson": "poisson:Poisson",
    "pattern": "pattern:Pattern",
}
"""The models of brainnet by their short names, those of this package without it; each is imported when it is used."""


def model_class(name: str, folder: Path | None = None) -> type[Model]:
    """Return the class of a model.

    Args:
        name: One of `MODELS`; `FILE.py:Class`, `package.module:Class`, an entry point of `brainnet.models`, `nir:FILE`
            or `torch:FILE.py:NAME`. Without `:Class` a file or module must define exactly one.
        folder: Where relative paths of files begin: the folder of the connectome file.

    Raises:
        ConfigError: There is no such model, or it cannot be imported.
        ModelError: A NIR file or torch module cannot be used.
    """
    folder = folder or Path()
    if name in MODELS:
        module, _, wanted = MODELS[name].partition(":")
        path = module if "." in module else f"brainnet.simulation.models.{module}"
        found: type[Model] = getattr(importlib.import_module(path), wanted)
        return found
    scheme, colon, rest = name.partition(":")
    if colon and scheme in ("nir", "torch"):
        if not rest:
            raise ConfigError(f"model {name!r} names no file; write {scheme}:FILE")
        if scheme == "nir":
            from brainnet.simulation.models import nir

            return nir.model(folder / rest)
        try:
            from brainnet.simulation.models import torch_module
        except ModuleNotFoundError as error:  # pragma: no cover - torch is among the requirements
            raise ConfigError(f"model {name} needs torch: {error}") from None
        return torch_module.model(rest, folder)
    accepted = ", ".join([*MODELS, "FILE.py:Class", "module:Class", "nir:FILE", "torch:FILE.py:Class"])
    hint = f"{did_you_mean(name, MODELS)}; models are {accepted}"
    # mypy takes an abstract class as an argument for `type` only with this
    base: Any = Model
    return find_class(name, base, "model", ENTRY_POINT_GROUP, folder, hint)


def make_model(model: type[Model], setting: Setting, values: Mapping[str, Any]) -> Model:
    """Return a model of a population.

    Args:
        model: Its class.
        setting: Where it runs.
        values: Its parameters by name, as the description gives them.

    Raises:
        ModelError: A parameter does not fit; names the population, the parameter and what is accepted.
    """
    parameters = parameters_of(model, values, f"population {setting.name}")
    try:
        return model(setting, parameters)
    except TypeError as error:
        if not getattr(model, "__abstractmethods__", None):
            raise
        raise ModelError(f"population {setting.name}: {model.__name__} has no method advance(window)") from error

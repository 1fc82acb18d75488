"""Finds and imports training programs by name."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from brainnet import yaml_text
from brainnet.errors import TextError, TrainingError
from brainnet.imports import add_to_path, import_file
from brainnet.paths import share_dir
from brainnet.rows import Row
from brainnet.training.run import Run, TrainingSettings
from brainnet.wire.messages import explain


@dataclass(frozen=True)
class Program:
    """A training program that has been imported.

    Attributes:
        name: The region's name, or the stem of the file.
        about: First paragraph of its docstring.
        settings: Its hyper-parameters.
        train: Writes the weights.
        evaluate: Yields the figures.
    """

    name: str
    about: str
    settings: type[TrainingSettings]
    train: Callable[[Run[Any]], None]
    evaluate: Callable[[Run[Any]], Iterable[Row]]

    def configure(self, profile: str | None, changes: Mapping[str, Any]) -> TrainingSettings:
        """Build the settings: the defaults, overridden by `profile` in training_config.yaml, then by `changes`.

        Raises:
            TrainingError: A profile or setting is unknown, or a value is invalid.
        """
        values = {**self._profile(profile), **changes}
        for name in values:
            if name not in self.settings.model_fields:
                known = ", ".join(self.settings.model_fields) or "none"
                raise TrainingError(f"{self.name} has no setting {name!r}; it has: {known}")
        try:
            return self.settings.model_validate(values)
        except ValidationError as error:
            raise TrainingError(f"settings of {self.name}: {explain(error)}") from None

    def _profile(self, profile: str | None) -> dict[str, Any]:
        if profile is None:
            return {}
        known = profiles().get(self.name, {})
        if profile not in known:
            names = ", ".join(known) or "none"
            raise TrainingError(f"{self.name} has no profile {profile!r} in {_config_file()}; it has: {names}")
        return dict(known[profile] or {})


def programs() -> dict[str, Path]:
    """List the training programs that come with brainnet, by region: `nodes/REGION/REGION_training.py`."""
    paths = sorted((share_dir() / "nodes").glob("*/*_training.py"))
    return {path.parent.name: path for path in paths if path.stem == f"{path.parent.name}_training"}


def summaries() -> dict[str, str]:
    """Read the first paragraph of each program's docstring, by name, without importing any."""
    return {name: _summary(ast.get_docstring(ast.parse(path.read_text("utf-8")))) for name, path in programs().items()}


def profiles() -> dict[str, dict[str, dict[str, Any] | None]]:
    """Read the named settings of training programs from config/training_config.yaml.

    Raises:
        TrainingError: The file cannot be read.
    """
    path = _config_file()
    try:
        found = yaml_text.read(path).value or {}
    except FileNotFoundError:
        raise TrainingError(f"{path} does not exist") from None
    except TextError as error:
        raise TrainingError(str(error)) from None
    # Two maps, one inside the other, whose values are maps of settings, or null for a profile that changes nothing.
    for region, named in found.items() if isinstance(found, dict) else [("the file", found)]:
        if not isinstance(named, dict) or not all(isinstance(v, dict | None) for v in named.values()):
            raise TrainingError(f"{path}: {region} must be a map from names of profiles to their settings")
    return dict(found)


def find_program(name: str) -> Program:
    """Import a program. It may import the files of its own folder.

    Args:
        name: A name among `programs`, or the path of a Python file.

    Raises:
        TrainingError: It does not exist, fails to import, or lacks `Settings`, `train` or `evaluate`.
    """
    try:
        name, module = _import(name)
    except TrainingError:
        raise
    except Exception as error:  # a program that is imported may raise anything
        raise TrainingError(f"training program {name} fails to import: {type(error).__name__}: {error}") from error
    missing = [part for part in ("Settings", "train", "evaluate") if not hasattr(module, part)]
    if missing:
        raise TrainingError(f"training program {name} does not define {', '.join(missing)}")
    return Program(name, _summary(module.__doc__), module.Settings, module.train, module.evaluate)


def _import(name: str) -> tuple[str, ModuleType]:
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise TrainingError(f"training program {path} does not exist")
        return path.stem, import_file(path, f"brainnet_training_{path.stem}")
    known = programs()
    if name not in known:
        raise TrainingError(f"there is no training program {name!r}; there are: {', '.join(known)}, or name a .py file")
    add_to_path(known[name].parent)
    return name, importlib.import_module(known[name].stem)


def _summary(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())


def _config_file() -> Path:
    return share_dir() / "config" / "training_config.yaml"

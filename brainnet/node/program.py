"""From the name of a program in an allocation to its Node class."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from types import ModuleType

from brainnet.errors import ConfigError
from brainnet.imports import import_file
from brainnet.node.node import Node

ENTRY_POINT_GROUP = "brainnet.nodes"
SCHEME_GROUP = "brainnet.programs"
"""Entry points that make a Node class of a file: each is a function of its path."""


def load_program(program: str) -> type[Node]:
    """Import a program: `path/file.py[:Class]`, `package.module[:Class]`, or an entry point of `brainnet.nodes`.

    `scheme:FILE` is a program made of a file that is none itself, such as a model in an exchange format, by the entry
    point of `brainnet.programs` of that name.

    Without `:Class` the file must define exactly one Node class. The folder of a file is on `sys.path` from then
    on, as when Python runs the file, so that a program can import the files that stand beside it.

    Raises:
        ConfigError: not found, fails to import, or holds no (or several) Node classes.
    """
    location, _, class_name = program.partition(":")
    for scheme in importlib.metadata.entry_points(group=SCHEME_GROUP, name=location):
        return _checked(scheme.load()(Path(class_name)), program)
    if location.endswith(".py") or "/" in location:
        module = _import_file(Path(location))
    else:
        points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=program)
        for point in points:
            return _checked(point.load(), program)
        try:
            module = importlib.import_module(location)
        except ModuleNotFoundError as error:
            if error.name is not None and not (location + ".").startswith(error.name + "."):
                raise ConfigError(f"program {program}: {error}") from error
            raise ConfigError(
                f"program {program!r} is no file, no module and no entry point of {ENTRY_POINT_GROUP}"
            ) from None
    return _pick(module, class_name, program)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"program {path} does not exist")
    try:
        return import_file(path, f"brainnet_program_{path.stem}")
    except Exception as error:
        raise ConfigError(f"program {path} fails to import: {type(error).__name__}: {error}") from error


def _pick(module: ModuleType, class_name: str, program: str) -> type[Node]:
    if class_name:
        found = getattr(module, class_name, None)
        if found is None:
            raise ConfigError(f"program {program}: {module.__name__} has no class {class_name}")
        return _checked(found, program)
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Node) and value.__module__ == module.__name__
    ]
    if len(own) != 1:
        names = ", ".join(c.__name__ for c in own) or "none"
        raise ConfigError(f"program {program} must hold one Node class, found {names}; name it as FILE:CLASS")
    return own[0]


def _checked(found: object, program: str) -> type[Node]:
    if not (isinstance(found, type) and issubclass(found, Node)):
        raise ConfigError(f"program {program} is not a Node class: {found!r}")
    return found

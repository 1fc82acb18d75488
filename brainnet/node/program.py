"""Imports the Node class that an allocation names as a program."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from brainnet.errors import BrainnetError, ConfigError
from brainnet.imports import import_file
from brainnet.node.node import Node
from brainnet.wire.topics import NOT_A_NODE, Role

ENTRY_POINT_GROUP = "brainnet.nodes"
SCHEME_GROUP = "brainnet.programs"
"""Entry points that make a Node class of a file: each is a function of its path."""


def load_program(program: str) -> type[Node]:
    """Import a program: `path/file.py[:Class]`, `package.module[:Class]`, or an entry point of `brainnet.nodes`.

    `scheme:FILE` makes a program of a file that is not Python, such as a model in an exchange format; the entry point
    of `brainnet.programs` of that name does so.

    Without `:Class` the file must define exactly one Node class. A program can import the files beside it, see
    `brainnet.imports`.

    Raises:
        ConfigError: The program is not found, cannot be imported, holds no (or several) Node classes, or its class has
            a role that the contract does not know.
    """
    location, colon, class_name = program.partition(":")
    is_file = location.endswith(".py") or "/" in location
    # Not asked for files, which most programs are: it reads the metadata of every installed package.
    for scheme in () if is_file or not colon else importlib.metadata.entry_points(group=SCHEME_GROUP, name=location):
        try:
            made = scheme.load()(Path(class_name))
        except BrainnetError:
            raise
        except Exception as error:
            raise _import_error(program, error) from error
        return _check_class(made, program)
    if is_file:
        module = _import_file(Path(location))
    else:
        points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=program)
        for point in points:
            try:
                loaded = point.load()
            except Exception as error:
                raise _import_error(program, error) from error
            return _check_class(loaded, program)
        try:
            module = importlib.import_module(location)
        except ModuleNotFoundError as error:
            # Either the program itself (or a package above it) does not exist, or a module that it imports.
            if error.name is not None and not (location + ".").startswith(error.name + "."):
                raise _import_error(program, error) from error
            raise ConfigError(
                f"program {program!r} is no file, no module and no entry point of {ENTRY_POINT_GROUP}"
            ) from None
        except Exception as error:
            raise _import_error(program, error) from error
    return _find_class(module, class_name, program)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"program {path} does not exist")
    try:
        # With a prefix, so that a program `numpy.py` does not hide the library of that name.
        return import_file(path, f"brainnet_program_{path.stem}")
    except Exception as error:
        raise _import_error(str(path), error) from error


def _import_error(program: str, error: Exception) -> ConfigError:
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    if isinstance(error, ModuleNotFoundError) and error.name and not notes:
        notes = f"; install the package that has the module {error.name}"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return ConfigError(f"program {program} fails to import: {reason}{notes}")


def _find_class(module: ModuleType, class_name: str, program: str) -> type[Node]:
    if class_name:
        found = getattr(module, class_name, None)
        if found is None:
            raise ConfigError(f"program {program}: {module.__name__} has no class {class_name}")
        return _check_class(found, program)
    # Only classes that the file itself defines: it also holds the base classes that it imports.
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Node) and value.__module__ == module.__name__
    ]
    if len(own) != 1:
        names = ", ".join(c.__name__ for c in own) or "none"
        raise ConfigError(f"program {program} must hold one Node class, found {names}; name it as FILE:CLASS")
    return _check_class(own[0], program)


def _check_class(found: object, program: str) -> type[Node]:
    if not (isinstance(found, type) and issubclass(found, Node)):
        raise ConfigError(f"program {program} is not a Node class: {found!r}")
    role: Any = found.role
    known = [name for name in get_args(Role) if name not in (*NOT_A_NODE, "node")]
    if role not in known:
        raise ConfigError(
            f"program {program}: {found.__name__} has the role {role!r}; a node has one of {', '.join(known)}"
        )
    return found

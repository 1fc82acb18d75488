"""Imports the Node class that an allocation names as a program."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any, get_args

from brainnet.errors import BrainnetError, ConfigError
from brainnet.imports import find_class, import_error, is_file
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
    location, colon, file = program.partition(":")
    # Not asked for files, which most programs are: it reads the metadata of every installed package.
    schemes = colon and not is_file(location)
    for scheme in importlib.metadata.entry_points(group=SCHEME_GROUP, name=location) if schemes else ():
        try:
            made = scheme.load()(Path(file))
        except BrainnetError:
            raise
        except Exception as error:
            raise import_error("program", program, error) from error
        if not (isinstance(made, type) and issubclass(made, Node)):
            raise ConfigError(f"program {program} is not a Node class: {made!r}")
        return _check_role(made, program)
    return _check_role(find_class(program, Node, "program", ENTRY_POINT_GROUP), program)


def _check_role(found: type[Node], program: str) -> type[Node]:
    role: Any = found.role
    known = [name for name in get_args(Role) if name not in (*NOT_A_NODE, "node")]
    if role not in known:
        raise ConfigError(
            f"program {program}: {found.__name__} has the role {role!r}; a node has one of {', '.join(known)}"
        )
    return found

"""Imports a Python file that is not an installed module: the program of a node, a training program."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def add_to_path(folder: Path) -> None:
    """Put a folder on `sys.path`, once."""
    entry = str(folder.absolute())
    if entry not in sys.path:
        sys.path.insert(0, entry)


def import_file(path: Path, name: str) -> ModuleType:
    """Import a file under a module name of its own.

    The file's folder is added to `sys.path`, as when Python runs the file, so that it can import the files beside it.

    Raises:
        Exception: Whatever the file raises while it is imported; `sys.modules` is then unchanged.
    """
    add_to_path(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Before the file runs: dataclasses and pydantic look up the module of a class by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module

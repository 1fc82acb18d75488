"""Importing a Python file that is no installed module: the program of a node, a training program."""

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

    The file's folder is on `sys.path` from then on, as when Python runs the file, so that it can import the files
    that stand beside it.

    Raises:
        Exception: Whatever the file raises while it is imported; the module is then not kept.
    """
    add_to_path(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look the module of a class up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module

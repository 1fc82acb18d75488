"""Importing a Python file that is no installed module: the program of a node, a training program."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def import_file(path: Path, name: str) -> ModuleType:
    """Import a file under a module name of its own.

    The file's folder is on ``sys.path`` from then on, as when Python runs the file, so that it can import the files
    that stand beside it.

    Returns:
        The module; the same one when it was imported under this name before.

    Raises:
        Exception: Whatever the file raises while it is imported; the module is then not kept.
    """
    known = sys.modules.get(name)
    if known is not None and known.__file__ is not None and Path(known.__file__) == path:
        return known
    folder = str(path.parent.absolute())
    if folder not in sys.path:
        sys.path.insert(0, folder)
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

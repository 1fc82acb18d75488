"""Imports a Python file that is not an installed module: the program of a node, a training program.

A program can import the files beside it, by name (`import helper`) and relative to it (`from .helper import x`). The
files beside it come before the current folder and installed packages, as when Python runs the file, but never before a
module of Python itself: a file `random.py` beside a program must not change what every library gets as `random`.
"""

from __future__ import annotations

import importlib.util
import sys
import zlib
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


class _FilesBesidePrograms:
    """Finds the modules in the folders of programs; the last folder that was added is the first that is looked in."""

    def __init__(self) -> None:
        self.folders: list[str] = []
        self.programs: set[str] = set()
        """Names of the programs themselves: a program `numpy.py` does not hide the library of that name."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is, or None to let Python look on."""
        if path is not None or name in sys.stdlib_module_names or name in self.programs:
            return None
        spec = PathFinder.find_spec(name, self.folders)
        # Without a loader it is a mere folder of that name, such as `data/`, which must not hide an installed package.
        return spec if spec is not None and spec.loader is not None else None


_FINDER = _FilesBesidePrograms()


def add_to_path(folder: Path) -> None:
    """Let the modules of a folder be imported by name, before those of folders that were added earlier.

    Modules of another such folder that have the same names are forgotten, so that each program gets the files beside
    it. A program that imports such a file later, inside of a function, may get that of another program; in a brain
    each program has a process of its own.
    """
    entry = str(folder.absolute())
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    if entry in _FINDER.folders:
        _FINDER.folders.remove(entry)
    _forget_namesakes(entry)
    _FINDER.folders.insert(0, entry)
    if entry not in sys.path:
        sys.path.append(entry)  # for what looks there itself: folders without `__init__.py`, tools


def _forget_namesakes(entry: str) -> None:
    others = {*_FINDER.folders} - {entry}
    if not others:
        # The case of a node. To look at every module would copy the pages that it shares with all other nodes.
        return
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if "." in name or not file:
            continue
        folder = Path(file).parent.parent if Path(file).name == "__init__.py" else Path(file).parent
        if str(folder) in others and PathFinder.find_spec(name, [entry]) is not None:
            for inner in [n for n in sys.modules if n == name or n.startswith(name + ".")]:
                del sys.modules[inner]


def import_file(path: Path, name: str) -> ModuleType:
    """Import a file under a module name of its own, which no other file has.

    Args:
        path: The file.
        name: Begins the name of the module.

    Raises:
        ImportError: A module that it imports is not there. A note says so when a file beside it has the name of a
            module of Python.
        Exception: Whatever else the file raises while it is imported; `sys.modules` is then unchanged.
    """
    path = path.absolute()
    _FINDER.programs.add(path.stem)
    add_to_path(path.parent)
    # Two files of one name in different folders are two modules: `inspect` finds the file of a class by its module.
    package = ModuleType(f"{name}_{zlib.crc32(str(path).encode(errors='surrogateescape')):08x}")
    package.__path__ = [str(path.parent)]  # for relative imports
    full_name = f"{package.__name__}.program"
    spec = importlib.util.spec_from_file_location(full_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file; its name should end in .py")
    module = importlib.util.module_from_spec(spec)
    # Before the file runs: dataclasses and pydantic look up the module of a class by its name.
    before = {part: sys.modules.get(part) for part in (package.__name__, full_name)}
    sys.modules[package.__name__], sys.modules[full_name] = package, module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        for part, earlier in before.items():
            if earlier is None:
                del sys.modules[part]
            else:
                sys.modules[part] = earlier
        _note_hidden_file(error, path.parent)
        raise
    return module


def _note_hidden_file(error: BaseException, folder: Path) -> None:
    """Add a note to an error when the program meant a file beside it, and got the module of Python of that name."""
    module = error.name if isinstance(error, ImportError) else getattr(getattr(error, "obj", None), "__name__", None)
    if isinstance(module, str) and module in sys.stdlib_module_names and (folder / f"{module}.py").is_file():
        error.add_note(f"rename {module}.py beside it: that is the name of a module of Python, which was imported")

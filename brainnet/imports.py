"""Imports what a description names: a Python file that is not an installed module, or a class of a file or module.

A program can import the files beside it, by name (`import helper`) and relative to it (`from .helper import x`). The
files beside it come before the current folder and installed packages, as when Python runs the file, but never before a
module of Python itself: a file `random.py` beside a program must not change what every library gets as `random`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import zlib
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from brainnet.errors import ConfigError
from brainnet.texts import did_you_mean

Kind = TypeVar("Kind")


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


def find_class(
    name: str, base: type[Kind], what: str, group: str, folder: Path | None = None, hint: str = ""
) -> type[Kind]:
    """Return a class by name: `path/file.py[:Class]`, `package.module[:Class]`, or an entry point.

    Without `:Class` the module must define exactly one subclass of `base`. A file can import the files beside it.

    Args:
        name: The name.
        base: What the class must be a subclass of.
        what: What the name stands for, such as "program"; for errors.
        group: The group of entry points.
        folder: Where relative paths of files begin; the current folder by default.
        hint: Follows the error that the name stands for nothing.

    Raises:
        ConfigError: It is not found, cannot be imported, or holds no (or several) such classes.
    """
    location, _, class_name = name.partition(":")
    if is_file(location):
        module = find_file(location, what, folder)
    else:
        for point in importlib.metadata.entry_points(group=group, name=name):
            try:
                loaded = point.load()
            except Exception as error:
                raise import_error(what, name, error) from error
            return _subclass(loaded, base, what, name)
        module = _find_module(name, location, what, group, hint)
    return _find_in_module(module, class_name, base, what, name)


def is_file(location: str) -> bool:
    """Return whether a name without its class is that of a file."""
    return location.endswith(".py") or "/" in location


def find_file(location: str, what: str, folder: Path | None = None) -> ModuleType:
    """Import a file that a description names.

    Raises:
        ConfigError: It does not exist, or cannot be imported.
    """
    path = Path(location) if folder is None else folder / location
    if not path.is_file():
        raise ConfigError(f"{what} {path} does not exist")
    try:
        # With a prefix, so that a program `numpy.py` does not hide the library of that name.
        return import_file(path, f"brainnet_{what}_{path.stem}")
    except Exception as error:
        raise import_error(what, str(path), error) from error


def _find_module(name: str, location: str, what: str, group: str, hint: str) -> ModuleType:
    try:
        return importlib.import_module(location)
    except ModuleNotFoundError as error:
        # Either the module itself (or a package above it) does not exist, or a module that it imports.
        if error.name is not None and not (location + ".").startswith(error.name + "."):
            raise import_error(what, name, error) from error
        raise ConfigError(f"{what} {name!r} is no file, no module and no entry point of {group}{hint}") from None
    except Exception as error:
        raise import_error(what, name, error) from error


def import_error(what: str, name: str, error: Exception) -> ConfigError:
    """Return the error for a module that failed while it was imported."""
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    if isinstance(error, ModuleNotFoundError) and error.name and not notes:
        notes = f"; install the package that has the module {error.name}"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return ConfigError(f"{what} {name} fails to import: {reason}{notes}")


def _find_in_module(module: ModuleType, class_name: str, base: type[Kind], what: str, name: str) -> type[Kind]:
    # Only classes that the file itself defines: it also holds the base classes that it imports.
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if class_name:
        found = getattr(module, class_name, None)
        if found is None:
            hint = did_you_mean(class_name, [each.__name__ for each in own])
            raise ConfigError(f"{what} {name}: {module.__name__} has no class {class_name}{hint}")
        return _subclass(found, base, what, name)
    if len(own) != 1:
        names = ", ".join(each.__name__ for each in own) or "none"
        raise ConfigError(f"{what} {name} must hold one {base.__name__} class, found {names}; name it as FILE:CLASS")
    return _subclass(own[0], base, what, name)


def _subclass(found: object, base: type[Kind], what: str, name: str) -> type[Kind]:
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{what} {name} is not a {base.__name__} class: {found!r}")
    return found

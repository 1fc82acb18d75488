"""An allocation file as text: the place of each mistake, and the files and programs that it names."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brainnet import yaml_text
from brainnet.errors import AllocationError, ConfigError, TextError
from brainnet.launcher.describe.weights import check_weights
from brainnet.node.program import ENTRY_POINT_GROUP, SCHEME_GROUP
from brainnet.paths import current_folder, share_dir
from brainnet.yaml_text import Location


class Source:
    """An allocation file as text: the place of each mistake."""

    def __init__(self, path: Path, document: yaml_text.Document) -> None:
        self.path = path
        self._document = document
        self.value = document.value
        """What the file holds, with texts where texts belong: in `id: 007` and `environment: {LEVEL: 1}`."""
        if isinstance(self.value, dict):
            self._keep_texts(self.value, (), ("namespace",))
            self._keep_texts(self.value.get("defaults"), ("defaults",), ("device",))
            nodes = self.value.get("nodes")
            for index, node in enumerate(nodes if isinstance(nodes, list) else ()):
                self._keep_texts(node, ("nodes", index), ("id", "program", "host", "device", "checkpoint"))

    def _keep_texts(self, values: Any, at: Location, names: tuple[str, ...]) -> None:
        if not isinstance(values, dict):
            return
        for name in names:
            if isinstance(values.get(name), int | float):
                values[name] = self._document.written((*at, name)) or values[name]
        variables = values.get("environment")
        if isinstance(variables, dict):
            self._keep_texts(variables, (*at, "environment"), tuple(variables))

    def line(self, location: Location) -> int:
        """Return the line of a value."""
        return self._document.position(location).line

    def error(self, location: Location, message: str) -> AllocationError:
        """Make the error for a mistake at a location of the file."""
        return allocation_error(self._document.error(location, message), self.path)


def allocation_error(error: TextError, path: Path) -> AllocationError:
    """Return a mistake in a text as one in an allocation."""
    return AllocationError(str(error), path=path, line=error.line, field=error.where)


def is_importable(module: str) -> bool:
    """Return whether the top-level package of a module is there."""
    # Not the module itself: to find a submodule, Python would import its package.
    top = module.partition(".")[0]
    try:
        if importlib.util.find_spec(top) is not None:
            return True
    except (ImportError, ValueError):
        return False
    # The processes of nodes have the current folder on their path; this one may have been started without it.
    return any(importlib.machinery.PathFinder.find_spec(top, [str(folder)]) is not None for folder in current_folder())


def find_program(source: Source, program: str, at: Location) -> str:
    """Return a program with the absolute path of its file.

    Raises:
        AllocationError: There is no such file, module or entry point; names the place in the file.
    """
    location, colon, class_name = program.partition(":")
    is_file = location.endswith(".py") or "/" in location
    # Not asked for files, which most programs are: it reads the metadata of every installed package.
    if colon and not is_file and importlib.metadata.entry_points(group=SCHEME_GROUP, name=location):
        file, separator, name = class_name.partition(":")
        # what a scheme makes a program of may be a folder, of pictures say; the scheme looks what is in it
        path = find(file, source.path, _is_folder) or find_file(source, file, at)
        return f"{location}:{path}{separator}{name}"
    if is_file:
        found = find(location, source.path) or find(_in_its_folder(location), source.path)
        if found is None:
            raise source.error(at, not_found(location, source.path))
        return str(found) + colon + class_name
    if importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=program):
        return program
    if not is_importable(location):
        raise source.error(
            at,
            f"{program!r} is no file (those end in .py), no importable module and "
            f"no entry point of {ENTRY_POINT_GROUP}",
        )
    return program


def _in_its_folder(location: str) -> str:
    """Return `nodes/olfactory/olfactory.py` for `nodes/olfactory` and for `nodes/olfactory.py`."""
    path = Path(location)
    return str(path.with_suffix("") / f"{path.stem}.py")


def find_file(source: Source, name: str, at: Location) -> Path:
    """Return the path of a file of a model that an allocation names, and check that it can be read."""
    found = find(name, source.path)
    if found is None:
        raise source.error(at, not_found(name, source.path))
    try:
        check_weights(found)
    except ConfigError as error:
        raise source.error(at, str(error)) from None
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder on the way that may not be searched, a name that is too long
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def find(name: str, allocation: Path, is_wanted: Callable[[Path], bool] = _is_file) -> Path | None:
    """Return the path of a file that an allocation names, or None; `_places` lists where it may be."""
    return next((p for folder in _places(allocation) if is_wanted(p := folder / name)), None)


def not_found(name: str, allocation: Path) -> str:
    """Return the sentence about a file that an allocation names and that does not exist."""
    return f"{name} does not exist; looked in {', '.join(str(p) for p in _places(allocation))}"


def _places(allocation: Path) -> list[Path]:
    """Return the folders in which a file of an allocation may be.

    The allocation's folder and its parents up to the project's root, the current folder, the installed data.
    """
    folder = allocation.parent
    up = [folder, *folder.parents]
    # Without a project around it only the allocation's own folder counts, not every folder up to `/`.
    root = next((i for i, p in enumerate(up) if _is_root(p)), 0)
    return list(dict.fromkeys([*up[: root + 1], *current_folder(), share_dir()]))


def _is_root(folder: Path) -> bool:
    try:
        return (folder / ".git").exists() or (folder / "pyproject.toml").is_file()
    except OSError:
        return False

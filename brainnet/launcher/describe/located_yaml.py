"""YAML with the line and column of each value, so that an error can name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from brainnet.errors import AllocationError

Location = tuple[str | int, ...]
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Position(NamedTuple):
    """Line and column, counted from 1."""

    line: int
    column: int


class Document:
    """A parsed YAML file and the position of everything in it."""

    def __init__(self, path: Path, value: Any, positions: dict[Location, Position]) -> None:
        self.path = path
        self.value = value
        self._positions = positions

    def position(self, location: Location) -> Position:
        """Return the position of a value; for a missing one, that of the map or list that should hold it."""
        while location not in self._positions and location:
            location = location[:-1]
        return self._positions.get(location, Position(1, 1))

    def error(self, location: Location, message: str) -> AllocationError:
        """Make the error for a mistake at a location of the document."""
        line, column = self.position(location)
        field = _dotted(location)
        text = f"{self.path}, line {line}, column {column}: {field + ': ' if field else ''}{message}"
        return AllocationError(text, path=self.path, line=line, field=field)


def read(path: Path) -> Document:
    """Read a YAML file that holds one document.

    Raises:
        AllocationError: The file is missing, unreadable, not YAML (names the line), or has a key twice.
    """
    # The loader is driven by hand, because only its tree of nodes has positions; `yaml.load` returns plain values.
    try:
        loader = _Loader(path.read_text())
        try:
            root = loader.get_single_node()
            value = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except FileNotFoundError:
        raise AllocationError(f"allocation {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AllocationError(f"allocation {path} cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise AllocationError(f"{path}{where}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise AllocationError(f"{path}: not YAML: {error}") from None
    positions = dict(_walk(root, (), path)) if root is not None else {}
    return Document(path, value, positions)


def _walk(node: Any, location: Location, path: Path) -> Iterator[tuple[Location, Position]]:
    yield location, Position(node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*location, index), path)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, item in node.value:  # YAML forbids a key twice, but PyYAML silently keeps the last
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise AllocationError(
                    f"{path}, line {line}: {_dotted((*location, name))} is given twice, first on line {seen[name]}"
                )
            seen[name] = line
            for inner, position in _walk(item, (*location, name), path):
                at_key = inner == (*location, name)
                yield inner, Position(line, key.start_mark.column + 1) if at_key else position


def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text

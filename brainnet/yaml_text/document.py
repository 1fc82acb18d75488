"""The value of a text, the position of everything in it, and the errors that name a position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from brainnet.errors import TextError
from brainnet.texts import printable, shorten

Location = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""


class Position(NamedTuple):
    """Line and column, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Node:
    """The position of a value, and those of its parts; of a number and the like also how it is written."""

    position: Position
    parts: dict[str | int, Node] = field(default_factory=dict)
    written: str | None = None

    def at(self, position: Position) -> Node:
        """Return the same node for another position, such as that of its key or of an alias."""
        return Node(position, self.parts, self.written)


class Document:
    """The value of a text, and the position of everything in it.

    Attributes:
        name: What the text is, for errors: a path, or the name of an argument.
        value: The value.
    """

    def __init__(self, name: str, value: Any, positions: Callable[[], Node]) -> None:
        self.name = name
        self.value = value
        self._positions = positions

    def position(self, location: Location) -> Position:
        """Return the position of a value; for a missing one, that of the map or list that should hold it."""
        return self._find(location).position

    def written(self, location: Location) -> str | None:
        """Return how a number, a truth value or null is written in YAML; None for any other value, and in JSON."""
        return self._find(location).written

    @cached_property
    def _root(self) -> Node:
        return self._positions()

    def _find(self, location: Location) -> Node:
        node = self._root
        for part in location:
            inner = node.parts.get(part)
            if inner is None:
                break
            node = inner
        return node

    def error(self, location: Location, problem: str) -> TextError:
        """Make the error for a mistake at a location of the text."""
        return error_at(self.name, self.position(location), problem, dotted(location))


def dotted(location: Location) -> str:
    """Return a location as text: `nodes[2].program`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def given_twice(key: str, line: int) -> str:
    """Return what an error says about a key that stands twice in one map."""
    return f"{key} is given twice, first on line {line}"


def error_at(name: str, position: Position, problem: str, where: str = "") -> TextError:
    """Make the error for a mistake at a position of a text; `where` is the value in words, such as `nodes[2]`."""
    # A key or a tag may hold anything, line breaks and thousands of characters among it.
    where, problem = printable(shorten(where, 200)), printable(shorten(problem, 400))
    text = f"{name}, line {position.line}, column {position.column}: {where + ': ' if where else ''}{problem}"
    return TextError(text, line=position.line, column=position.column, where=where, problem=problem)

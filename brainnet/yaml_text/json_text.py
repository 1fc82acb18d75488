"""JSON: which values are refused, and the positions that only an error needs."""

from __future__ import annotations

import bisect
import json
import re
from typing import Any, Final

from brainnet.texts import shorten
from brainnet.yaml_text.document import Location, Node, Position, given_twice
from brainnet.yaml_text.limits import MAX_DEPTH, MAX_VALUES, TOO_DEEP, TOO_MANY
from brainnet.yaml_text.scalars import problem_of


def mistake(value: Any) -> tuple[Location | None, str] | None:
    """Return the first value that is refused and why, or None; a limit of the whole text has no location."""
    # A list instead of recursion, because the depth is one of the things to check. Locations are linked, and made only
    # for the mistake.
    waiting: list[tuple[Any, int, Any]] = [(value, 0, None)]
    seen = 0
    while waiting:
        item, depth, link = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH:
            return None, TOO_DEEP
        if isinstance(item, dict):
            for key, inner in item.items():
                if problem_of(key):
                    return _unlinked(link), problem_of(key)
                waiting.append((inner, depth + 1, (link, key)))
        elif isinstance(item, list):
            waiting += [(inner, depth + 1, (link, index)) for index, inner in enumerate(item)]
        elif problem := problem_of(item):
            return _unlinked(link), problem if isinstance(item, str) else f"{shorten(repr(item), 40)} {problem}"
    return (None, TOO_MANY) if seen > MAX_VALUES else None


def _unlinked(link: Any) -> Location:
    parts = []
    while link is not None:
        link, part = link
        parts.append(part)
    return tuple(reversed(parts))


class JsonPositions:
    """Finds the positions of the values of a text that is known to be JSON; only an error needs them.

    Attributes:
        twice: Position and problem of every key that is given twice.
    """

    _TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')

    def __init__(self, text: str) -> None:
        self._tokens = ((match.group(), match.start()) for match in self._TOKEN.finditer(text))
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.twice: list[tuple[Position, str]] = []

    def read(self) -> Node:
        """Return the position of the whole value, with those of its parts."""
        return self._value(*next(self._tokens))

    def _position(self, index: int) -> Position:
        line = bisect.bisect_right(self._line_starts, index)
        return Position(line, index - self._line_starts[line - 1] + 1)

    def _value(self, token: str, start: int) -> Node:
        node = Node(self._position(start))
        if token == "{":
            for text, at in self._tokens:
                if text == "}":
                    break
                if text == ",":
                    continue
                next(self._tokens)  # the colon
                inner = self._value(*next(self._tokens))
                key, position = json.loads(text), self._position(at)
                if key in node.parts:
                    self.twice.append((position, given_twice(key, node.parts[key].position.line)))
                node.parts[key] = inner.at(position)  # the key's position, as for a key of YAML
        elif token == "[":
            for item, at in self._tokens:
                if item == "]":
                    break
                if item != ",":
                    node.parts[len(node.parts)] = self._value(item, at)
        return node

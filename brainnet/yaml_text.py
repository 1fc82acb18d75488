"""Reads YAML and JSON as people write them: files, arguments of commands, settings.

Text that is JSON is read as JSON. Any other text is YAML 1.2 with its core schema:

- `1e-4`, `.5`, `0x1F`, `0o17` and `010` (ten) are numbers; `true` and `false` are the truth values; `null` and `~` are
  null. Everything else is text: `yes`, `no`, `on`, `off`, `2026-11-28`, `12:30`.
- Merge keys (`<<: *base`) work, and a key of the map itself wins over a merged one.
- Keys are text, as in JSON: `1: x` is the key `"1"`. A key given twice is refused.

Guarantees: the value is one of None, bool, int, float, str, list and dict, so it can be written as JSON again; numbers
are finite; size, depth and the expansion of aliases have limits; each error is one `TextError`.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from brainnet.errors import TextError
from brainnet.texts import printable, shorten

MAX_BYTES: Final = 4 << 20
"""Bytes of a text."""
MAX_DEPTH: Final = 64
"""Maps and lists inside one another."""
MAX_DIGITS: Final = 100
"""Digits of a whole number; Python reads longer ones in quadratic time."""
MAX_VALUES: Final = 500_000
"""Values of a text, with every alias counted as all that it stands for, and a long text as one for 32 characters."""
_TOO_LARGE: Final = 10**MAX_DIGITS
_MANY_DIGITS: Final = f"is a whole number of more than {MAX_DIGITS} digits; write it with an exponent, such as 1e200"
_TOO_DEEP: Final = f"more than {MAX_DEPTH} maps and lists are inside one another"
_TOO_MANY: Final = f"more than {MAX_VALUES} values, counting what aliases stand for"

Location = tuple[str | int, ...]
_Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C is ten times faster; a PyYAML that was built without libyaml lacks it."""


class Position(NamedTuple):
    """Line and column, counted from 1."""

    line: int
    column: int


class Document:
    """The value of a text, and the position of everything in it.

    Attributes:
        name: What the text is, for errors: a path, or the name of an argument.
        value: The value.
    """

    def __init__(self, name: str, value: Any, root: _Node | None, text: str) -> None:
        self.name = name
        self.value = value
        self._root = root
        self._text = text

    def position(self, location: Location) -> Position:
        """Return the position of a value; for a missing one, that of the map or list that should hold it."""
        return self._find(location).position

    def written(self, location: Location) -> str | None:
        """Return how a number, a truth value or null is written in YAML; None for any other value, and in JSON."""
        return self._find(location).written

    def _find(self, location: Location) -> _Node:
        if self._root is None:
            self._root = _JsonPositions(self._text).read()
        node = self._root
        for part in location:
            inner = node.parts.get(part)
            if inner is None:
                break
            node = inner
        return node

    def error(self, location: Location, problem: str) -> TextError:
        """Make the error for a mistake at a location of the text."""
        return _error(self.name, self.position(location), problem, dotted(location))


def parse(
    text: str | bytes, name: str, *, allow_bytes: bool = False, syntax: str = "neither YAML nor JSON"
) -> Document:
    """Read a text that holds one document.

    Args:
        text: The text, or its bytes in UTF-8, with or without a byte order mark.
        name: What the text is, for errors.
        allow_bytes: Accept `!!binary`, which becomes bytes; for what is sent as msgpack.
        syntax: What a text is that breaks the syntax, for errors.

    Raises:
        TextError: The text is not YAML, is not UTF-8, or is beyond a limit; names line and column.
    """
    decoded = _decode(text, name)
    twice: list[None] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice.append(None)
        return found

    try:
        # Not strict: a tab inside of a text is a mistake of the editor, not of the person.
        value = json.loads(decoded, object_pairs_hook=object_of, strict=False)
    except (ValueError, RecursionError):
        return _YamlReader(decoded, name, allow_bytes, syntax).read()
    document = Document(name, value, None, decoded)
    wrong = _json_mistake(value)
    if wrong is not None:
        location, problem = wrong
        raise TextError(f"{name}: {problem}") if location is None else document.error(location, problem)
    if twice:
        positions = _JsonPositions(decoded)
        positions.read()
        raise _error(name, *positions.twice[0])
    return document


def read(path: Path, name: str | None = None) -> Document:
    """Read a file that holds one document.

    Args:
        path: The file.
        name: What the file is, for errors; by default its path.

    Raises:
        FileNotFoundError: There is no such file.
        TextError: It cannot be read, or `parse` refuses it.
    """
    name = name or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # with a limit, because it may be a device that never ends
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise TextError(f"{name} is a folder, not a file") from None
    except (OSError, ValueError) as error:
        raise TextError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parse(data, name, syntax="not YAML")


def dotted(location: Location) -> str:
    """Return a location as text: `nodes[2].program`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _given_twice(key: str, line: int) -> str:
    return f"{key} is given twice, first on line {line}"


def _error(name: str, position: Position, problem: str, where: str = "") -> TextError:
    # A key or a tag may hold anything, line breaks and thousands of characters among it.
    where, problem = printable(shorten(where, 200)), printable(shorten(problem, 400))
    text = f"{name}, line {position.line}, column {position.column}: {where + ': ' if where else ''}{problem}"
    return TextError(text, line=position.line, column=position.column, where=where, problem=problem)


# -- from bytes to text ------------------------------------------------------------------------------------------------


def _decode(text: str | bytes, name: str) -> str:
    if len(text) > MAX_BYTES:
        raise TextError(f"{name} has more than {MAX_BYTES} bytes, which is the limit for a text")
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            # An argument that is not UTF-8 reaches Python in this form.
            raise _error(name, _place(text, error.start), "these characters are not Unicode text; use UTF-8") from None
        return text.removeprefix("\ufeff")
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (b"\0" in text[:4] and len(text) > 1):
        raise TextError(f"{name} is not UTF-8 but UTF-16 or UTF-32; convert it: iconv -f UTF-16 -t UTF-8")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8-sig", errors="replace")
        raise _error(
            name,
            _place(before, len(before)),
            f"byte 0x{text[error.start]:02X} is not UTF-8; if the text is Latin-1, convert it: "
            "iconv -f LATIN1 -t UTF-8",
        ) from None


def _place(text: str, index: int) -> Position:
    before = text[:index]
    return Position(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)


# -- JSON --------------------------------------------------------------------------------------------------------------


def _json_mistake(value: Any) -> tuple[Location | None, str] | None:
    """Return the first value that is refused and why, or None; a limit of the whole text has no location."""
    # A list instead of recursion, because the depth is one of the things to check. Locations are linked, and made only
    # for the mistake.
    waiting: list[tuple[Any, int, Any]] = [(value, 0, None)]
    seen = 0
    while waiting:
        item, depth, link = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH:
            return None, _TOO_DEEP
        if isinstance(item, dict):
            for key, inner in item.items():
                if _scalar_problem(key):
                    return _unlinked(link), _scalar_problem(key)
                waiting.append((inner, depth + 1, (link, key)))
        elif isinstance(item, list):
            waiting += [(inner, depth + 1, (link, index)) for index, inner in enumerate(item)]
        elif problem := _scalar_problem(item):
            return _unlinked(link), problem if isinstance(item, str) else f"{shorten(repr(item), 40)} {problem}"
    return (None, _TOO_MANY) if seen > MAX_VALUES else None


def _unlinked(link: Any) -> Location:
    parts = []
    while link is not None:
        link, part = link
        parts.append(part)
    return tuple(reversed(parts))


def _scalar_problem(value: Any) -> str:
    """Return why a single value is refused; empty when it is not."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair is no Unicode text"
    elif isinstance(value, float):
        if value - value != 0:  # only a finite number has the difference 0
            return "is not a finite number"
    elif isinstance(value, int) and not -_TOO_LARGE < value < _TOO_LARGE:
        return _MANY_DIGITS
    return ""


@dataclass(slots=True)
class _Node:
    """The position of a value, and those of its parts; of a number and the like also how it is written."""

    position: Position
    parts: dict[str | int, _Node] = field(default_factory=dict)
    written: str | None = None

    def at(self, position: Position) -> _Node:
        """Return the same node for another position, such as that of its key or of an alias."""
        return _Node(position, self.parts, self.written)


class _JsonPositions:
    """Finds the positions of the values of a text that is known to be JSON; only an error needs them.

    Attributes:
        twice: Position and problem of every key that is given twice.
    """

    _TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')

    def __init__(self, text: str) -> None:
        self._tokens = ((match.group(), match.start()) for match in self._TOKEN.finditer(text))
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.twice: list[tuple[Position, str]] = []

    def read(self) -> _Node:
        """Return the position of the whole value, with those of its parts."""
        return self._value(*next(self._tokens))

    def _position(self, index: int) -> Position:
        line = bisect.bisect_right(self._line_starts, index)
        return Position(line, index - self._line_starts[line - 1] + 1)

    def _value(self, token: str, start: int) -> _Node:
        node = _Node(self._position(start))
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
                    self.twice.append((position, _given_twice(key, node.parts[key].position.line)))
                node.parts[key] = inner.at(position)  # the key's position, as for a key of YAML
        elif token == "[":
            for item, at in self._tokens:
                if item == "]":
                    break
                if item != ",":
                    node.parts[len(node.parts)] = self._value(item, at)
        return node


# -- YAML --------------------------------------------------------------------------------------------------------------

_TAG: Final = "tag:yaml.org,2002:"
_NULL: Final = re.compile(r"~|null|Null|NULL|")
_BOOL: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(slots=True)
class _Built:
    """A value that was read, where it stands, and how many values and levels it has with its aliases expanded."""

    value: Any
    node: _Node
    count: int = 1
    depth: int = 0


class _YamlReader:
    """Builds the value of one document from the events of PyYAML's parser.

    The parser of PyYAML is used, and its composer and constructor are not: they follow YAML 1.1, lose positions, accept
    a key twice, and have no limits.
    """

    def __init__(self, text: str, name: str, allow_bytes: bool, syntax: str) -> None:
        self._syntax = syntax
        self._text = text
        self._name = name
        self._allow_bytes = allow_bytes
        self._anchors: dict[str, _Built | None] = {}
        """By name; None while what it names is being read."""
        self._events: Iterator[Any] = iter(())
        self._read = 0

    def read(self) -> Document:
        """Read the document.

        Raises:
            TextError: The text is refused.
        """
        try:
            self._events = yaml.parse(self._text, Loader=_Parser)
            next(self._events)  # the start of the stream
            event = next(self._events)
            if isinstance(event, yaml.StreamEndEvent):
                return Document(self._name, None, _Node(Position(1, 1)), self._text)
            built = self._build(next(self._events), 0)
            next(self._events)  # the end of the document
            event = next(self._events)
            if not isinstance(event, yaml.StreamEndEvent):
                raise self._refuse(event, "a second document begins here; only one is read")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
            problem = " ".join((error.problem or error.context or "cannot be read").split())
            raise _error(self._name, place, f"{self._syntax}: {problem}") from None
        except yaml.reader.ReaderError as error:
            code = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "\0")
            place = _place(self._text, self._text.find(chr(code)) if chr(code) in self._text else 0)
            raise _error(
                self._name, place, f"the character U+{code:04X} cannot stand in YAML; write it as an escape in quotes"
            ) from None
        except yaml.YAMLError as error:
            raise TextError(f"{self._name} is {self._syntax}: {' '.join(str(error).split())}") from None
        return Document(self._name, built.value, built.node, self._text)

    def _refuse(self, event: Any, problem: str, where: str = "") -> TextError:
        return _error(self._name, self._position(event), problem, where)

    @staticmethod
    def _position(event: Any) -> Position:
        return Position(event.start_mark.line + 1, event.start_mark.column + 1)

    def _build(self, event: Any, depth: int) -> _Built:
        self._read += 1
        if depth > MAX_DEPTH:
            raise self._refuse(event, _TOO_DEEP)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
            written = None if isinstance(value, str) or event.tag is not None else event.value
            built = _Built(value, _Node(self._position(event), written=written), 1 + len(event.value) // 32)
        elif isinstance(event, yaml.SequenceStartEvent):
            built = self._list(event, depth)
        else:
            built = self._map(event, depth)
        if built.count > MAX_VALUES or self._read > MAX_VALUES:
            raise self._refuse(event, _TOO_MANY)
        if event.anchor is not None:
            self._anchors[event.anchor] = built
        return built

    def _alias(self, event: Any, depth: int) -> _Built:
        if event.anchor not in self._anchors:
            raise self._refuse(event, f"the alias *{event.anchor} has no anchor &{event.anchor} before it")
        built = self._anchors[event.anchor]
        if built is None:
            raise self._refuse(event, f"the alias *{event.anchor} stands inside what it names")
        if depth + built.depth > MAX_DEPTH:
            raise self._refuse(event, _TOO_DEEP)
        return _Built(built.value, built.node.at(self._position(event)), built.count, built.depth)

    def _list(self, event: Any, depth: int) -> _Built:
        self._check_tag(event, "seq")
        built = _Built([], _Node(self._position(event)))
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            inner = self._build(item, depth + 1)
            built.node.parts[len(built.value)] = inner.node
            built.value.append(inner.value)
            self._add(built, inner, item)
        return built

    def _add(self, built: _Built, inner: _Built, event: Any) -> None:
        built.count += inner.count
        built.depth = max(built.depth, inner.depth + 1)
        if built.count > MAX_VALUES:
            raise self._refuse(event, _TOO_MANY)

    def _map(self, event: Any, depth: int) -> _Built:
        self._check_tag(event, "map")
        built = _Built({}, _Node(self._position(event)))
        merged: list[_Built] = []
        lines: dict[tuple[str, bool], int] = {}
        while not isinstance(at := next(self._events), yaml.MappingEndEvent):
            key, is_merge = self._key(at)
            if (key, is_merge) in lines:
                hint = "; merge several maps with <<: [*a, *b]" if is_merge else ""
                raise self._refuse(at, _given_twice(key, lines[key, is_merge]) + hint)
            lines[key, is_merge] = at.start_mark.line + 1
            item = next(self._events)
            inner = self._build(item, depth + 1)
            self._add(built, inner, item)
            if is_merge:
                merged = self._merged(inner, item)
            else:
                built.value[key] = inner.value
                built.node.parts[key] = inner.node.at(self._position(at))
        for source in merged:  # the map itself comes first, then the merged ones in their order
            for key, value in source.value.items():
                if key not in built.value:
                    built.value[key] = value
                    built.node.parts[key] = source.node.parts[key]
        return built

    def _merged(self, inner: _Built, event: Any) -> list[_Built]:
        if isinstance(inner.value, dict):
            return [inner]
        if isinstance(inner.value, list) and inner.value and all(isinstance(item, dict) for item in inner.value):
            return [_Built(item, inner.node.parts[index]) for index, item in enumerate(inner.value)]
        raise self._refuse(event, "<< merges a map, or a list of maps")

    def _key(self, event: Any) -> tuple[str, bool]:
        """Return a key as text, and whether it merges maps."""
        if isinstance(event, yaml.AliasEvent):
            value = self._alias(event, 0).value
        elif isinstance(event, yaml.ScalarEvent):
            value = self._text_of(event)
            if event.anchor is not None:
                self._anchors[event.anchor] = _Built(value, _Node(self._position(event)))
            if value == "<<" and event.style in (None, "") and event.tag is None:
                return value, True
            if event.tag is not None:
                self._check_scalar_tag(event)
        else:
            value = None
        if not isinstance(value, str):
            raise self._refuse(event, "a key is text, no list or map")
        return value, False

    # -- single values -------------------------------------------------------------------------------------------------

    def _text_of(self, event: Any) -> str:
        text: str = event.value
        problem = _scalar_problem(text)
        if problem:
            raise self._refuse(event, problem)
        return text

    def _scalar(self, event: Any) -> Any:
        text = self._text_of(event)
        kind = self._check_scalar_tag(event)
        if kind == "binary":
            return self._bytes(event, text)
        if kind == "str" or (kind is None and not event.implicit[0]):
            return text
        if len(text) > MAX_DIGITS + 3 and _INT.fullmatch(text):  # before Python reads it
            raise self._refuse(event, _MANY_DIGITS)
        value = _resolve(text)
        problem = "is not a finite number" if _NOT_FINITE.fullmatch(text) else _scalar_problem(value)
        if problem:
            raise self._refuse(event, f"{text[:40]} {problem}")
        if kind == "float" and type(value) is int:
            return float(value)
        if kind is not None and value.__class__ is not _KINDS[kind]:
            raise self._refuse(event, f"{text[:40]!r} is no {kind}")
        return value

    def _bytes(self, event: Any, text: str) -> bytes:
        if not self._allow_bytes:
            raise self._refuse(event, "!!binary makes bytes, which cannot stand here; write text or numbers")
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise self._refuse(event, "!!binary is followed by base64") from None

    def _check_scalar_tag(self, event: Any) -> str | None:
        """Return the name of the standard tag of a single value, or None without one."""
        if event.tag is None:
            return None
        if event.tag == "!":
            return "str"
        kind = event.tag.removeprefix(_TAG)
        if not event.tag.startswith(_TAG) or kind not in (*_KINDS, "str", "binary"):
            raise self._refuse_tag(event)
        return str(kind)

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise self._refuse_tag(event)

    def _refuse_tag(self, event: Any) -> TextError:
        name = event.tag.replace(_TAG, "!!", 1)
        return self._refuse(event, f"the tag {name[:60]} is not known; write plain maps, lists, text and numbers")


_KINDS: Final[dict[str, type]] = {"null": type(None), "bool": bool, "int": int, "float": float}


def _resolve(text: str) -> Any:
    """Return what a plain scalar means in YAML's core schema."""
    # Most scalars are words. Without this look at the first character each would be tried against every pattern.
    if text[:1] in "+-.0123456789":
        if _INT.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    return text

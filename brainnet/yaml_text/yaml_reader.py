"""YAML, from the events of a parser to a value with its positions."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from brainnet.errors import TextError
from brainnet.yaml_text.document import Document, Node, Position, dotted, error_at, given_twice
from brainnet.yaml_text.encoding import place
from brainnet.yaml_text.limits import MANY_DIGITS, MAX_DEPTH, MAX_DIGITS, MAX_VALUES, TOO_DEEP, TOO_MANY
from brainnet.yaml_text.scalars import INT, KINDS, NOT_FINITE, problem_of, resolve

_Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C is ten times faster; a PyYAML that was built without libyaml lacks it."""
_TAG: Final = "tag:yaml.org,2002:"


@dataclass(slots=True)
class _Built:
    """A value that was read, where it stands, and how many values and levels it has with its aliases expanded."""

    value: Any
    node: Node
    count: int = 1
    depth: int = 0


class YamlReader:
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
        self._location: list[str | int] = []
        """Keys and indexes of what is being read."""

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
                return Document(self._name, None, lambda: Node(Position(1, 1)))
            built = self._build(next(self._events), 0)
            next(self._events)  # the end of the document
            event = next(self._events)
            if not isinstance(event, yaml.StreamEndEvent):
                raise self._refuse(event, "a second document begins here; only one is read")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            found = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
            problem = " ".join((error.problem or error.context or "cannot be read").split())
            raise error_at(self._name, found, f"{self._syntax}: {problem}") from None
        except yaml.reader.ReaderError as error:
            code = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "\0")
            found = place(self._text, self._text.find(chr(code)) if chr(code) in self._text else 0)
            raise error_at(
                self._name, found, f"the character U+{code:04X} cannot stand in YAML; write it as an escape in quotes"
            ) from None
        except yaml.YAMLError as error:
            raise TextError(f"{self._name} is {self._syntax}: {' '.join(str(error).split())}") from None
        return Document(self._name, built.value, lambda: built.node)

    def _refuse(self, event: Any, problem: str, where: str = "") -> TextError:
        return error_at(self._name, self._position(event), problem, where)

    @staticmethod
    def _position(event: Any) -> Position:
        return Position(event.start_mark.line + 1, event.start_mark.column + 1)

    def _build(self, event: Any, depth: int) -> _Built:
        self._read += 1
        if depth > MAX_DEPTH:
            raise self._refuse(event, TOO_DEEP)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
            written = None if isinstance(value, str) or event.tag is not None else event.value
            built = _Built(value, Node(self._position(event), written=written), 1 + len(event.value) // 32)
        elif isinstance(event, yaml.SequenceStartEvent):
            built = self._list(event, depth)
        else:
            built = self._map(event, depth)
        if built.count > MAX_VALUES or self._read > MAX_VALUES:
            raise self._refuse(event, TOO_MANY)
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
            raise self._refuse(event, TOO_DEEP)
        return _Built(built.value, built.node.at(self._position(event)), built.count, built.depth)

    def _list(self, event: Any, depth: int) -> _Built:
        self._check_tag(event, "seq")
        built = _Built([], Node(self._position(event)))
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            self._location.append(len(built.value))
            inner = self._build(item, depth + 1)
            self._location.pop()
            built.node.parts[len(built.value)] = inner.node
            built.value.append(inner.value)
            self._add(built, inner, item)
        return built

    def _add(self, built: _Built, inner: _Built, event: Any) -> None:
        built.count += inner.count
        built.depth = max(built.depth, inner.depth + 1)
        if built.count > MAX_VALUES:
            raise self._refuse(event, TOO_MANY)

    def _map(self, event: Any, depth: int) -> _Built:
        self._check_tag(event, "map")
        built = _Built({}, Node(self._position(event)))
        merged: list[_Built] = []
        lines: dict[tuple[str, bool], int] = {}
        while not isinstance(at := next(self._events), yaml.MappingEndEvent):
            key, is_merge = self._key(at)
            if (key, is_merge) in lines:
                hint = "; merge several maps with <<: [*a, *b]" if is_merge else ""
                raise self._refuse(at, given_twice(key, lines[key, is_merge]) + hint)
            lines[key, is_merge] = at.start_mark.line + 1
            item = next(self._events)
            self._location.append(key)
            inner = self._build(item, depth + 1)
            self._location.pop()
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
                self._anchors[event.anchor] = _Built(value, Node(self._position(event)))
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
        problem = problem_of(text)
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
        if len(text) > MAX_DIGITS + 3 and INT.fullmatch(text):  # before Python reads it
            raise self._refuse(event, MANY_DIGITS)
        value = resolve(text)
        problem = "is not a finite number" if NOT_FINITE.fullmatch(text) else problem_of(value)
        if problem:
            raise self._refuse(event, f"{text[:40]} {problem}", dotted(tuple(self._location)))
        if kind == "float" and type(value) is int:
            return float(value)
        if kind is not None and value.__class__ is not KINDS[kind]:
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
        if not event.tag.startswith(_TAG) or kind not in (*KINDS, "str", "binary"):
            raise self._refuse_tag(event)
        return str(kind)

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise self._refuse_tag(event)

    def _refuse_tag(self, event: Any) -> TextError:
        name = event.tag.replace(_TAG, "!!", 1)
        return self._refuse(event, f"the tag {name[:60]} is not known; write plain maps, lists, text and numbers")

"""Messages whose fields are written in a contract file, in place of a class of `brainnet.wire.messages`.

```yaml
fields:
  x_m: float
  covariance: "list[float]"
  quality: {type: float | None, min: 0, max: 1, about: 0 is a guess}
```

A type is `bool`, `int`, `float`, `str`, `bytes`, `list[TYPE]`, `dict[str, TYPE]`, or one of these with `| None`, which
makes the field optional. A message is checked strictly: a text is no number, a number no truth value. Numbers are
finite; whole ones have 64 bits, as in msgpack; texts, lists and bytes have a longest length.
"""

from __future__ import annotations

import json
import keyword
import math
import operator
import re
from collections.abc import Mapping
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, Strict, create_model, model_validator

from brainnet.errors import MessageError
from brainnet.texts import did_you_mean, printable, shorten
from brainnet.wire import messages
from brainnet.wire.messages import Message
from brainnet.wire.messages.codec import MAX_TEXT

MAX_FIELDS: Final = 64
"""Fields of one message."""
MAX_LENGTH: Final = 1 << 20
"""Entries of a list, characters of a text, that a field may be given; `wire.bounded` limits a whole message to it."""
MAX_BINARY: Final = 1 << 24
"""Bytes of a field of type bytes, when it names no other length."""
_DEFAULT_LENGTH: Final = 1 << 16
_MAX_NESTING: Final = 4
_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 64) - 1
"""The whole numbers that msgpack has."""
_SCALARS: Final[dict[str, Any]] = {"bool": bool, "int": int, "float": float, "str": str, "bytes": bytes}
_KINDS: Final = "bool, int, float, str, bytes, list[TYPE], dict[str, TYPE], each also with `| None`"
_FIELD_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_MESSAGE_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")


class DeclaredField(BaseModel):
    """One field of a declared message; a text alone is its type."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: str = Field(
        max_length=200,
        description="bool, int, float, str, bytes, list[TYPE], dict[str, TYPE], or one of them with | None",
    )
    about: str = Field("", max_length=500, description="for people, with the unit")
    min: float | None = Field(None, allow_inf_nan=False, description="of a number, also of those in lists and maps")
    max: float | None = Field(None, allow_inf_nan=False, description="of a number, also of those in lists and maps")
    max_length: int | None = Field(
        None,
        ge=0,
        le=MAX_BINARY,
        description="of a text, bytes, a list or a map; by default 100,000, 16 MiB, 65,536 and 65,536",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        kind, _ = _parse(self.type)
        while kind.startswith(("list[", "dict[")):
            kind = _inner(kind)
        if (self.min is not None or self.max is not None) and kind not in ("int", "float"):
            raise ValueError(f"min and max are for numbers, and {self.type} holds none")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min is {self.min:g}, above max, which is {self.max:g}")
        if kind == "int" and not operator.le(*self._whole()):
            raise ValueError("there is no whole number of 64 bits between min and max")
        outer, _ = _parse(self.type)
        if self.max_length is not None:
            if outer in ("bool", "int", "float"):
                raise ValueError(f"max_length is for texts, bytes, lists and maps, not for {self.type}")
            if outer != "bytes" and self.max_length > MAX_LENGTH:
                raise ValueError(f"max_length is at most {MAX_LENGTH} for {self.type}")
        return self

    def annotation(self) -> tuple[Any, Any]:
        """Return the field for `pydantic.create_model`: its type with its limits, and its default."""
        kind, optional = _parse(self.type)
        checked = self._annotated(kind, self.max_length)
        if optional:
            return checked | None, Field(None, description=self.about)
        return checked, Field(description=self.about)

    def _whole(self) -> tuple[int, int]:
        """Return the least and the greatest whole number that the field may have."""
        low = _INT_MIN if self.min is None else max(_INT_MIN, math.ceil(self.min))
        high = _INT_MAX if self.max is None else min(_INT_MAX, math.floor(self.max))
        return low, high

    def _annotated(self, kind: str, max_length: int | None = None) -> Any:
        if kind.startswith("list["):
            items = list[self._annotated(_inner(kind))]  # type: ignore[misc,valid-type]
            return Annotated[items, Strict(), Field(max_length=_DEFAULT_LENGTH if max_length is None else max_length)]
        if kind.startswith("dict["):
            values = dict[str, self._annotated(_inner(kind))]  # type: ignore[misc,valid-type]
            return Annotated[values, Strict(), Field(max_length=_DEFAULT_LENGTH if max_length is None else max_length)]
        if kind == "bool":
            return Annotated[bool, Strict()]
        if kind in ("str", "bytes"):
            longest = MAX_TEXT if kind == "str" else MAX_BINARY
            limit = Field(max_length=longest if max_length is None else max_length)
            return Annotated[_SCALARS[kind], Strict(), limit]
        if kind == "int":
            low, high = self._whole()
            return Annotated[int, Strict(), Field(ge=low, le=high)]
        return Annotated[float, Strict(), Field(ge=self.min, le=self.max)]


def _parse(text: str) -> tuple[str, bool]:
    """Return a type without its spaces and its `| None`, and whether it had one.

    Raises:
        ValueError: It is no type of a field.
    """
    kind = "".join(text.split())
    optional = kind.endswith("|None")
    kind = kind.removesuffix("|None")
    inner, depth = kind, 0
    while inner.startswith(("list[", "dict[")) and depth < _MAX_NESTING:
        inner, depth = _inner(inner), depth + 1
    if inner not in _SCALARS:
        hint = did_you_mean(inner, [*_SCALARS, "list", "dict"])
        raise ValueError(f"{printable(shorten(repr(text), 60))} is no type of a field{hint}; types are {_KINDS}")
    return kind, optional


def _inner(kind: str) -> str:
    """Return what a list or map holds; an empty text when it is not written as such."""
    for opening in ("list[", "dict[str,"):
        if kind.startswith(opening) and kind.endswith("]"):
            return kind[len(opening) : -1]
    return ""


def check_fields(fields: Mapping[str, DeclaredField]) -> None:
    """Check the names of the fields of a message.

    Raises:
        ValueError: One cannot be the name of a field, or there are too many, or none.
    """
    if not 0 < len(fields) <= MAX_FIELDS:
        raise ValueError(f"a message has 1 to {MAX_FIELDS} fields, got {len(fields)}")
    for name in fields:
        # The message is a class, whose attributes and methods are taken; pydantic keeps the prefix to itself.
        taken = hasattr(Message, name) or keyword.iskeyword(name) or name.startswith("model_")
        if taken or not _FIELD_NAME.fullmatch(name):
            reason = "is taken" if taken else "is not letters, digits and '_', a letter first, at most 64"
            raise ValueError(f"the name of a field, {printable(shorten(repr(name), 80))}, {reason}; choose another one")


def is_message_name(name: str) -> bool:
    """Return whether a text can be the name of a declared message, such as `Odometry`."""
    return _MESSAGE_NAME.fullmatch(name) is not None


def default_name(topic: str) -> str:
    """Return the name of the message of a topic: `WheelSpeed` for `wheel_speed`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", topic))[:64]


def declared_message(name: str, fields: Mapping[str, DeclaredField]) -> type[Message]:
    """Return the class of a message with these fields; the same fields and name give the same class."""
    written = {field: spec.model_dump(exclude_defaults=True) for field, spec in fields.items()}
    return _declared(name, json.dumps(written))


@lru_cache(maxsize=4096)
def _declared(name: str, written: str) -> type[Message]:
    specs = {field: DeclaredField.model_validate(spec) for field, spec in json.loads(written).items()}
    made: type[Message] = create_model(  # type: ignore[call-overload]
        name, __base__=Message, __module__=__name__, **{field: spec.annotation() for field, spec in specs.items()}
    )
    return made


def make(kind: type[Message], fields: Mapping[str, Any]) -> Message:
    """Make a message from a map of its fields, as a program writes them: arrays and scalars of numpy count as numbers.

    Raises:
        MessageError: Fields are unknown, missing or wrong; names them, and the fields that the message has.
    """
    unknown = [name for name in fields if name not in kind.model_fields]
    if unknown:
        name = str(unknown[0])
        hint = did_you_mean(name, kind.model_fields)
        shown = printable(shorten(repr(name), 60))
        raise MessageError(f"{kind.__name__} has no field {shown}{hint}; it is {describe(kind)}")
    try:
        return messages.validate(kind, {name: _plain(value) for name, value in fields.items()})
    except MessageError as error:
        raise MessageError(f"{error}; it is {describe(kind)}") from None
    except RecursionError:
        raise MessageError(f"{kind.__name__}: lists inside one another without end; it is {describe(kind)}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def describe(kind: type[Message]) -> str:
    """Return name and fields of a message in one line: `Odometry {x_m: float, covariance: list[float]}`."""
    fields = (f"{name}: {_spelled(field.annotation)}" for name, field in kind.model_fields.items())
    return shorten(f"{kind.__name__} {{{', '.join(fields)}}}", 600)


def _spelled(kind: Any) -> str:
    """Return a type as a contract file writes it; one that those do not have by its name."""
    if hasattr(kind, "__metadata__"):
        return _spelled(kind.__origin__)
    arguments = getattr(kind, "__args__", ())
    if isinstance(kind, UnionType) or "Union" in type(kind).__name__:
        return " | ".join(_spelled(one) for one in arguments)
    if kind is type(None):
        return "None"
    name = getattr(getattr(kind, "__origin__", kind), "__name__", "Any")
    return f"{name}[{', '.join(map(_spelled, arguments))}]" if arguments and name in ("list", "dict") else name

"""Parameters of a node: a pydantic model whose fields can be read and set while the node runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_jsonable_python

from brainnet.errors import ConfigError, MessageError
from brainnet.texts import shorten
from brainnet.wire.messages import ParamInfo, encode, explain


class NodeParameters(BaseModel):
    """Base of a node's `Parameters`. Every field needs a default; a `Field` description is shown to users.

    Guarantees: what is assigned is checked as what is given at the start, against the field and against validators of
    the whole model; numbers are finite; a refused assignment changes nothing.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, validate_default=True, allow_inf_nan=False)

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign one field.

        Raises:
            ValidationError: The value is not accepted; nothing has changed.
        """
        # When a validator of the whole model refuses, pydantic leaves the new value in place.
        with _undone_on_error(self):
            super().__setattr__(name, value)


@contextlib.contextmanager
def _undone_on_error(params: NodeParameters) -> Iterator[None]:
    """Undo what the block has assigned when it raises."""
    values, given = params.__dict__.copy(), params.__pydantic_fields_set__.copy()
    try:
        yield
    except Exception:
        params.__dict__.clear()
        params.__dict__.update(values)
        params.__pydantic_fields_set__.clear()
        params.__pydantic_fields_set__.update(given)
        raise


def build(kind: type[NodeParameters], values: dict[str, Any], owner: str) -> NodeParameters:
    """Make the parameters of a node with their initial values.

    Raises:
        ConfigError: An unknown name, a value that is not accepted, or one that cannot be sent; names the parameter and
            what it accepts.
    """
    for name in values:
        _check_name(kind, name, owner)
    try:
        params = kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"parameters of {owner}: {explain(error)}") from None
    _check_sendable(params, None, owner)
    return params


def describe(params: NodeParameters, name: str | None, owner: str) -> list[ParamInfo]:
    """Return one parameter, or all of them when `name` is None.

    Raises:
        ConfigError: There is no parameter of this name.
    """
    kind = type(params)
    if name is not None:
        _check_name(kind, name, owner)
    return [
        ParamInfo(
            name=field_name,
            value=_plain(getattr(params, field_name)),
            type=_type_name(field.annotation),
            default=_plain(field.get_default(call_default_factory=True, validated_data={})),
            description=field.description or "",
        )
        for field_name, field in kind.model_fields.items()
        if name is None or field_name == name
    ]


def assign(params: NodeParameters, name: str, value: Any, owner: str) -> None:
    """Set one parameter; on an error nothing changes.

    Raises:
        ConfigError: An unknown name, or a value that is not accepted or cannot be sent.
    """
    _check_name(type(params), name, owner)
    try:
        with _undone_on_error(params):
            setattr(params, name, value)
            _check_sendable(params, name, owner)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"parameter {name} of {owner}: {message} (got {shorten(repr(value), 200)})") from None


def _plain(value: Any) -> Any:
    """Return a value of Python as JSON has it: a tuple as a list, a path as text."""
    return to_jsonable_python(value, bytes_mode="base64", fallback=str)


def _check_sendable(params: NodeParameters, name: str | None, owner: str) -> None:
    """Check that a parameter, or each of them, can be shown to who asks for it."""
    for info in describe(params, name, owner):
        try:
            encode(info)
        except MessageError as error:
            raise ConfigError(f"parameter {info.name} of {owner}: {error}") from None


def _check_name(kind: type[NodeParameters], name: str, owner: str) -> None:
    if name not in kind.model_fields:
        known = ", ".join(kind.model_fields) or "none"
        raise ConfigError(f"{owner} has no parameter {name!r}; it has: {known}")


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")

"""Parameters of a node: a pydantic model whose fields can be read and set while the node runs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from brainnet.errors import ConfigError
from brainnet.wire.messages import ParamInfo, explain


class NodeParameters(BaseModel):
    """Base of a node's `Parameters`. Every field needs a default; a `Field` description is shown to users."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


def build(kind: type[NodeParameters], values: dict[str, Any], owner: str) -> NodeParameters:
    """Make the parameters of a node with their initial values.

    Raises:
        ConfigError: An unknown name, or a value that is not accepted; names the parameter and what it accepts.
    """
    for name in values:
        _check_name(kind, name, owner)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"parameters of {owner}: {explain(error)}") from None


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
            value=getattr(params, field_name),
            type=_type_name(field.annotation),
            default=field.get_default(call_default_factory=True, validated_data={}),
            description=field.description or "",
        )
        for field_name, field in kind.model_fields.items()
        if name is None or field_name == name
    ]


def assign(params: NodeParameters, name: str, value: Any, owner: str) -> None:
    """Set one parameter; on an error nothing changes.

    Raises:
        ConfigError: An unknown name, or a value that is not accepted.
    """
    _check_name(type(params), name, owner)
    try:
        setattr(params, name, value)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"parameter {name} of {owner}: {message} (got {value!r})") from None


def _check_name(kind: type[NodeParameters], name: str, owner: str) -> None:
    if name not in kind.model_fields:
        known = ", ".join(kind.model_fields) or "none"
        raise ConfigError(f"{owner} has no parameter {name!r}; it has: {known}")


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")

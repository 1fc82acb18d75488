"""Which names of a node the framework owns, and the check that a subclass leaves them alone.

A region that stores something of its own in `self.state` would break its life cycle at a distance: every heartbeat
would fail, while the node says that it is ready. So such a class is refused when it is defined, by a look at its body
and at the attributes of `self` that its methods assign.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from functools import cache
from types import CodeType, FunctionType
from typing import Any, Final

from brainnet.errors import ConfigError

_FRAMEWORK: Final = "brainnet."
_OVERRIDABLE: Final = frozenset(
    {"load", "setup", "run", "teardown", "params_changed", "answer", "answer_batch", "bid", "answers", "health"}
    | {"Parameters", "role", "default_checkpoint", "max_batch", "modality", "examples", "params", "last_error"}
    | {"commands", "feedback", "rate_hz", "step", "brake"}
)
"""Public names that a subclass may override or assign. `params` is there for its annotation (`params: Parameters`)."""
_INSTANCE: Final = frozenset({"spec", "id", "host", "device", "data_dir", "bus", "control", "log", "state", "monitor"})
"""Attributes that `Node.__init__` creates, and nobody else assigns."""


def is_owned(kind: type, name: str) -> bool:
    """Return whether a name belongs to the framework for nodes of this class."""
    return name in _owned(kind)


@cache
def _owned(kind: type) -> frozenset[str]:
    names = {
        name
        for base in kind.__mro__
        if base.__module__.startswith(_FRAMEWORK) and base is not object
        for name in vars(base)
        if not name.startswith("__")
    }
    return frozenset((names | _INSTANCE) - _OVERRIDABLE)


def check_class(kind: type) -> None:
    """Check the body and the methods of one subclass.

    Raises:
        ConfigError: It overrides a name that the framework owns, or a method assigns one to `self`.
    """
    if kind.__module__.startswith(_FRAMEWORK):
        return
    owned = frozenset().union(*(_owned(base) for base in kind.__mro__[1:] if base is not object))
    for name, value in vars(kind).items():
        if name in owned:
            raise ConfigError(
                f"{kind.__qualname__} overrides {name}, which belongs to the base class; choose another name"
            )
        for method in _functions(value):
            for assigned in _assigned_to_self(method.__code__):
                if assigned in owned:
                    raise ConfigError(
                        f"{kind.__qualname__}.{method.__name__} (line {method.__code__.co_firstlineno}) assigns "
                        f"self.{assigned}, which belongs to the base class; choose another name"
                    )


def _functions(value: Any) -> Iterator[FunctionType]:
    if isinstance(value, property):
        for part in (value.fget, value.fset, value.fdel):
            yield from _functions(part)
    elif isinstance(value, classmethod | staticmethod):
        return  # their first argument is no node
    elif isinstance(value, FunctionType):
        yield value


def _assigned_to_self(code: CodeType) -> Iterator[str]:
    """Yield the attributes that a method assigns to its first argument."""
    if code.co_argcount == 0:
        return
    first = code.co_varnames[0]
    before: dis.Instruction | None = None
    for instruction in dis.get_instructions(code):
        if (
            instruction.opname == "STORE_ATTR"
            and before is not None
            and before.opname.startswith("LOAD_")
            and _last_name(before) == first
        ):
            yield str(instruction.argval)
        before = instruction


def _last_name(instruction: dis.Instruction) -> Any:
    """Return the name that an instruction loads last; some load two (LOAD_FAST_LOAD_FAST since Python 3.13)."""
    value = instruction.argval
    return value[-1] if isinstance(value, tuple) else value

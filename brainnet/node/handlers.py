"""Decorators that say which topics a node listens to and which queries it answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__brainnet_handlers__"


@dataclass(frozen=True, slots=True)
class Handler:
    """One decorated method. ``{id}`` in the key stands for the node's id."""

    kind: Literal["subscribe", "serve"]
    key: str
    method: str
    wants_key: bool


def subscribe(key: str) -> Callable[[F], F]:
    """Call the method for every message on a key expression of the contract, one at a time, in order.

    ``async def`` runs on the event loop and must not block; ``def`` runs in the model thread. A method with a second
    parameter also gets the key.
    """
    return _mark("subscribe", key)


def serve(key: str) -> Callable[[F], F]:
    """Answer queries on a key (or key expression) of the contract with what the method returns.

    What the method raises is refused to the asker with its text.
    """
    return _mark("serve", key)


def _mark(kind: Literal["subscribe", "serve"], key: str) -> Callable[[F], F]:
    def decorate(method: F) -> F:
        marks = list(getattr(method, _MARK, ()))
        marks.append(Handler(kind, key, method.__name__, wants_key(method)))
        setattr(method, _MARK, marks)
        return method

    return decorate


def wants_key(method: Callable[..., Any]) -> bool:
    """Whether a handler takes the key after the message."""
    names = [n for n in inspect.signature(method).parameters if n != "self"]
    return len(names) > 1


def handlers_of(node: object) -> list[Handler]:
    """Every decorated method of a node, inherited ones included."""
    found: dict[tuple[str, str, str], Handler] = {}
    for kind in reversed(type(node).__mro__):
        for attribute in vars(kind).values():
            for handler in getattr(attribute, _MARK, ()):
                found[handler.kind, handler.key, handler.method] = handler
    return list(found.values())

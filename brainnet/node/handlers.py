"""Decorators that declare the subscriptions, the queryables and the timers of a node."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from brainnet.wire.topics import Contract

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__brainnet_handlers__"
"""Attribute of a decorated method. A mark, because the decorator runs before there is a class, and so no node."""
_TIMER = "__brainnet_timer__"
"""The same for a method that a timer calls."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One decorated method.

    Attributes:
        kind: Whether it handles messages or queries.
        topic: A topic of the contract by name, or a key expression.
        chunks: Values of the topic's chunks; `{id}` stands for the node's id.
        method: Name of the method.
        wants_key: Whether the method takes the key after the message.
        batch: For a subscription, the most messages that one call gets, as a list; 0 for one message at a time.
        gather_s: Seconds for which further messages are awaited after the first of a batch.
    """

    kind: Literal["subscribe", "serve"]
    topic: str
    chunks: tuple[tuple[str, str], ...]
    method: str
    wants_key: bool
    batch: int = 0
    gather_s: float = 0.0

    def expression(self, node_id: str, contract: Contract) -> str:
        """Return the key expression for a node of this id in a brain of this contract."""
        if "/" in self.topic:
            return self.topic.replace("{id}", node_id)
        return contract.key(self.topic, **{name: value.replace("{id}", node_id) for name, value in self.chunks})


def subscribe(topic: str, *, batch: int = 0, gather_s: float = 0.0, **chunks: str) -> Callable[[F], F]:
    """Call the method for every message on a topic, one at a time, in order.

    `async def` runs on the event loop and must not block; `def` runs in the model thread. A method with a second
    parameter also gets the key.

    Args:
        topic: A topic of the contract by name (`"result"`), or a key expression of it.
        batch: Call the method with a list of all messages that wait, at most so many, instead of one at a time; with a
            second parameter, it gets the list of their keys.
        gather_s: With `batch`, wait so long for further messages after the first: for work that nobody waits for, and
            that costs less for many at once.
        **chunks: Values of the topic's chunks (`modality="camera"`), `"{id}"` for this node's id; a chunk that is
            left out matches anything.
    """
    return _mark("subscribe", topic, chunks, batch, gather_s)


def serve(topic: str, **chunks: str) -> Callable[[F], F]:
    """Reply to queries on a topic with what the method returns.

    An exception of the method refuses the query with its text and code.

    Args:
        topic: A topic of the contract by name (`"memory_query"`), or a key (expression) of it.
        **chunks: Values of the topic's chunks, as for `subscribe`.
    """
    return _mark("serve", topic, chunks)


def _mark(
    kind: Literal["subscribe", "serve"], topic: str, chunks: dict[str, str], batch: int = 0, gather_s: float = 0.0
) -> Callable[[F], F]:
    def decorate(method: F) -> F:
        marks = list(getattr(method, _MARK, ()))
        marks.append(Handler(kind, topic, tuple(chunks.items()), method.__name__, wants_key(method), batch, gather_s))
        setattr(method, _MARK, marks)
        return method

    return decorate


@dataclass(frozen=True, slots=True)
class Every:
    """One method that a timer calls.

    Attributes:
        method: Name of the method.
        hz: Calls per second.
    """

    method: str
    hz: float


def every(*, hz: float) -> Callable[[F], F]:
    """Call the method, which takes nothing, `hz` times a second while the node is ready.

    The ticks are on a fixed grid that does not drift. Calls do not overlap and are not made up for: a tick during which
    the last call still runs is missed, and counted. How late the calls begin and how long they take stands in the
    node's health. `async def` runs on the event loop and must not block; `def` runs in the model thread.

    Args:
        hz: Calls per second, in (0, 1000]. `Node.add_timer` takes a rate that is only known at run time.
    """

    def decorate(method: F) -> F:
        setattr(method, _TIMER, Every(method.__name__, hz))
        return method

    return decorate


def timers_of(node: object) -> list[Every]:
    """Return every method of a node that a timer calls, inherited ones included."""
    timers: dict[str, Every] = {}
    for kind in reversed(type(node).__mro__):
        for attribute in vars(kind).values():
            if isinstance(timer := getattr(attribute, _TIMER, None), Every):
                timers[timer.method] = timer
    return list(timers.values())


def wants_key(method: Callable[..., Any]) -> bool:
    """Return whether a handler takes the key after the message."""
    names = [n for n in inspect.signature(method).parameters if n != "self"]
    return len(names) > 1


def handlers_of(node: object) -> list[Handler]:
    """Return every decorated method of a node, inherited ones included."""
    handlers: dict[tuple[str, str, tuple[tuple[str, str], ...], str], Handler] = {}
    # Base classes first, so that a method decorated again in a subclass replaces the inherited one.
    for kind in reversed(type(node).__mro__):
        for attribute in vars(kind).values():
            for handler in getattr(attribute, _MARK, ()):
                handlers[handler.kind, handler.topic, handler.chunks, handler.method] = handler
    return list(handlers.values())

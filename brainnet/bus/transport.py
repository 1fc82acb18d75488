"""What a bus needs from the network: a small interface with two implementations, Zenoh and in-memory.

Callbacks run on threads of the transport and must return at once. Keys here are full keys, namespace included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from brainnet.wire.topics import Priority


@dataclass(slots=True)
class Sample:
    """One message as it came."""

    key: str
    payload: bytes
    encoding: str = ""
    attachment: bytes | None = None
    alive: bool = True
    """For liveliness: whether the token appeared (True) or went."""


@dataclass(frozen=True, slots=True)
class QoS:
    """How a publisher's messages travel."""

    reliable: bool
    priority: Priority = "data"
    express: bool = False
    encoding: str = ""


class Handle(Protocol):
    """Something declared that can be taken back."""

    def close(self) -> None: ...


class Outlet(Protocol):
    """A declared publisher."""

    def put(self, payload: bytes, attachment: bytes | None, encoding: str | None = None) -> None: ...

    @property
    def matching(self) -> bool:
        """Whether somebody listens now."""

    def on_matching(self, callback: Callable[[bool], None]) -> Handle:
        """Call back whenever `matching` changes."""

    def close(self) -> None: ...


class Request(Protocol):
    """A query that came in. Exactly one of `reply` or `refuse`, then it is finished."""

    key: str
    payload: bytes
    encoding: str

    def reply(self, key: str, payload: bytes, encoding: str) -> None: ...

    def refuse(self, payload: bytes, encoding: str) -> None: ...


@dataclass(slots=True)
class RawReply:
    """One answer to a query: a reply, or a refusal whose payload says why."""

    key: str
    payload: bytes
    encoding: str
    refused: bool = False


class Transport(ABC):
    """One session."""

    @abstractmethod
    def outlet(self, key: str, qos: QoS) -> Outlet:
        """Declare a publisher."""

    @abstractmethod
    def subscribe(self, expression: str, callback: Callable[[Any], None]) -> Handle:
        """Declare a subscriber; what the callback gets is turned into a `Sample` by `read`."""

    @staticmethod
    @abstractmethod
    def read(raw: Any) -> Sample:
        """Turn what a subscriber's callback got into a `Sample`. Kept apart because it may run on another thread."""

    @staticmethod
    @abstractmethod
    def key_and_payload(raw: Any) -> tuple[str, bytes]:
        """The two parts of a `Sample` that every message needs; much cheaper than `read`."""

    @abstractmethod
    def serve(self, expression: str, callback: Callable[[Request], None]) -> Handle:
        """Declare a queryable."""

    @abstractmethod
    def ask(
        self,
        expression: str,
        payload: bytes,
        encoding: str,
        timeout: float,
        on_reply: Callable[[RawReply], None],
        on_done: Callable[[], None],
    ) -> None:
        """Send a query to everybody who serves the expression; `on_done` comes once, after the last reply."""

    @abstractmethod
    def declare_alive(self, key: str) -> Handle:
        """Declare a liveliness token."""

    @abstractmethod
    def watch_alive(self, expression: str, callback: Callable[[Sample], None]) -> Handle:
        """Watch liveliness tokens, those already there included."""

    @abstractmethod
    def list_alive(self, expression: str, timeout: float, on_done: Callable[[list[str]], None]) -> None:
        """The liveliness tokens there are now."""

    @abstractmethod
    def close(self) -> None:
        """End the session and everything declared on it."""

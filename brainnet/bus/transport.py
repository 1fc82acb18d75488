"""The interface of a network session, with two implementations: Zenoh and in-memory.

Callbacks run on threads of the transport and must return at once. Keys are full keys, with the namespace.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from brainnet.wire.topics import Priority


@dataclass(slots=True)
class Sample:
    """One message as it was received.

    Attributes:
        key: The full key.
        payload: The bytes.
        encoding: The Zenoh encoding.
        attachment: Bytes beside the payload; the stamp of a typed message.
        alive: For liveliness, whether the token appeared (True) or disappeared.
    """

    key: str
    payload: bytes
    encoding: str = ""
    attachment: bytes | None = None
    alive: bool = True


@dataclass(frozen=True, slots=True)
class QoS:
    """Quality of service of a publisher.

    Attributes:
        reliable: Reliable transport, and congestion control BLOCK instead of DROP.
        priority: Zenoh priority.
        express: Send each message at once instead of batching it with others.
        encoding: Zenoh encoding of the payloads.
    """

    reliable: bool
    priority: Priority = "data"
    express: bool = False
    encoding: str = ""


class Handle(Protocol):
    """A declaration on a session."""

    def close(self) -> None:
        """Undeclare it."""


class Publisher(Protocol):
    """A declared publisher."""

    def put(self, payload: bytes, attachment: bytes | None, encoding: str | None = None) -> None:
        """Send one message; `encoding` overrides the publisher's."""

    @property
    def matching(self) -> bool:
        """Whether there is a matching subscriber now."""

    def on_matching(self, callback: Callable[[bool], None]) -> Handle:
        """Call back whenever `matching` changes."""

    def close(self) -> None:
        """Undeclare it."""


class Request(Protocol):
    """A received query. Call exactly one of `reply` and `refuse`; then the query is finished."""

    key: str
    payload: bytes
    encoding: str

    def reply(self, key: str, payload: bytes, encoding: str) -> None:
        """Send the reply."""

    def refuse(self, payload: bytes, encoding: str) -> None:
        """Send an error reply."""


@dataclass(slots=True)
class RawReply:
    """One received reply to a query, or an error reply (`refused`) whose payload gives the reason."""

    key: str
    payload: bytes
    encoding: str
    refused: bool = False


class Transport(ABC):
    """One session."""

    @abstractmethod
    def declare_publisher(self, key: str, qos: QoS) -> Publisher:
        """Declare a publisher."""

    @abstractmethod
    def subscribe(self, expression: str, callback: Callable[[Any], None], *, direct: bool = False) -> Handle:
        """Declare a subscriber; the callback gets raw samples, which `read` turns into a `Sample`.

        Args:
            expression: A full key expression.
            callback: Called with each raw sample, in order.
            direct: Call on the thread that received the message, or that published it in this session, instead of a
                thread of this subscriber, which is faster. Such a callback must neither publish nor call the transport.
        """

    @staticmethod
    @abstractmethod
    def read(raw: Any) -> Sample:
        """Turn a raw sample of a subscriber into a `Sample`.

        It is not done before the callback, so that the consumer's thread does it and not the transport's.
        """

    @staticmethod
    @abstractmethod
    def key_and_payload(raw: Any) -> tuple[str, bytes]:
        """Return the two parts of a raw sample that every message needs; much cheaper than `read`."""

    @abstractmethod
    def serve(self, expression: str, callback: Callable[[Request], None]) -> Handle:
        """Declare a queryable."""

    @abstractmethod
    def query(
        self,
        expression: str,
        payload: bytes,
        encoding: str,
        timeout: float,
        on_reply: Callable[[RawReply], None],
        on_done: Callable[[], None],
    ) -> None:
        """Send a query to every queryable of the expression; `on_done` is called once, after the last reply."""

    @abstractmethod
    def declare_alive(self, key: str) -> Handle:
        """Declare a liveliness token."""

    @abstractmethod
    def watch_alive(self, expression: str, callback: Callable[[Sample], None]) -> Handle:
        """Watch liveliness tokens, existing ones included."""

    @abstractmethod
    def list_alive(self, expression: str, timeout: float, on_done: Callable[[list[str]], None]) -> None:
        """Call `on_done` with the keys of the liveliness tokens that exist now."""

    @abstractmethod
    def close(self) -> None:
        """Close the session and everything declared on it."""

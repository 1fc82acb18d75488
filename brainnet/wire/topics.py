"""The wire contract of `topics/contract.yaml` as typed data.

The contract is the only place that defines a key expression, its payload, its publishers and its quality of service.
Every publisher and subscriber looks its topic up here, so a topic that is not listed cannot be used.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainnet import yaml_text
from brainnet.errors import ConfigError, TextError, TopicError
from brainnet.paths import share_dir
from brainnet.wire import messages, packet

Role = Literal["client", "region", "router", "integrator", "body", "sensor", "node", "supervisor"]
Overflow = Literal["drop_newest", "drop_oldest", "block"]
Priority = Literal["real_time", "interactive_high", "interactive_low", "data_high", "data", "data_low", "background"]
PACKET: Final = "SpikePacket"
NOT_A_NODE: Final = ("client", "supervisor")
"""Roles that the role `node` of the contract does not include."""


class MailboxSpec(BaseModel):
    """Capacity of a subscriber's mailbox, and what happens to a message that does not fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    capacity: int = Field(256, ge=1)
    overflow: Overflow = "drop_newest"


class Topic(BaseModel):
    """One topic of the contract."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    name: str
    key: str
    about: str
    payload: str
    header: str | None = None
    reply: str | None = None
    publishers: Annotated[tuple[Role, ...], Field(alias="from")]
    subscribers: Annotated[tuple[Role, ...], Field(alias="to")]
    delivery: Literal["reliable", "best_effort"]
    priority: Priority = "data"
    express: bool = False
    mailbox: MailboxSpec = MailboxSpec()

    @property
    def expression(self) -> str:
        """The key expression that covers the topic: every {name} becomes `*`."""
        return "/".join("*" if chunk.startswith("{") else chunk for chunk in self.key.split("/"))

    @property
    def message(self) -> type[messages.Message] | None:
        """The typed message on the topic; None for SpikePackets and for liveliness."""
        return None if self.payload in (PACKET, "none") else _message(self.payload)

    @property
    def reply_message(self) -> type[messages.Message] | None:
        """The typed message that a query returns."""
        return None if self.reply is None else _message(self.reply)

    @property
    def header_message(self) -> type[messages.Header] | None:
        """The typed header of a SpikePacket, or None where its metadata are free."""
        if self.header is None:
            return None
        kind = _message(self.header)
        if not issubclass(kind, messages.Header):
            raise KeyError(f"header {self.header} is not a header of brainnet.wire.messages")
        return kind

    @property
    def chunks(self) -> tuple[str, ...]:
        """The names of the chunks that the key writes in braces."""
        return tuple(part[1:-1] for part in self.key.split("/") if part.startswith("{"))

    def fill(self, **values: str) -> str:
        """Return the key with these chunks; a chunk that is left out becomes `*`.

        Raises:
            TopicError: A chunk that the key does not have, or a value with characters that Zenoh reserves.
        """
        for name, value in values.items():
            if name not in self.chunks:
                raise TopicError(f"topic {self.name} has no chunk {name!r}; its key is {self.key}")
            check_key(value)
        return "/".join(values.get(part[1:-1], "*") if part.startswith("{") else part for part in self.key.split("/"))

    def chunk(self, key: str, name: str) -> str:
        """Return the value of one chunk of a concrete key.

        Raises:
            TopicError: The key is not one of this topic, or the topic has no such chunk.
        """
        if not self.matches(key) or name not in self.chunks:
            raise TopicError(f"{key!r} has no chunk {name!r} of topic {self.name}, whose key is {self.key}")
        return key.split("/")[self.key.split("/").index("{" + name + "}")]

    @property
    def wire_encoding(self) -> str:
        """The Zenoh encoding of the payload."""
        if self.payload == PACKET:
            return packet.WIRE_ENCODING
        kind = self.message
        return "" if kind is None else kind.wire_encoding()

    def matches(self, key: str) -> bool:
        """Return whether a concrete key (without wildcards) belongs to this topic."""
        pattern, chunks = self.key.split("/"), key.split("/")
        return len(pattern) == len(chunks) and all(
            p.startswith("{") or p == c for p, c in zip(pattern, chunks, strict=True)
        )

    def permits(self, role: str, direction: Literal["out", "in"]) -> bool:
        """Return whether a role may publish (out) or subscribe (in); `node` includes every role of a node."""
        allowed = self.publishers if direction == "out" else self.subscribers
        return role in allowed or ("node" in allowed and role not in NOT_A_NODE)


class Contract(BaseModel):
    """A wire contract."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1]
    topics: tuple[Topic, ...]

    def find(self, key: str) -> Topic:
        """Return the topic of a concrete key, which is relative to the namespace.

        Raises:
            TopicError: The contract does not list it.
        """
        for topic in self.topics:
            if topic.matches(key):
                return topic
        raise TopicError(f"no topic of the contract matches the key {key!r}; see `brainnet topic list --contract`")

    def covering(self, expression: str) -> list[Topic]:
        """Return the topics with keys that match a key expression (with `*` and `**`)."""
        import zenoh

        wanted = zenoh.KeyExpr(expression)
        return [t for t in self.topics if wanted.intersects(zenoh.KeyExpr(t.expression))]

    def topic(self, name: str) -> Topic:
        """Return the topic of this name.

        Raises:
            TopicError: The contract has none.
        """
        for topic in self.topics:
            if topic.name == name:
                return topic
        raise TopicError(f"the contract has no topic {name!r}; it has {', '.join(t.name for t in self.topics)}")


@cache
def contract() -> Contract:
    """Return the contract of this installation; it is read once."""
    return load_contract(share_dir() / "topics" / "contract.yaml")


def load_contract(path: Path) -> Contract:
    """Read a contract file.

    Raises:
        ConfigError: The file does not hold a contract; names what is wrong.
    """
    try:
        loaded = Contract.model_validate(yaml_text.read(path).value)
        for topic in loaded.topics:
            _ = topic.message, topic.header_message, topic.reply_message  # raise KeyError for a name that is no class
    except ValidationError as error:
        raise ConfigError(f"{path}: {messages.explain(error)}") from None
    except TextError as error:
        raise ConfigError(str(error)) from None
    except (FileNotFoundError, KeyError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return loaded


def _message(name: str) -> type[messages.Message]:
    kind = getattr(messages, name, None)
    if not (isinstance(kind, type) and issubclass(kind, messages.Message)):
        raise KeyError(f"payload {name} is not a message of brainnet.wire.messages")
    return kind


def check_key(key: str) -> str:
    """Check that a text is a key that Zenoh accepts, without wildcards, and return it.

    Raises:
        TopicError: The key has empty chunks, wildcards, or characters that Zenoh reserves.
    """
    if not key or any(not chunk or any(c in chunk for c in "*$?#{}") for chunk in key.split("/")):
        raise TopicError(f"{key!r} is not a key: chunks between '/' may not be empty nor hold * $ ? # {{ }}")
    return key

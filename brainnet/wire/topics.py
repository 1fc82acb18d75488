"""The wire contract of `topics/contract.yaml` as typed data.

The contract is the only place that defines a key expression, its payload, its publishers and its quality of service.
Every publisher and subscriber looks its topic up here, so a topic that is not listed cannot be used. A brain may have
topics of its own beside those of this installation: `wire.extension` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainnet import yaml_text
from brainnet.errors import ConfigError, TextError, TopicError
from brainnet.limits import MAX_NAME
from brainnet.paths import share_dir
from brainnet.texts import did_you_mean
from brainnet.wire import declared, messages, packet
from brainnet.wire.declared import DeclaredField

Role = Literal["client", "region", "router", "integrator", "body", "sensor", "node", "supervisor"]
Overflow = Literal["drop_newest", "drop_oldest", "block"]
Priority = Literal["real_time", "interactive_high", "interactive_low", "data_high", "data", "data_low", "background"]
Direction = Literal["out", "in"]
PACKET: Final = "SpikePacket"
NO_PAYLOAD: Final = "none"
"""The payload of liveliness."""
NOT_A_NODE: Final = ("client", "supervisor")
"""Roles that the role `node` of the contract does not include."""


_Short = Annotated[str, Field(max_length=MAX_NAME)]


class MailboxSpec(BaseModel):
    """Capacity of a subscriber's mailbox, and what happens to a message that does not fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    capacity: int = Field(256, ge=1, description="messages that wait")
    overflow: Overflow = Field(
        "drop_newest",
        description="what happens to one more: drop_newest refuses it, drop_oldest forgets the oldest, block makes its "
        "sender wait",
    )


class Topic(BaseModel):
    """One topic of the contract."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    name: _Short = Field(description="by which programs name it")
    key: str = Field(max_length=256, description="relative to the namespace; {name} stands for any one chunk")
    about: str = Field(max_length=1000, description="what it carries, for people")
    plane: Literal["data", "control"] = Field(
        "data", description="control is what the runtime itself needs; `brainnet topic list` leaves it out"
    )
    payload: _Short = Field(
        description="SpikePacket, or a message of brainnet; with `fields`, the name of the message, by default that of "
        "the topic"
    )
    fields: dict[str, DeclaredField] | None = Field(None, description="the message, in place of a class; see below")
    header: _Short | None = Field(None, description="the typed metadata of a SpikePacket; without it they are free")
    reply: _Short | None = Field(None, description="for a query: the message that comes back")
    reply_fields: dict[str, DeclaredField] | None = Field(None, description="the same, in place of a class")
    publishers: Annotated[tuple[Role, ...], Field(alias="from", description="roles that may publish, or ask")]
    subscribers: Annotated[tuple[Role, ...], Field(alias="to", description="roles that may listen, or serve")]
    delivery: Literal["reliable", "best_effort"] = Field(
        description="reliable is never dropped by the sender, best_effort is dropped on a busy link, and counted"
    )
    priority: Priority = Field("data", description="the priority of Zenoh")
    express: bool = Field(False, description="sent at once, and not in a batch with others")
    mailbox: MailboxSpec = Field(MailboxSpec(), description="of a subscriber; see below")

    @model_validator(mode="before")
    @classmethod
    def _name_declared(cls, value: Any) -> Any:
        """Name the messages whose fields are written here after the topic, unless they have names."""
        if not (isinstance(value, dict) and isinstance(value.get("name"), str)):
            return value
        for part in ("fields", "reply_fields"):
            if isinstance(value.get(part), dict) and len(value[part]) > declared.MAX_FIELDS:
                raise ValueError(f"{part} has {len(value[part])} entries; a message has at most {declared.MAX_FIELDS}")
        name = declared.default_name(value["name"])
        named = {"payload": name} if value.get("fields") is not None else {}
        named |= {"reply": f"{name}Reply"} if value.get("reply_fields") is not None else {}
        return {**named, **value}

    @property
    def expression(self) -> str:
        """The key expression that covers the topic: every {name} becomes `*`."""
        return "/".join("*" if chunk.startswith("{") else chunk for chunk in self.key.split("/"))

    @cached_property
    def message(self) -> type[messages.Message] | None:
        """The typed message on the topic; None for SpikePackets and for liveliness."""
        if self.payload in (PACKET, NO_PAYLOAD):
            return None
        return _message(self.payload, self.fields)

    @cached_property
    def reply_message(self) -> type[messages.Message] | None:
        """The typed message that a query returns."""
        return None if self.reply is None else _message(self.reply, self.reply_fields)

    @property
    def header_message(self) -> type[messages.Header] | None:
        """The typed header of a SpikePacket, or None where its metadata are free."""
        if self.header is None:
            return None
        kind = _message(self.header, None)
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

    def roles(self, direction: Direction) -> tuple[Role, ...]:
        """Return the roles that may publish or ask (out), or listen or serve (in)."""
        return self.publishers if direction == "out" else self.subscribers

    def permits(self, role: str, direction: Direction) -> bool:
        """Return whether a role may publish (out) or subscribe (in); `node` includes every role of a node."""
        allowed = self.roles(direction)
        return role in allowed or ("node" in allowed and role not in NOT_A_NODE)

    def check_role(self, role: str, direction: Direction, *, query: bool = False) -> None:
        """Check that a role may publish (out) or listen (in); with `query`, ask (out) or serve (in).

        Raises:
            TopicError: It may not; names the roles that may.
        """
        if not self.permits(role, direction):
            out, back = ("ask", "serve") if query else ("publish", "listen")
            verb = out if direction == "out" else back
            listed = ", ".join("node (every process of a node)" if r == "node" else r for r in self.roles(direction))
            raise TopicError(
                f"role {role!r} may not {verb} on {self.key}; for topic {self.name} the contract lists {listed}"
            )

    def describe_payload(self) -> str:
        """Return the payload with its fields in one line, for messages to people."""
        kind = self.message
        if kind is not None:
            return declared.describe(kind)
        return f"{PACKET} {{data, modality, dt_us, metadata}}" if self.payload == PACKET else "no payload"

    def make(self, fields: Mapping[str, Any]) -> messages.Message:
        """Make the message of this topic from a map of its fields.

        Raises:
            TopicError: The topic carries no typed message.
            MessageError: Fields are unknown, missing or wrong; names them, and those that the message has.
        """
        if self.message is None:
            raise TopicError(f"{self.key} carries {self.describe_payload()}, not a map of fields")
        return declared.make(self.message, fields)

    def make_reply(self, fields: Mapping[str, Any]) -> messages.Message:
        """Make the reply of this topic from a map of its fields.

        Raises:
            TopicError: The topic has no reply.
            MessageError: As `make`.
        """
        if self.reply_message is None:
            raise TopicError(f"{self.key} has no reply")
        return declared.make(self.reply_message, fields)


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

    def key(self, topic: str, /, **chunks: str) -> str:
        """Return the key of a topic, relative to the namespace; a chunk that is left out becomes `*`.

        Raises:
            TopicError: There is no such topic, it has no such chunk, or a value holds characters that Zenoh reserves.
        """
        return self.topic(topic).fill(**chunks)

    def extended(self, topics: Iterable[Topic]) -> Contract:
        """Return a contract with further topics, which `wire.extension` has checked."""
        return Contract(version=self.version, topics=(*self.topics, *topics))

    def topic(self, name: str) -> Topic:
        """Return the topic of this name.

        Raises:
            TopicError: The contract has none.
        """
        for topic in self.topics:
            if topic.name == name:
                return topic
        known = [t.name for t in self.topics]
        raise TopicError(
            f"the contract has no topic {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}, and those of a "
            "file that an allocation names in `topics:`"
        )


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


def _message(name: str, fields: Mapping[str, DeclaredField] | None) -> type[messages.Message]:
    if fields is not None:
        return declared.declared_message(name, fields)
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

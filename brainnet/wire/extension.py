"""Topics of the user's own: contract files beside an allocation, which extend the contract of this installation.

```yaml
version: 1
topics:
  - name: odometry
    key: lab/odometry
    about: where the robot believes it is
    fields: {x_m: float, heading_rad: float, covariance: "list[float]"}
    from: [body]
    to: [region, client]
    delivery: best_effort
```

An extension adds topics and changes none: a name or a key that the contract has already, in whatever way, is refused.
A launcher reads the files; everybody else in the brain gets what it has read, so all have the same contract.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainnet import yaml_text
from brainnet.errors import ContractError, MessageError, TextError
from brainnet.limits import is_name, mistake
from brainnet.texts import did_you_mean
from brainnet.wire import messages
from brainnet.wire.declared import DeclaredField, check_fields, is_message_name
from brainnet.wire.messages import MAX_TOPICS, Header
from brainnet.wire.topics import NO_PAYLOAD, PACKET, MailboxSpec, Role, Topic, contract
from brainnet.yaml_text import Location

MAX_CHUNKS: Final = 16
"""Chunks of a key of an extension."""
RESERVED_CHUNKS: Final = ("topic", "batch", "gather_s")
"""Names that no chunk in braces may have: `subscribe` has parameters of these names."""


class ExtensionFile(BaseModel):
    """The fields of a file with topics, as they are written there."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = Field(description="version of this format: 1")
    topics: tuple[Topic, ...] = Field(min_length=1, max_length=MAX_TOPICS, description="the topics")


class Extension:
    """The topics that a brain has beside those of its installation.

    Attributes:
        topics: The topics, in the order of the files; each has been checked beside all others.
        digest: SHA-256 of them in hexadecimal digits, the same for the same topics in any order; empty without topics.
        contract: The contract of this installation with them.
    """

    def __init__(self, topics: Iterable[Topic] = ()) -> None:
        self.topics = tuple(topics)
        rows = sorted(json.dumps(row, sort_keys=True) for row in self.rows())
        self.digest = hashlib.sha256("\n".join(rows).encode()).hexdigest() if rows else ""
        self.contract = contract().extended(self.topics) if self.topics else contract()

    def rows(self) -> list[dict[str, Any]]:
        """Return the topics as maps of JSON, which `of_rows` reads."""
        return [topic.model_dump(mode="json", by_alias=True, exclude_defaults=True) for topic in self.topics]

    @classmethod
    def of_rows(cls, rows: Sequence[Any], origin: str) -> Extension:
        """Read the topics that somebody else has read from files.

        Args:
            rows: What `rows` returned there, and what may have become of it.
            origin: Who says so, for errors.

        Raises:
            MessageError: They are no topics, or contradict the contract of this installation.
        """
        try:
            found = ExtensionFile.model_validate({"version": 1, "topics": rows}).topics if rows else ()
        except ValidationError as error:
            raise MessageError(f"the topics that {origin} adds cannot be used: {messages.explain(error)}") from None
        known = list(contract().topics)
        for topic in found:
            for field, problem in _problems(topic, known):
                where = yaml_text.dotted(field)
                raise MessageError(f"the topics that {origin} adds cannot be used: {topic.name}: {where}: {problem}")
            known.append(topic)
        return cls(found)


def load_extension(paths: Sequence[Path]) -> Extension:
    """Read files with topics of the user's own.

    Raises:
        ContractError: A file does not hold topics, or they contradict the contract or each other; names file, line,
            field and what is accepted.
    """
    known: list[Topic] = list(contract().topics)
    origins: dict[str, str] = {}
    added: list[Topic] = []
    for path in paths:
        for topic, where in _load_file(path, known, origins):
            known.append(topic)
            added.append(topic)
            origins[topic.name] = where
    if len(added) > MAX_TOPICS:
        raise ContractError(f"{paths[-1]}: a brain may add {MAX_TOPICS} topics, and the files have {len(added)}")
    return Extension(added)


def _load_file(path: Path, known: list[Topic], origins: dict[str, str]) -> Iterator[tuple[Topic, str]]:
    """Yield the topics of a file with their places; each is checked beside those that are known by then."""
    try:
        document = yaml_text.read(path)
    except TextError as error:
        raise _placed(error, path) from None
    except FileNotFoundError:
        raise ContractError(f"the topics file {path} does not exist", path=path) from None
    if not isinstance(document.value, dict):
        raise ContractError(f"{path}: a topics file is a map with version and topics", path=path)
    try:
        found = ExtensionFile.model_validate(document.value)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        item = next((e for e in mistakes if e["type"] == "extra_forbidden"), mistakes[0])
        raise _placed(document.error(item["loc"], _explain(item)), path) from None
    for index, topic in enumerate(found.topics):
        at: Location = ("topics", index)
        for field, problem in _problems(topic, known, origins):
            raise _placed(document.error((*at, *field), problem), path)
        yield topic, f"{path}, line {document.position((*at, 'name')).line}"


def _placed(error: TextError, path: Path) -> ContractError:
    return ContractError(str(error), path=path, line=error.line, field=error.where)


def _explain(item: Any) -> str:
    """Return a mistake that pydantic found as text, with what is accepted instead."""
    kind, location = item["type"], item["loc"]
    if kind == "missing":
        both = "; give the payload by its name, or write its fields as `fields:`" if location[-1] == "payload" else ""
        return f"is missing{both}"
    if kind != "extra_forbidden":
        return mistake(item)
    known = [field.alias or name for name, field in _model_at(location[:-1]).model_fields.items()]
    return f"unknown field{did_you_mean(str(location[-1]), known)}; fields here are {', '.join(known)}"


def _model_at(location: Location) -> type[BaseModel]:
    match location:
        case ("topics", int()):
            return Topic
        case (*_, "mailbox"):
            return MailboxSpec
        case ("topics", int(), "fields" | "reply_fields", _):
            return DeclaredField
    return ExtensionFile


# -- what contradicts the contract -------------------------------------------------------------------------------------


def _problems(
    topic: Topic, known: Sequence[Topic], origins: dict[str, str] | None = None
) -> Iterator[tuple[Location, str]]:
    """Yield what is wrong with a further topic beside those that are known: the field, and what is wrong with it."""
    if not is_name(topic.name):
        yield ("name",), "is not a name of at most 64 letters, digits, '_', '-' and '.'"
    for other in known:
        if other.name == topic.name:
            where = (origins or {}).get(other.name, "the contract of brainnet")
            yield ("name",), f"{topic.name!r} is a topic already ({where}); choose another name"
    yield from ((("key",), problem) for problem in _key_problems(topic, known))
    yield from _payload_problems(topic)


def _key_problems(topic: Topic, known: Sequence[Topic]) -> Iterator[str]:
    chunks = topic.key.split("/")
    if len(chunks) > MAX_CHUNKS:
        yield f"has at most {MAX_CHUNKS} chunks"
        return
    names = [chunk[1:-1] for chunk in chunks if chunk.startswith("{") and chunk.endswith("}")]
    for chunk in chunks:
        if chunk.startswith("{") and chunk.endswith("}"):
            name = chunk[1:-1]
            if not (name.isidentifier() and name.isascii()) or name in RESERVED_CHUNKS or names.count(name) > 1:
                yield (
                    f"{chunk} stands for a chunk, whose name is one of letters, digits and '_', unlike every other "
                    f"of the key, and none of {', '.join(RESERVED_CHUNKS)}"
                )
        elif not is_name(chunk):
            # Zenoh reserves more characters than these at some places, such as @ at the start of a chunk.
            yield (
                f"{chunk!r} is no chunk: chunks are separated by single slashes, and have at most 64 letters, digits, "
                "'_', '-' and '.', or stand for any chunk, as {robot}"
            )
    if chunks[0].startswith("{"):
        yield "begins with a chunk that stands for any; the first one must be fixed, such as lab/{robot}"
    for other in contract().topics:
        if other.plane == "control" and other.key.split("/")[0] == chunks[0]:
            yield f"begins with {chunks[0]}, under which brainnet has keys of its own ({other.key}); choose another one"
    for other in known:
        if _overlap(topic.key, other.key):
            yield f"{topic.key} can be the same key as {other.key} of topic {other.name}; choose another one"


def _overlap(first: str, second: str) -> bool:
    """Return whether a key can belong to both."""
    left, right = first.split("/"), second.split("/")
    return len(left) == len(right) and all(
        a == b or a.startswith("{") or b.startswith("{") for a, b in zip(left, right, strict=True)
    )


def _payload_problems(topic: Topic) -> Iterator[tuple[Location, str]]:
    for part, name, fields in (("", topic.payload, topic.fields), ("reply", topic.reply, topic.reply_fields)):
        at, field = (part, "reply_fields") if part else ("payload", "fields")
        known = messages_by_name()
        if fields is None:
            if name is None or (name == PACKET and not part) or name in known:
                continue
            hint = did_you_mean(name, [PACKET, *known])
            packet = f"{PACKET}, " if not part else ""
            yield (
                (at,),
                f"there is no payload {name!r}{hint}; it is {packet}a message ({', '.join(known)}), or is left out "
                f"beside {field}",
            )
            continue
        try:
            check_fields(fields)
        except ValueError as error:
            yield (field,), str(error)
        if name in (PACKET, NO_PAYLOAD) or name in known or not is_message_name(name or ""):
            yield (
                (at,),
                f"{name!r} cannot be the name of the message that {field} describes: a name such as Odometry, of "
                f"letters and digits, that no message of brainnet has; give one as {at}",
            )
    if topic.header is not None:
        kind = getattr(messages, topic.header, None)
        headers = [n for n, found in messages_by_name(headers=True).items() if found is kind]
        if topic.payload != PACKET or not headers:
            listed = ", ".join(messages_by_name(headers=True))
            yield ("header",), f"is the typed metadata of a {PACKET}, one of {listed}"
    if topic.reply is not None and topic.payload == PACKET:
        yield ("payload",), "of a query is a message, not a SpikePacket"
    for direction, roles in (("from", topic.publishers), ("to", topic.subscribers)):
        if not roles:
            yield (direction,), f"names no role; roles are {', '.join(get_args(Role))}"


def messages_by_name(*, headers: bool = False) -> dict[str, type[messages.Message]]:
    """Return the messages of brainnet that a topic may carry, or the headers that a SpikePacket may."""
    found = {name: getattr(messages, name) for name in messages.__all__}
    return {
        name: kind
        for name, kind in found.items()
        if isinstance(kind, type)
        and issubclass(kind, messages.Message)
        and kind not in (messages.Message, Header)
        and issubclass(kind, Header) == headers
    }

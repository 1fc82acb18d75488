"""The base classes of typed messages, and their codec.

On the wire a message is a msgpack map of its fields, or JSON with base64 bytes for clients that prefer it. Unknown
fields are ignored, so that a newer minor version is accepted; missing or wrong fields are one `MessageError` that names
them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

import msgpack
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from brainnet.errors import MessageError
from brainnet.texts import printable, shorten
from brainnet.wire import bounded
from brainnet.wire.packet import SpikePacket

JSON_ENCODING: Final = "application/json"
"""The Zenoh encoding of a message in JSON."""
MAX_TEXT: Final = 100_000
"""Characters of a prompt's text."""
MAX_ID: Final = 128
"""Characters of an id: of a prompt, a session, a node, a region, a host."""
MAX_ANSWER: Final = 1_000_000
"""Characters of an answer's text."""
_SHOWN: Final = 60
"""Characters of a wrong value that an error shows."""
MAX_ERROR: Final = 2_000
"""Characters of the text of an error; a longer one is cut, because an error must arrive."""
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Id = Annotated[str, Field(max_length=MAX_ID)]


def _cut_error(text: str) -> str:
    return shorten(text, MAX_ERROR)


ErrorText = Annotated[str, AfterValidator(_cut_error), PlainSerializer(_cut_error)]
"""The text of an error, cut to `MAX_ERROR` when it is read, and when it is written."""


class Message(BaseModel):
    """Base of everything on the wire that is not a SpikePacket."""

    model_config = ConfigDict(
        extra="ignore", ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False, validate_assignment=True
    )
    version: ClassVar[int] = 1

    @classmethod
    def wire_encoding(cls) -> str:
        """Return the Zenoh encoding of this message as msgpack."""
        return f"application/msgpack;brainnet.{cls.__name__}/{cls.version}"


class Header(Message):
    """A message in the metadata of a SpikePacket, which addresses and describes the packet's data."""

    def to_metadata(self) -> dict[str, Any]:
        """Return the metadata of the packet."""
        return self.model_dump()

    @classmethod
    def of(cls, packet: SpikePacket) -> Self:
        """Read the header of a packet.

        Raises:
            MessageError: Fields are missing or wrong; names them.
        """
        return validate(cls, packet.metadata)


class Refusal(Message):
    """Why a query was refused; JSON in a Zenoh error reply, so that any client can read it.

    Attributes:
        code: One of `brainnet.errors.ERROR_CODES`.
        error: The reason as one sentence.
    """

    code: Id = "refused"
    error: ErrorText = ""


M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message that was encoded once, to be sent several times.

    Attributes:
        kind: The class of the message.
        payload: Its bytes.
        as_json: Whether they are JSON and not msgpack.
    """

    kind: type[Message]
    payload: bytes
    as_json: bool = False

    def wire_encoding(self) -> str:
        """Return the Zenoh encoding of the payload."""
        return JSON_ENCODING if self.as_json else self.kind.wire_encoding()


def encode(message: Message, *, as_json: bool = False, decoded: bool = False) -> bytes:
    """Write a message as msgpack, or as JSON. What is written, `decode` accepts.

    A numpy number in a field of free form is written as a number.

    Args:
        message: What is written.
        as_json: Write JSON.
        decoded: What its fields of free form hold was read by `decode`, and is not checked once more.

    Raises:
        MessageError: A field of free form holds a value that cannot be written.
    """
    try:
        fields = message.model_dump()
        # packb accepts more than `decode` does, such as keys that are not strings. A message must not be refused by
        # its receivers only.
        if not decoded:
            bounded.check(fields)
        packed: bytes = msgpack.packb(fields, default=bounded.number)
        return message.model_dump_json(fallback=bounded.number).encode() if as_json else packed
    except Exception as error:  # what somebody puts into a field of free form may raise anything while it is written
        reason = _one_line(str(error) or type(error).__name__, 200)
        raise MessageError(f"{type(message).__name__} cannot be written: {reason}") from None


def decode(kind: type[M], payload: bytes, encoding: str = "") -> M:
    """Read a message.

    Args:
        kind: The class of the message.
        payload: The bytes.
        encoding: Their Zenoh encoding.

    Raises:
        MessageError: The bytes are not such a message; names the fields that are wrong.
    """
    if encoding.startswith((JSON_ENCODING, "text/json")):
        return decode_json(kind, payload)
    try:
        fields = bounded.unpack(payload)
    except ValueError as error:
        raise MessageError(f"{kind.__name__}: {len(payload)} bytes are not msgpack: {error}") from None
    try:
        bounded.check(fields)
    except ValueError as error:
        raise MessageError(f"{kind.__name__}: {error}") from None
    return validate(kind, fields)


def decode_json(kind: type[M], payload: bytes, *, text_field: str = "") -> M:
    """Read a message in JSON, as people and programs write it.

    Args:
        kind: The class of the message.
        payload: The bytes, in UTF-8.
        text_field: The field that a JSON string alone stands for.

    Raises:
        MessageError: The bytes are not such a message; names the fields that are wrong.
    """
    try:
        fields = bounded.read_json(payload)
        bounded.check(fields)
        if text_field and isinstance(fields, str):
            fields = {text_field: fields}
        # Written again for pydantic, which reads bytes as base64 from JSON only.
        text = json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise MessageError(f"{kind.__name__}: a text holds half of a surrogate pair") from None
    except (ValueError, RecursionError) as error:
        raise MessageError(f"{kind.__name__}: not JSON: {_one_line(str(error), 200)}") from None
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise MessageError(f"{kind.__name__}: {explain(error)}") from None


def validate(kind: type[M], fields: object) -> M:
    """Make a message from a map of its fields.

    Raises:
        MessageError: Fields are missing or wrong; names them.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise MessageError(f"{kind.__name__}: {explain(error)}") from None
    except RecursionError:
        raise MessageError(f"{kind.__name__}: more than {bounded.MAX_DEPTH} levels of maps and lists") from None


def explain(error: ValidationError) -> str:
    """Return a pydantic error as one readable line of at most a few hundred characters."""
    parts = []
    for item in error.errors(include_url=False)[:4]:  # a payload of another kind has every field wrong
        where = _one_line(".".join(str(p) for p in item["loc"]), 80)
        message = _one_line(item["msg"].removeprefix("Value error, "), 240)
        value = item.get("input")
        shown = "" if where == "" or isinstance(value, dict | list) else f" (got {_short(value)})"
        parts.append(f"{where}: {message}{shown}" if where else message)
    return "; ".join(parts)


def _short(value: object) -> str:
    if isinstance(value, str | bytes) and len(value) > _SHOWN:
        # An error stands in logs, where nobody would look for what somebody has told the brain.
        return f"{len(value):,} {'characters' if isinstance(value, str) else 'bytes'}"
    try:
        text = repr(value)
    except Exception:  # of a whole number with too many digits, of a nested value
        return f"a {type(value).__name__}"
    return shorten(text, _SHOWN)


def _one_line(text: str, limit: int) -> str:
    return printable(shorten(text, limit))

"""The base classes of typed messages, and their codec.

On the wire a message is a msgpack map of its fields, or JSON with base64 bytes for clients that prefer it. Unknown
fields are ignored, so that a newer minor version is accepted; missing or wrong fields are one `MessageError` that names
them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainnet.errors import MessageError
from brainnet.wire.packet import SpikePacket

MAX_TEXT: Final = 100_000
"""Characters of a prompt's text."""
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Message(BaseModel):
    """Base of everything on the wire that is not a SpikePacket."""

    model_config = ConfigDict(extra="ignore", ser_json_bytes="base64", val_json_bytes="base64", frozen=False)
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

    code: str = "refused"
    error: str = ""


M = TypeVar("M", bound=Message)


def encode(message: Message, *, as_json: bool = False) -> bytes:
    """Write a message as msgpack, or as JSON.

    Raises:
        MessageError: A field of free form holds a value that cannot be written.
    """
    try:
        if as_json:
            return message.model_dump_json().encode()
        packed: bytes = msgpack.packb(message.model_dump())
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"{type(message).__name__} cannot be written: {error}") from None
    return packed


def decode(kind: type[M], payload: bytes, encoding: str = "") -> M:
    """Read a message.

    Args:
        kind: The class of the message.
        payload: The bytes.
        encoding: Their Zenoh encoding.

    Raises:
        MessageError: The bytes are not such a message; names the fields that are wrong.
    """
    if encoding.startswith(("application/json", "text/json")):
        try:
            return kind.model_validate_json(payload)
        except ValidationError as error:
            raise MessageError(f"{kind.__name__}: {explain(error)}") from None
    try:
        fields = msgpack.unpackb(payload, strict_map_key=True, max_ext_len=0)
    except Exception as error:  # msgpack raises many kinds of errors, ValueError and its own among them
        raise MessageError(f"{kind.__name__}: {len(payload)} bytes are not msgpack: {error}") from None
    return validate(kind, fields)


def validate(kind: type[M], fields: object) -> M:
    """Make a message from a map of its fields.

    Raises:
        MessageError: Fields are missing or wrong; names them.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise MessageError(f"{kind.__name__}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """Return a pydantic error as one readable line."""
    parts = []
    for item in error.errors()[:4]:  # a payload of another kind has every field wrong
        where = ".".join(str(p) for p in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        value = item.get("input")
        shown = "" if where == "" or isinstance(value, dict | list) else f" (got {_short(value)})"
        parts.append(f"{where}: {message}{shown}" if where else message)
    return "; ".join(parts)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

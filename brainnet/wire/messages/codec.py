"""What every message has in common, and how messages are written and read.

A message travels as a msgpack map of its fields (or as JSON with base64 bytes, for clients that prefer it). Unknown
fields are ignored, so a newer minor version passes; missing or wrong ones are one `MessageError` that names them.
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
        """The Zenoh encoding that marks this message as msgpack."""
        return f"application/msgpack;brainnet.{cls.__name__}/{cls.version}"


class Header(Message):
    """A message that travels as the metadata of a SpikePacket: it addresses and describes what the packet carries."""

    def to_metadata(self) -> dict[str, Any]:
        """The packet's metadata."""
        return self.model_dump()

    @classmethod
    def of(cls, packet: SpikePacket) -> Self:
        """Read the header of a packet.

        Raises:
            MessageError: Naming the fields that are missing or wrong.
        """
        return validate(cls, packet.metadata)


class Refusal(Message):
    """Why a query got no reply. It travels as JSON in a Zenoh error reply, so that any client can read it."""

    code: str = "refused"
    error: str = ""


M = TypeVar("M", bound=Message)


def encode(message: Message, *, as_json: bool = False) -> bytes:
    """Write a message as msgpack, or as JSON.

    Raises:
        MessageError: a free-form field holds something that cannot be written.
    """
    try:
        if as_json:
            return message.model_dump_json().encode()
        packed: bytes = msgpack.packb(message.model_dump())
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"{type(message).__name__} cannot be written: {error}") from None
    return packed


def decode(kind: type[M], payload: bytes, encoding: str = "") -> M:
    """Read a message of the given kind; `encoding` is the Zenoh encoding it came with.

    Raises:
        MessageError: naming the fields that are wrong.
    """
    if encoding.startswith(("application/json", "text/json")):
        try:
            return kind.model_validate_json(payload)
        except ValidationError as error:
            raise MessageError(f"{kind.__name__}: {explain(error)}") from None
    try:
        fields = msgpack.unpackb(payload, strict_map_key=True, max_ext_len=0)
    except Exception as error:  # msgpack raises many kinds, ValueError and its own among them
        raise MessageError(f"{kind.__name__}: {len(payload)} bytes are not msgpack: {error}") from None
    return validate(kind, fields)


def validate(kind: type[M], fields: object) -> M:
    """Build a message from a map; raises `MessageError` naming the fields that are wrong."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise MessageError(f"{kind.__name__}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """A pydantic error as one readable line."""
    parts = []
    for item in error.errors()[:4]:
        where = ".".join(str(p) for p in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        given = item.get("input")
        shown = "" if where == "" or isinstance(given, dict | list) else f" (got {_short(given)})"
        parts.append(f"{where}: {message}{shown}" if where else message)
    return "; ".join(parts)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""Every reader of bytes from outside, and payloads that are made to hurt one."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

from brainnet.bus import Sample, read_stamp
from brainnet.devices import aer, eieio
from brainnet.errors import WireError
from brainnet.observe import reading
from brainnet.wire import messages, packet
from brainnet.wire.declared import DeclaredField, declared_message
from brainnet.wire.extension import Extension
from brainnet.wire.messages import Message, StatusQuery
from brainnet.wire.packet import SpikePacket
from brainnet.wire.topics import check_key, contract

Reader = Callable[[bytes], Any]

LONGEST_ERROR = 1000
"""Characters of the text of an error, whatever was sent."""


def kinds() -> list[type[Message]]:
    """Return every typed message and header of the wire."""
    found = [getattr(messages, name) for name in messages.__all__]
    return [
        kind
        for kind in found
        if isinstance(kind, type) and issubclass(kind, Message) and kind not in (Message, messages.Header)
    ]


def kinds_that_differ() -> list[type[Message]]:
    """Return as many kinds as have, together, every type of field that can hold much, and one that has none of them.

    What a large payload costs depends on the types of the fields, not on their names.
    """
    found: list[type[Message]] = [StatusQuery]
    seen: set[str] = set()
    for kind in kinds():
        types = {str(field.annotation) for field in kind.model_fields.values()}
        large = {text for text in types if re.search(r"\b(list|dict|tuple|bytes|Any)\b", text)}
        if not large <= seen:
            found.append(kind)
        seen |= large
    return found


def _message(kind: type[Message], encoding: str) -> Reader:
    return lambda payload: messages.decode(kind, payload, encoding)


def _prompt(encoding: str) -> Reader:
    return lambda payload: messages.read_prompt(payload, encoding)


def _header(kind: type[messages.Header]) -> Reader:
    return lambda payload: kind.of(packet.decode(payload))


def _stamp(payload: bytes) -> None:
    spikes, typed = contract().topic("spikes"), contract().topic("decision")
    for stamp in (read_stamp(spikes, payload, None), read_stamp(typed, b"", payload), read_stamp(None, b"", payload)):
        assert stamp is None or (len(stamp.source) <= packet.MAX_NAME and stamp.seq >= 0 and stamp.timestamp_ns >= 0)


def _shown(key: str, encoding: str) -> Reader:
    def show(payload: bytes) -> None:
        decoded = reading.read(Sample(key, payload, encoding, payload[:2000]), "test")
        lines = reading.as_lines(decoded)
        assert len(lines) < 200
        assert all(len(line) < 1000 for line in lines)
        json.dumps(reading.as_json(decoded))

    return show


def _key(payload: bytes) -> None:
    key = payload.decode(errors="replace")
    check_key(key)
    contract().find(key)


def _added_topics(encoding: str) -> Reader:
    def read_topics(payload: bytes) -> None:
        told = messages.decode(messages.AddedTopics, payload, encoding)
        Extension.of_rows(told.topics, "another host")

    return read_topics


DECLARED = declared_message(
    "Declared",
    {
        name: DeclaredField(type=kind)
        for name, kind in {
            "x": "float | None",
            "values": "list[int]",
            "names": "dict[str, list[str]]",
            "raw": "bytes",
        }.items()
    },
)
"""A message whose fields are written in a file."""
READERS: dict[str, Reader] = {
    "packet": packet.decode,
    "added topics": _added_topics(""),
    "added topics json": _added_topics("application/json"),
    "declared": _message(DECLARED, ""),
    "declared json": _message(DECLARED, "application/json"),
    "stamp": _stamp,
    "key": _key,
    "eieio": eieio.decode,
    "aer": lambda payload: aer.decode(payload, numbered=True),
    **{f"prompt {encoding}": _prompt(encoding) for encoding in ("", "text/plain", "application/json")},
    "prompt msgpack": _prompt("application/msgpack"),
    **{kind.__name__: _message(kind, "") for kind in kinds()},
    **{f"{kind.__name__} json": _message(kind, "application/json") for kind in kinds()},
    **{f"{k.__name__} of a packet": _header(k) for k in kinds() if issubclass(k, messages.Header)},
    "shown packet": _shown("test/spikes/a/b", ""),
    "shown message": _shown("test/pfc/a/decisions", ""),
    "shown msgpack": _shown("foreign/key", "application/msgpack"),
    "shown json": _shown("foreign/key", "application/json"),
    "shown text": _shown("foreign/key", "text/plain"),
}


LARGE = 1 << 18


def readers_for(payload: bytes) -> list[Reader]:
    """Return the readers that a payload is tried with: all, but for a large one only those that differ.

    A message whose fields a payload does not name leaves out whatever it holds, and one such message is enough.
    """
    if len(payload) < LARGE:
        return [*READERS.values()]
    differing = {
        kind.__name__
        for kind in kinds_that_differ()
        if kind is StatusQuery
        or issubclass(kind, messages.Header)
        or any(field.encode() in payload for field in kind.model_fields)
    }
    same = {kind.__name__ for kind in kinds()} - differing
    return [reader for name, reader in READERS.items() if name.partition(" ")[0] not in same]


def read(reader: Reader, payload: bytes) -> bool:
    """Return whether the payload was read; any exception but a short `WireError` leaves this function."""
    try:
        reader(payload)
    except WireError as error:
        text = str(error)
    else:
        return True
    assert 0 < len(text) <= LONGEST_ERROR
    text.encode()  # what cannot be encoded cannot be logged or sent
    return False


def _packet(metadata: bytes = b"\x80", **fields: Any) -> bytes:
    """Return a packet with metadata of any bytes, and with changed fields."""
    names = ("version", "timestamp_ns", "source", "seq", "modality", "neurons", "steps", "dt_us", "encoding", "data")
    values = dict(
        zip(names, msgpack.unpackb(SpikePacket(np.eye(8, dtype=bool), source="a", seq=1).encode()), strict=False)
    )
    body = b"".join(
        value if isinstance(value, bytes) and name in fields else msgpack.packb(value)
        for name, value in (values | fields).items()
    )
    return b"\x9b" + body + metadata


def _fields_of(kind: type[Message], value: Any) -> list[bytes]:
    payloads = []
    for name in kind.model_fields:
        for fields in ({name: value}, {name: [value]}, {name: {"k": value}}):
            with contextlib.suppress(Exception):
                payloads.append(msgpack.packb(fields))
            with contextlib.suppress(Exception):
                payloads.append(json.dumps(fields).encode())
    return payloads


def nested(depth: int) -> dict[str, Any]:
    """Return a map in a map, `depth` times."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


EIGHT_MIB = 8 << 20
_ARRAY32 = b"\xdd"
_MAP32 = b"\xdf"

HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "1,100 open JSON lists": b"[" * 1100,
    "100,000 open JSON maps": b'{"a":' * 100_000,
    "100,000 JSON maps": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a prompt in 900 JSON lists": b'{"text": "x", "arrays": ' + b"[" * 900 + b"]" * 900 + b"}",
    "100,000 msgpack lists": b"\x91" * 100_000,
    "1,000 msgpack lists": b"\x91" * 1000 + b"\xc0",
    "1,000 msgpack maps": b"\x81\xa1a" * 1000 + b"\xc0",
    "a packet with 1,000 maps": _packet(b"\x81\xa1a" * 1000 + b"\xc0"),
    "a packet with 100,000 maps": _packet(b"\x81\xa1a" * 100_000 + b"\xc0"),
    "lists that declare 4 billion entries": (_ARRAY32 + b"\xff" * 4) * 1000,
    "lists that declare as many entries as there are bytes": (_ARRAY32 + EIGHT_MIB.to_bytes(4, "big")) * 1000
    + b"\xc0" * EIGHT_MIB,
    "maps that declare 4 billion entries": (_MAP32 + b"\xff" * 4) * 1000,
    "text that declares 4 GiB": b"\xdb\xff\xff\xff\xffabc",
    "bytes that declare 4 GiB": b"\xc6\xff\xff\xff\xffabc",
    "8 MiB of empty lists": b"\xdd" + (EIGHT_MIB - 5).to_bytes(4, "big") + b"\x90" * (EIGHT_MIB - 5),
    "8 MiB of JSON lists": b"[" + b"[]," * (EIGHT_MIB // 3) + b"[]]",
    "8 MiB of text": b"x" * EIGHT_MIB,
    "8 MiB of JSON text": b'"' + b"x" * EIGHT_MIB + b'"',
    "8 MiB of msgpack text": b"\xdb" + EIGHT_MIB.to_bytes(4, "big") + b"x" * EIGHT_MIB,
    "a JSON name of 8 MiB": b'{"' + b"x" * EIGHT_MIB + b'": 1}',
    "a JSON number of 8 MiB": b'{"text": ' + b"1" * EIGHT_MIB + b"}",
    "a packet with a version of 1 MiB": _packet(version="v" * (1 << 20)),
    "a packet with an encoding of 1 MiB": _packet(encoding="v" * (1 << 20)),
    "a packet with a source of 1 MiB": _packet(source="v" * (1 << 20)),
    "a packet with a list as its version": _packet(version=[[]] * 1000),
    "a packet with a map of bytes": _packet(b"\x81\xc4\x01a\x01"),
    "a packet with a map of numbers": _packet(b"\x81\x01\x01"),
    "a packet with an empty extension": _packet(b"\x81\xa1a\xc7\x00\x05"),
    "a packet with a timestamp": _packet(b"\x81\xa1a\xd6\xff\x00\x00\x00\x01"),
    "a packet with a negative number": _packet(seq=-1),
    "a packet with the largest numbers": _packet(seq=(1 << 64) - 1, timestamp_ns=(1 << 64) - 1),
    "an extension": b"\xc7\x00\x05",
    "a timestamp": b"\xd7\xff" + b"\x00" * 8,
    "text that is no UTF-8": b"\x81\xa4text\xa2\xff\xfe",
    "half of a surrogate pair": b'{"text": "\\ud83d", "metadata": {"\\ud83d": "\\ude00"}}',
    "a surrogate in UTF-8": b'{"text": "\xed\xa0\x80"}',
    "an infinite number": b'{"text": "x", "probability": 1e400, "latency_ms": -1e400, "metadata": {"a": 1e400}}',
    "no number": b'{"text": "x", "probability": NaN, "latency_ms": -Infinity, "metadata": {"a": NaN}}',
    "a number of 5,000 digits": b'{"text": "x", "metadata": {"a": ' + b"9" * 5000 + b"}}",
    "names given twice": b'{"text": "a", "text": "b", "text": 3}',
    "60,000 wrong candidates": msgpack.packb({"candidates": [{}] * 60_000, "prompts": [{}] * 60_000}),
    "60,000 wrong JSON nodes": json.dumps({"nodes": [1] * 60_000, "params": [1] * 60_000}).encode(),
    "60,000 wrong arrays": msgpack.packb({"text": "x", "arrays": {f"{i}": i for i in range(60_000)}}),
    "1,000,000 numbers in metadata": _packet(msgpack.packb({"a": [1] * 1_000_000})),
    "a name of 1 MiB in metadata": _packet(msgpack.packb({"n" * (1 << 20): "x"})),
    "control characters": b'{"text": "\\u001b[2J\\u202e\\u0000", "\\u001b[31m\\n": 1, "regions": {"\\n": 2}}',
}

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**63,
    2**64 - 1,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "x" * 10_000,
    "\x1b[2J\u202e\n",
    b"\xff",
    [],
    {},
    {"k": {"k": []}},
    nested(80),
)


def hostile_fields(kind: type[Message]) -> list[bytes]:
    """Return payloads with each field of a message as everything that it may not be."""
    return [payload for value in VALUES for payload in _fields_of(kind, value)]

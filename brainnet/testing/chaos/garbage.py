"""Payloads and keys that no program of good will sends."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgpack
import numpy as np

from brainnet.wire.messages import new_id
from brainnet.wire.packet import WIRE_ENCODING, SpikePacket, encode
from brainnet.wire.topics import Contract, Topic

DEEP: Final = 1100
"""Levels of nested lists: more than the recursion limit of Python's JSON decoder."""
LARGE_KEY: Final = 40_000
"""Characters of a giant key; Zenoh itself allows 65,535."""
_ENCODINGS: Final = ("application/json", "application/msgpack", "text/plain", "zenoh/bytes", "image/png", "", "\ufffd;")

Make = Callable[[random.Random], bytes]


def _deep_json(rng: random.Random) -> bytes:
    return rng.choice([b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"text": ' + b"[" * DEEP])


def _deep_msgpack(rng: random.Random) -> bytes:
    return rng.choice([b"\x91" * 100_000, b"\x81\xa1a" * 50_000, b"\x81\xa4text" + b"\x91" * 1100 + b"\x01"])


def _msgpack_bomb(rng: random.Random) -> bytes:
    # A header that announces four thousand million elements, and none of them.
    return bytes([rng.choice([0xDD, 0xDF, 0xC6, 0xDB])]) + b"\xff\xff\xff\xff"


def _extension(rng: random.Random) -> bytes:
    packed: bytes = msgpack.packb({"text": msgpack.ExtType(rng.randrange(128), b"x" * 16)})
    return packed


def _random_bytes(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([0, 1, 7, 100, 5000]))


def _invalid_utf8(rng: random.Random) -> bytes:
    return rng.choice([b"\xff\xfe\xfd", b'{"text": "\xc3\x28"}', b"\xed\xa0\x80", b"text \xf5\x80\x80\x80"])


def _lone_surrogate(rng: random.Random) -> bytes:
    return rng.choice([b'{"text": "\\ud800"}', b'{"text": "a", "session_id": "\\udfff"}', b'"\\ud83d"'])


def _huge_number(rng: random.Random) -> bytes:
    field = rng.choice(["deadline_ms", "priority", "timestamp_ns"])
    value = rng.choice(["1" + "0" * 400, "1e308", "-1e308", "1" + "0" * 5000, str(2**80), str(-(2**63))])
    return f'{{"text": "huge", "{field}": {value}}}'.encode()


def _not_a_number(rng: random.Random) -> bytes:
    value = rng.choice([math.nan, math.inf, -math.inf])
    if rng.random() < 0.5:
        return json.dumps({"text": "nan", "deadline_ms": value}).encode()
    packed: bytes = msgpack.packb({"text": "nan", "deadline_ms": value, "priority": value})
    return packed


def _wrong_types(rng: random.Random) -> bytes:
    value: Any = rng.choice([None, True, 7, -1.5, "", "text", [], [[]], {}, {"a": {}}])
    names = ["text", "image", "arrays", "regions", "session_id", "prompt_id", "deadline_ms", "priority", "reply_as"]
    fields = dict.fromkeys(rng.sample(names, rng.randint(1, 4)), value)
    if rng.random() < 0.5:
        return json.dumps(fields).encode()
    packed: bytes = msgpack.packb(fields)
    return packed


def _not_a_map(rng: random.Random) -> bytes:
    return rng.choice([b"null", b"true", b"12", b'"', b"[]", b"[1, 2", b"{", b"}", b"\xc0", b"\x00", b"{}", b"\x80"])


def _keys_that_are_no_text(rng: random.Random) -> bytes:
    packed: bytes = msgpack.packb(rng.choice([{1: 2}, {None: None}, {b"text": b"x"}, {1.5: "text"}]))
    return packed


def _empty_or_large(rng: random.Random) -> bytes:
    return rng.choice([b"", b" " * 1000, b"\x00" * 100_000, json.dumps({"text": "x" * 200_000}).encode()])


def _packet(rng: random.Random) -> bytes:
    """Return a SpikePacket that is one, with metadata that no header has."""
    partial: Any = rng.choice([None, [], {"confidence": 2.0}, {"candidates": "none"}])
    nested: Any = {"prompt_id": new_id(), "partial": partial}
    metadata = rng.choice([{}, nested, {"x": [1] * 100}])
    shape = rng.choice([(0, 0), (3, 5), (1, 1)])
    return encode(SpikePacket(np.ones(shape, np.uint8), "garbage", metadata=metadata))


def _cut_packet(rng: random.Random) -> bytes:
    whole = _packet(rng)
    return whole[: rng.randrange(len(whole))]


PAYLOADS: Final[dict[str, Make]] = {
    "deep JSON": _deep_json,
    "deep msgpack": _deep_msgpack,
    "msgpack bomb": _msgpack_bomb,
    "msgpack extension": _extension,
    "random bytes": _random_bytes,
    "invalid UTF-8": _invalid_utf8,
    "lone surrogate": _lone_surrogate,
    "huge number": _huge_number,
    "not a number": _not_a_number,
    "wrong types": _wrong_types,
    "not a map": _not_a_map,
    "keys that are no text": _keys_that_are_no_text,
    "empty or large": _empty_or_large,
    "packet with other metadata": _packet,
    "packet cut short": _cut_packet,
}
"""Makers of payloads, by what is wrong with them."""


def payloads(rng: random.Random) -> Iterator[tuple[str, bytes, str]]:
    """Yield what is wrong, the bytes, and their Zenoh encoding, without an end."""
    names = list(PAYLOADS)
    while True:
        for name in rng.sample(names, len(names)):  # every sort once, before any comes again
            payload = PAYLOADS[name](rng)
            encoding = rng.choice((*_ENCODINGS, WIRE_ENCODING))
            if name in ("deep JSON", "lone surrogate", "huge number") and rng.random() < 0.7:
                encoding = "application/json"  # so that it is read as what it is
            yield name, payload, encoding


def keys(rng: random.Random, nodes: list[str], contract: Contract) -> Iterator[tuple[str, bool]]:
    """Yield keys relative to the namespace, and whether they are asked with a query, without an end.

    Every topic of the contract is among them, prompts more often, and sometimes a key that is in no contract.
    """
    topics = [topic for topic in contract.topics if topic.payload != "none"]
    while True:
        draw = rng.random()
        if draw < 0.1:
            yield rng.choice(["x" * LARGE_KEY, "a/" * 5000 + "a", "no/such/topic", "api", "\u00e9/\U0001f600"]), False
            continue
        topic = next(t for t in topics if t.name == "prompt") if draw < 0.4 else rng.choice(topics)
        yield _filled(topic, rng, nodes), topic.reply is not None and (topic.name != "prompt" or rng.random() < 0.3)


def _filled(topic: Topic, rng: random.Random, nodes: list[str]) -> str:
    return topic.fill(**{name: rng.choice([*nodes, "nobody"]) for name in topic.chunks})

"""Readers of bytes from outside: any bytes are a value or one short error, in bounded time and memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import MessageError, PacketError
from brainnet.wire import messages, packet
from brainnet.wire.messages import Answer, Candidate, Message, Partial, Prompt
from brainnet.wire.packet import SpikePacket
from tests.fuzz.readers import HOSTILE, READERS, hostile_fields, kinds, nested, read

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = st.sampled_from(sorted(READERS))

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(NAMES, st.binary(max_size=500))
def test_any_bytes(name: str, payload: bytes) -> None:
    read(READERS[name], payload)


@given(NAMES, VALUES)
def test_any_value_as_msgpack(name: str, value: Any) -> None:
    read(READERS[name], msgpack.packb(value))


@given(NAMES, st.text(max_size=300) | VALUES.map(lambda value: json.dumps(value, default=repr)))
def test_any_text_and_any_json(name: str, text: str) -> None:
    read(READERS[name], text.encode())


@given(st.sampled_from(kinds()), st.data())
def test_any_fields_of_a_message(kind: type[Message], data: st.DataObject) -> None:
    names = st.sampled_from([*kind.model_fields, "unknown"])
    fields = data.draw(st.dictionaries(names, VALUES, max_size=6))
    read(READERS[kind.__name__], msgpack.packb(fields))
    read(READERS[f"{kind.__name__} json"], json.dumps(fields, default=lambda b: b.hex()).encode())


@given(NAMES, st.data())
def test_a_packet_with_changed_bytes(name: str, data: st.DataObject) -> None:
    valid = SpikePacket(np.eye(16, dtype=bool), source="eye", seq=1, metadata={"tick": 1, "target": [0.1]}).encode()
    changed = bytearray(valid)
    for position in data.draw(st.lists(st.integers(0, len(valid) - 1), min_size=1, max_size=4)):
        changed[position] = data.draw(st.integers(0, 255))
    read(READERS[name], bytes(changed[: data.draw(st.integers(1, len(changed)))]))


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_each_field_as_everything_that_it_may_not_be(kind: type[Message]) -> None:
    for payload in hostile_fields(kind):
        for name in (kind.__name__, f"{kind.__name__} json"):
            read(READERS[name], payload)


_MEASURE = """
import os, resource, sys, time
from tests.fuzz.readers import HOSTILE, READERS, read, readers_for
for reader in READERS.values():
    read(reader, b"")  # whatever is loaded at first use is no part of the measure
for name in sys.stdin:
    payload = HOSTILE[name.rstrip("\\n")]
    readers = readers_for(payload)
    child = os.fork()
    if child:
        print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    for reader in readers:
        read(reader, payload)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(used * 1024, (time.process_time() - begun) / len(readers), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def measuring() -> Iterator[subprocess.Popen[str]]:
    """Start a process that has loaded the readers, and forks for each payload."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", _MEASURE]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_made_to_hurt_is_read_or_refused_with_bounded_memory(
    name: str, measuring: subprocess.Popen[str]
) -> None:
    """In a process of its own, whose peak of memory and whose CPU time are those of this payload alone."""
    assert measuring.stdin is not None
    assert measuring.stdout is not None
    measuring.stdin.write(f"{name}\n")
    measuring.stdin.flush()
    measured = measuring.stdout.readline()
    assert not measured.startswith("status"), f"it ended with {measured}"
    assert measuring.stdout.readline() == "status 0\n"
    used, seconds = map(float, measured.split())
    assert used < 800e6
    assert seconds < 2.0  # CPU time of one reader; a structure that is built before it is checked takes many


@pytest.mark.parametrize(
    "name",
    [
        "100,000 JSON maps",
        "1,000 msgpack maps",
        "a prompt in 900 JSON lists",
        "an infinite number",
        "no number",
        "half of a surrogate pair",
        "a surrogate in UTF-8",
        "a number of 5,000 digits",
        "8 MiB of empty lists",
    ],
)
def test_what_could_not_be_written_again_is_refused(name: str) -> None:
    reader = READERS["Candidate" if "msgpack" in name or "empty" in name else "Candidate json"]
    assert not read(reader, HOSTILE[name])


@pytest.mark.parametrize(
    "name",
    [
        "a packet with 1,000 maps",
        "a packet with a map of bytes",
        "a packet with a map of numbers",
        "a packet with an empty extension",
        "a packet with a timestamp",
    ],
)
def test_metadata_that_is_no_plain_structure_is_refused(name: str) -> None:
    with pytest.raises(PacketError):
        packet.decode(HOSTILE[name])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "fields", [{"probability": 0}, {"latency_ms": 0}, {"route_probs": {"a": 0}}, {"target": [0.0, 0]}], ids=str
)
def test_a_float_of_a_message_is_finite(fields: dict[str, Any], number: float) -> None:
    (name,) = fields
    value = {"a": number} if name == "route_probs" else [0.0, number] if name == "target" else number
    complete = {"text": "x", "probability": 0.5, "prompt_id": "p"} | {name: value}
    users = [kind for kind in kinds() if name in kind.model_fields]
    assert users
    for kind in users:
        with pytest.raises(MessageError, match=name):
            messages.decode(kind, msgpack.packb(complete))


def test_ids_have_a_length() -> None:
    for kind in kinds():
        for name in ("prompt_id", "session_id", "region", "node_id"):
            if name in kind.model_fields:
                with pytest.raises(MessageError, match="128"):
                    messages.decode(kind, msgpack.packb({name: "x" * 129}))


def test_the_text_of_an_error_is_cut_when_it_is_written_and_when_it_is_read() -> None:
    long = "e" * 5_000_000
    partial = Partial(error=long)
    assert partial.error is not None
    assert len(partial.error) == 2000
    partial.error = long  # assignment is not validated
    assert len(messages.encode(partial)) < 3000
    refusal = messages.decode(messages.Refusal, json.dumps({"error": long}).encode(), "application/json")
    assert len(refusal.error) == 2000


JSON_AS_PEOPLE_WRITE_IT = [
    (b'{"text": "\\ud83d\\ude00 grin"}', "\U0001f600 grin"),
    (b'{"text": "a\tb"}', "a\tb"),
    (b'\t\r\n{\t"text" :\n"x"}\n', "x"),
    (b'\xef\xbb\xbf{"text": "x"}', "x"),
    (b'{"text": "two\nlines"}', "two\nlines"),
    ('{"text": "größe"}'.encode(), "größe"),
]


@pytest.mark.parametrize("encoding", ["", "zenoh/bytes", "application/json", "text/json"])
@pytest.mark.parametrize(("payload", "text"), JSON_AS_PEOPLE_WRITE_IT, ids=lambda value: repr(value)[:40])
def test_json_as_people_write_it_has_its_meaning(payload: bytes, text: str, encoding: str) -> None:
    prompt = messages.read_prompt(payload, encoding)
    assert (prompt.text, prompt.reply_as) == (text, "json")


def test_plain_text_with_a_byte_order_mark_is_the_text() -> None:
    assert messages.read_prompt("\ufeffhello".encode(), "text/plain").text == "hello"


def test_a_json_string_is_the_text_of_a_prompt() -> None:
    assert messages.read_prompt(b'"hello"', "application/json").text == "hello"


class _Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


CANNOT_BE_WRITTEN = [
    object(),
    _Hostile(),
    "\ud800",
    {"\ud800": 1},
    {1: "a"},
    {b"a": 1},
    np.arange(3),
    np.datetime64("2020-01-01"),
    2**80,
    -(2**80),
    nested(2000),
    nested(100_000),
    nested(100),
    {1, 2},
    1j,
]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("value", CANNOT_BE_WRITTEN, ids=lambda value: type(value).__name__)
def test_what_cannot_be_written_is_a_short_error(value: Any, as_json: bool) -> None:
    with pytest.raises(MessageError, match="cannot be written") as caught:
        messages.encode(Candidate(text="x", probability=0.5, content={"x": value}), as_json=as_json)
    assert len(str(caught.value)) < 400
    with pytest.raises(PacketError, match="cannot be sent") as caught_packet:
        SpikePacket(np.eye(2, dtype=bool), metadata={"x": value}).encode()
    assert len(str(caught_packet.value)) < 400


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("number", [np.float32(1.5), np.float64(1.5), np.int64(3), np.uint8(3), np.bool_(True)])
def test_a_numpy_number_is_written_as_a_number(number: Any, as_json: bool) -> None:
    payload = messages.encode(Answer(prompt_id="p", content={"x": [number]}), as_json=as_json)
    read_back = messages.decode(Answer, payload, "application/json" if as_json else "")
    assert read_back.content == {"x": [number.item()]}
    wire = SpikePacket(np.eye(2, dtype=bool), metadata={"x": number}).encode()
    assert packet.decode(wire).metadata == {"x": number.item()}


@given(st.dictionaries(st.text(max_size=10), VALUES, max_size=4))
def test_what_is_written_can_be_read(content: dict[str, Any]) -> None:
    payload = messages.encode(Answer(prompt_id="p", content=content))
    assert messages.encode(messages.decode(Answer, payload)) == payload


def test_a_prompt_of_the_largest_size_is_read() -> None:
    image = bytes(7 << 20)
    assert messages.read_prompt(messages.encode(Prompt(text="x", image=image))).image == image

"""The typed messages, and how prompts from anybody are read."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from brainnet.errors import MessageError
from brainnet.wire import messages
from brainnet.wire.messages import Answer, Candidate, Decision, Health, Message, Partial, Prompt

ENCODINGS = [
    "",
    "zenoh/bytes",
    "text/plain",
    "application/json",
    "text/json",
    "application/msgpack",
    "image/png",
    "x;y",
]


def _refusal(payload: bytes, encoding: str) -> str | None:
    """Why the prompt is refused, or None for one that asks something; any other exception fails the test."""
    try:
        prompt = messages.read_prompt(payload, encoding)
    except MessageError as error:
        return str(error)
    assert prompt.text.strip() or prompt.image or prompt.audio or prompt.arrays
    return None


@given(st.binary(max_size=400), st.sampled_from(ENCODINGS))
def test_any_bytes_are_a_prompt_or_a_message_error(payload: bytes, encoding: str) -> None:
    assert _refusal(payload, encoding) != ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.dictionaries(st.sampled_from(list(Prompt.model_fields)) | st.text(max_size=5), JSON, max_size=6)


@given(FIELDS)
def test_any_map_is_a_prompt_or_a_message_error_in_both_forms(fields: dict[str, Any]) -> None:
    assert _refusal(json.dumps(fields).encode(), "application/json") != ""
    assert _refusal(_packed(fields), "") != ""


def _packed(fields: dict[str, Any]) -> bytes:
    try:
        return bytes(msgpack.packb(fields))
    except OverflowError:
        return b""


def test_plain_text_json_and_msgpack_ask_the_same() -> None:
    fields = {"text": "which digit?", "prompt_id": "p1"}
    plain = messages.read_prompt(b"which digit?\n", "text/plain")
    as_json = messages.read_prompt(json.dumps(fields).encode(), "application/json")
    guessed = messages.read_prompt(json.dumps(fields).encode())
    packed = messages.read_prompt(msgpack.packb(fields), Prompt.wire_encoding())
    assert plain.text == as_json.text == guessed.text == packed.text == "which digit?"
    assert (plain.reply_as, as_json.reply_as, guessed.reply_as, packed.reply_as) == ("json", "json", "json", "msgpack")
    assert as_json.prompt_id == packed.prompt_id == "p1"


def test_a_json_prompt_carries_its_picture_as_base64() -> None:
    asked = Prompt(text="what is it?", image=b"\x89PNG\x00\xff")
    assert messages.read_prompt(asked.model_dump_json().encode(), "application/json").image == b"\x89PNG\x00\xff"


@pytest.mark.parametrize(
    ("payload", "encoding", "says"),
    [
        (b"", "", "empty"),
        (b"   \n", "text/plain", "empty"),
        (b"{}", "", "empty"),
        (b"{oops", "application/json", "not JSON"),
        (b"\xff\xfe\x00", "", "neither msgpack, JSON nor UTF-8"),
        (b'{"text": 5}', "", "text"),
        (b'{"text": "x", "deadline_ms": 0}', "", "deadline_ms"),
        (b'{"text": "x", "regions": []}', "", "regions is empty"),
        (b"x" * (messages.MAX_PROMPT_BYTES + 1), "text/plain", f"at most {messages.MAX_PROMPT_BYTES}"),
        (b"x" * (messages.MAX_TEXT + 1), "text/plain", f"at most {messages.MAX_TEXT} characters"),
        (b"\xc1", "application/msgpack", "not msgpack"),
        (msgpack.packb([1, 2]), "application/msgpack", "Prompt"),
    ],
)
def test_a_prompt_that_is_none_says_why_in_one_line(payload: bytes, encoding: str, says: str) -> None:
    with pytest.raises(MessageError, match=says) as caught:
        messages.read_prompt(payload, encoding)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("as_json", [False, True])
def test_messages_come_back_as_they_were(as_json: bool) -> None:
    decision = Decision(prompt_id="p", route_probs={"a": 0.75, "b": 0.25}, chosen=["a"], entropy=0.5, alpha=0.9)
    answer = Answer(
        prompt_id="p", text="seven", confidence=0.5, contributing=["a"], decision=decision, content={"n": [1]}
    )
    encoding = "application/json" if as_json else Answer.wire_encoding()
    assert messages.decode(Answer, messages.encode(answer, as_json=as_json), encoding) == answer


def test_unknown_fields_of_a_newer_sender_are_ignored() -> None:
    fields = {"text": "rose", "probability": 0.5, "colour": "red"}
    assert messages.decode(Candidate, msgpack.packb(fields)) == Candidate(text="rose", probability=0.5)


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        (Candidate, {"text": "x", "probability": 1.5}, "probability"),
        (Candidate, {"text": "x"}, "probability"),
        (Health, {"node_id": "a"}, "host"),
        (Partial, {"candidates": [{"text": "x", "probability": "high"}]}, "candidates.0.probability"),
        (Partial, "not a map", "Partial"),
    ],
)
def test_a_wrong_field_is_named(kind: type[messages.Message], fields: object, says: str) -> None:
    with pytest.raises(MessageError, match=says):
        messages.decode(kind, msgpack.packb(fields))


def test_what_msgpack_cannot_carry_is_a_message_error() -> None:
    with pytest.raises(MessageError, match="cannot be written"):
        messages.encode(Answer(prompt_id="p", content={"x": object()}))


def test_the_best_candidate_has_the_highest_probability() -> None:
    candidates = [Candidate(text=t, probability=p) for t, p in (("a", 0.2), ("b", 0.7), ("c", 0.1))]
    assert Partial(candidates=candidates).best == candidates[1]
    assert Partial().best is None


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        (Prompt(text="x"), "deadline_ms", 3_603_000),
        (Prompt(text="x"), "priority", 10),
        (Prompt(text="x"), "text", ""),
        (Partial(), "confidence", 1.5),
        (Partial(), "confidence", float("nan")),
        (Answer(prompt_id="p"), "latency_ms", -1.0),
    ],
)
def test_bounds_hold_wherever_a_value_is_assigned(message: Message, field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        setattr(message, field, value)


@given(
    st.fixed_dictionaries(
        {"text": st.text(max_size=40)},
        optional={
            "prompt_id": st.text(max_size=140),
            "priority": st.one_of(st.integers(-1, 10), st.booleans(), st.none(), st.floats(0, 9)),
            "session_id": st.text(max_size=20),
            "reply_as": st.sampled_from(["json", "msgpack"]),
            "deadline_ms": st.one_of(st.integers(0, 600_001), st.booleans(), st.floats(1, 9)),
        },
    ),
    st.sampled_from(["application/json", "application/msgpack", "text/plain", ""]),
)
def test_the_outline_of_a_prompt_says_what_the_prompt_says(fields: dict[str, Any], encoding: str) -> None:
    payload = msgpack.packb(fields) if "msgpack" in encoding else json.dumps(fields).encode()
    found = messages.outline(payload, encoding)
    try:
        prompt = messages.read_prompt(payload, encoding)
    except MessageError:
        return  # it is refused in any case
    if found is not None:
        assert found.prompt_id == (prompt.prompt_id if prompt.named else "")
        assert (found.text, found.priority, found.session_id) == (prompt.text, prompt.priority, prompt.session_id)
        assert found.deadline_ms == prompt.deadline_ms
        assert found.as_json == (prompt.reply_as == "json")


@pytest.mark.parametrize("encoding", ["application/json", "application/msgpack"])
@given(payload=st.binary(max_size=60))
@example(payload=b"[" * 50_000)
@example(payload=b"\x91" * 50_000)
@example(payload=b"[1]")
@example(payload=b"\xff")
@example(payload=b'{"text": "\\ud800"}')
def test_bytes_that_are_no_prompt_have_no_outline_or_one_of_texts(encoding: str, payload: bytes) -> None:
    found = messages.outline(payload, encoding)
    if found is not None:
        assert found.text.isprintable()
        assert 0 <= found.priority <= 9

"""Messages whose fields are written in a file: what they accept, and how they travel."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from brainnet.errors import MessageError
from brainnet.wire import messages
from brainnet.wire.declared import DeclaredField, check_fields, declared_message, default_name, describe, make
from brainnet.wire.messages import Message

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.integers(-(1 << 63), (1 << 64) - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "str": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "bytes": st.binary(max_size=20),
}


def kind_of(**fields: Any) -> type[Message]:
    return declared_message("Made", {name: DeclaredField.model_validate(spec) for name, spec in fields.items()})


@st.composite
def typed(draw: st.DrawFn) -> tuple[str, Any]:
    """A type as a file writes it, and a value of it."""
    kind = draw(st.sampled_from(sorted(SCALARS)))
    values = SCALARS[kind]
    for outer in draw(st.lists(st.sampled_from(["list", "dict"]), max_size=3)):
        if outer == "list":
            kind, values = f"list[{kind}]", st.lists(values, max_size=3)
        else:
            kind, values = f"dict[str, {kind}]", st.dictionaries(SCALARS["str"], values, max_size=3)
    if draw(st.booleans()):
        kind, values = f"{kind} | None", st.none() | values
    return kind, draw(values)


@given(st.dictionaries(st.sampled_from("abcdef"), typed(), min_size=1))
def test_every_value_of_its_type_travels_in_msgpack_and_in_json(fields: dict[str, tuple[str, Any]]) -> None:
    kind = kind_of(**{name: spec for name, (spec, _) in fields.items()})
    values = {name: value for name, (_, value) in fields.items()}
    message = make(kind, values)
    assert message.model_dump() == values
    assert messages.decode(kind, messages.encode(message)) == message
    assert messages.decode(kind, messages.encode(message, as_json=True), "application/json") == message


@given(st.sampled_from(sorted(SCALARS)), st.sampled_from(sorted(SCALARS)), st.data())
def test_a_value_of_another_type_is_refused(wanted: str, given_: str, data: st.DataObject) -> None:
    value = data.draw(SCALARS[given_])
    kind = kind_of(x=wanted)
    if wanted == given_ or (wanted, given_) == ("float", "int"):
        assert make(kind, {"x": value}).model_dump()["x"] == value
        return
    with pytest.raises(MessageError, match="x"):
        make(kind, {"x": value})
    with pytest.raises(MessageError, match="x"):
        messages.decode(kind, msgpack.packb({"x": value}))


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        ({"type": "float", "min": 0, "max": 1}, [0, 1, 0.5], [-0.01, 1.01, math.nan, math.inf]),
        ({"type": "int", "min": 0.5, "max": 3.5}, [1, 3], [0, 4]),
        ({"type": "int", "min": 0}, [0, (1 << 64) - 1], [-1, 1 << 64]),
        ({"type": "int", "min": -1e300, "max": 1e300}, [-(1 << 63), (1 << 64) - 1], [1 << 64]),
        ({"type": "list[float]", "min": 0, "max_length": 2}, [[], [0.0, 1.0]], [[-1.0], [0.0] * 3, 0.0]),
        ({"type": "list[list[int]]", "max": 9}, [[[9]], [[]]], [[[10]], [9]]),
        ({"type": "str", "max_length": 3}, ["", "abc"], ["abcd"]),
        ({"type": "bytes", "max_length": 1}, [b"", b"x"], [b"xy"]),
        ({"type": "dict[str, int]", "max_length": 1}, [{}, {"a": 1}], [{"a": 1, "b": 2}, {"a": "1"}]),
        ({"type": "float | None", "max": 1}, [None, 1.0], [2.0]),
        ("bool", [True], [1, "true"]),
        ("list[float]", [[0.0] * 65_536], [[0.0] * 65_537]),
        ("str", ["x" * 100_000], ["x" * 100_001]),
    ],
    ids=str,
)
def test_limits_hold(spec: Any, good: list[Any], bad: list[Any]) -> None:
    kind = kind_of(x=spec)
    for value in good:
        make(kind, {"x": value})
    for value in bad:
        with pytest.raises(MessageError):
            make(kind, {"x": value})


def test_arrays_and_numbers_of_numpy_count_as_theirs() -> None:
    kind = kind_of(x="float", n="int", ok="bool", values="list[float]", rows="list[list[int]]")
    message = make(
        kind,
        {
            "x": np.float32(0.5),
            "n": np.uint8(3),
            "ok": np.bool_(True),
            "values": np.ones(2, np.float16),
            "rows": (np.eye(2, dtype=int), [1])[:1][0],
        },
    )
    assert message.model_dump() == {"x": 0.5, "n": 3, "ok": True, "values": [1, 1], "rows": [[1, 0], [0, 1]]}


def test_a_field_that_may_be_left_out_is_none_and_others_are_needed() -> None:
    kind = kind_of(x="float", note="str | None")
    assert make(kind, {"x": 1}).model_dump() == {"x": 1.0, "note": None}
    with pytest.raises(MessageError, match="x"):
        make(kind, {"note": "n"})


def test_errors_name_the_fields_of_the_message() -> None:
    kind = kind_of(x_m="float", covariance="list[float]", note="str | None")
    described = "Made {x_m: float, covariance: list[float], note: str | None}"
    assert describe(kind) == described
    for fields in ({"x": 1}, {"x_m": "far"}, {}, {"x_m": 1, "covariance": None}):
        with pytest.raises(MessageError) as caught:
            make(kind, fields)
        assert described in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(MessageError, match="did you mean x_m"):
        make(kind, {"x_n": 1})


def test_a_newer_sender_may_have_more_fields() -> None:
    kind = kind_of(x="int")
    assert messages.decode(kind, msgpack.packb({"x": 1, "y": 2})).model_dump() == {"x": 1}


def test_what_holds_itself_or_has_no_text_is_one_error() -> None:
    kind = kind_of(x="list[float]")
    endless: list[Any] = []
    endless.append(endless)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (endless, deep, object(), "\ud800", {1: 2}):
        with pytest.raises(MessageError):
            make(kind, {"x": value})


@pytest.mark.parametrize(
    "spec",
    [
        "number",
        "list",
        "list[]",
        "list[float",
        "dict[int, float]",
        "dict[str]",
        "None",
        "",
        "float | int",
        "list[list[list[list[list[int]]]]]",
        "list[float | None]",
        {"type": "float", "unit": "m"},
        {"about": "no type"},
        {"type": "str", "min": 1},
        {"type": "float", "min": 2, "max": 1},
        {"type": "int", "min": 0.2, "max": 0.8},
        {"type": "int", "min": 1e300},
        {"type": "list[int]", "max": -1e300},
        {"type": "float", "max_length": 1},
        {"type": "list[int]", "max_length": 1 << 30},
        {"type": "float", "min": math.inf},
        7,
        None,
        ["float"],
    ],
    ids=str,
)
def test_what_is_no_type_is_refused(spec: Any) -> None:
    with pytest.raises(ValidationError):
        DeclaredField.model_validate(spec)


@pytest.mark.parametrize(
    "name", ["", "_x", "1x", "x y", "model_x", "copy", "json", "class", "version", "x" * 65, "größe", "to_metadata()"]
)
def test_what_is_no_name_of_a_field_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="field"):
        check_fields({name: DeclaredField(type="int")})


def test_the_same_fields_are_the_same_class_wherever_they_are_read() -> None:
    first = kind_of(x="float", y={"type": "int", "min": 1})
    again = declared_message("Made", {k: DeclaredField.model_validate(v) for k, v in json.loads(
        '{"x": {"type": "float"}, "y": {"type": "int", "min": 1.0}}').items()})  # fmt: skip
    assert first is again
    assert first is not kind_of(x="float", y="int")


@pytest.mark.parametrize(
    ("topic", "name"), [("odometry", "Odometry"), ("wheel_speed", "WheelSpeed"), ("a-b.c", "ABC"), ("__", "")]
)
def test_the_name_of_a_message_follows_from_its_topic(topic: str, name: str) -> None:
    assert default_name(topic) == name

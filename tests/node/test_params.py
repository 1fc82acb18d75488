"""Parameters: the same bounds at the start and when they are set, and all of them can be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from brainnet import NodeParameters
from brainnet.errors import ConfigError
from brainnet.node.params import assign, build, describe
from brainnet.wire.messages import ParamsReply, decode, encode


class Window(NodeParameters):
    low: float = Field(0.0, ge=0)
    high: float = Field(1.0, le=10)
    kind: Literal["hard", "soft"] = "hard"
    weights: tuple[float, ...] = (1.0,)
    folder: Path = Path("data")
    anything: Any = None

    @model_validator(mode="after")
    def _is_a_window(self) -> Window:
        if self.low > self.high:
            raise ValueError("low may not be above high")
        return self


def shown(params: NodeParameters) -> dict[str, Any]:
    reply = ParamsReply(params=describe(params, None, "it"))
    return {info.name: info.value for info in decode(ParamsReply, encode(reply)).params}


REFUSED: list[tuple[str, Any, str]] = [
    ("low", -1.0, "greater than or equal to 0"),
    ("low", 2.0, "low may not be above high"),
    ("high", float("inf"), "finite number"),
    ("high", float("nan"), "finite number"),
    ("high", "nan", "finite number"),
    ("high", 11, "less than or equal to 10"),
    ("kind", "sharp", "'hard' or 'soft'"),
    ("weights", [float("-inf")], "finite number"),
    ("anything", 1 << 70, "cannot be written"),
    ("anything", "\ud83d", "cannot be written"),
    ("middle", 1, "it has: low, high, kind"),
]


@pytest.mark.parametrize(("name", "value", "says"), REFUSED)
def test_the_same_is_refused_at_the_start_and_when_it_is_set(name: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError) as at_start:
        build(Window, {name: value}, "it")
    params = build(Window, {"low": 0.5}, "it")
    before = shown(params)
    with pytest.raises(ConfigError) as when_set:
        assign(params, name, value, "it")
    for caught in (at_start, when_set):
        assert says in str(caught.value)
        assert name in str(caught.value) or "low" in str(caught.value)
    assert shown(params) == before
    assert params.model_fields_set == {"low"}


def test_a_program_that_assigns_is_held_to_the_same_bounds() -> None:
    params = Window()
    with pytest.raises(ValidationError):
        params.low = 5.0
    assert params.low == 0.0
    params.high = 6.0
    params.low = 5.0
    assert (params.low, params.high) == (5.0, 6.0)


def test_a_default_outside_its_bounds_is_found_at_the_start() -> None:
    class Wrong(NodeParameters):
        share: float = Field(2.0, le=1)

    with pytest.raises(ConfigError, match="share: Input should be less than or equal to 1"):
        build(Wrong, {}, "it")


def test_values_of_python_are_shown_as_json() -> None:
    params = build(Window, {"weights": [1, 2], "folder": "/tmp"}, "it")
    assert shown(params) | {} == {
        "low": 0.0,
        "high": 1.0,
        "kind": "hard",
        "weights": [1.0, 2.0],
        "folder": "/tmp",
        "anything": None,
    }


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["low", "high"]), st.floats())))
def test_no_sequence_of_assignments_leaves_the_bounds(steps: list[tuple[str, float]]) -> None:
    params = Window()
    for name, value in steps:
        before = shown(params)
        try:
            assign(params, name, value, "it")
        except ConfigError:
            assert shown(params) == before  # what is asserted is the state, not the error
        assert 0 <= params.low <= params.high <= 10

"""A prompt that asks for several things is split, and one that does not is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from brainnet.paths import share_dir
from brainnet.prompts.requests import MAX_LENGTH, MAX_PARTS, split_requests

EXAMPLES = yaml.safe_load(Path(__file__).with_name("requests.yaml").read_text("utf-8"))
ROUTING = yaml.safe_load((share_dir() / "nodes/prefrontal/routing_prompts_validation.yaml").read_text("utf-8"))


@pytest.mark.parametrize(("prompt", "parts"), [(prompt, parts) for prompt, *parts in EXAMPLES["split"]])
def test_several_requests_are_split(prompt: str, parts: list[str]) -> None:
    assert split_requests(prompt) == parts


@pytest.mark.parametrize("prompt", EXAMPLES["one"])
def test_one_request_is_left_alone(prompt: str) -> None:
    assert split_requests(prompt) == [prompt]


def test_prompts_for_one_region_are_left_alone() -> None:
    prompts = [line.removeprefix("<image>").strip() for lines in ROUTING.values() for line in lines.splitlines()]
    assert len(prompts) > 300
    assert [prompt for prompt in prompts if split_requests(prompt) != [prompt]] == []


PIECES = st.sampled_from(
    [
        "where is the key",
        " and ",
        "then",
        "move to (0.1, 0.1)",
        ", ",
        "? ",
        ". ",
        "tell me who has it",
        "“",
        "wo ist",
        " und ",
        ":",
    ]
)


@given(text=st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("".join)))
def test_any_text_has_parts(text: str) -> None:
    parts = split_requests(text)
    assert parts == [text] or (2 <= len(parts) <= MAX_PARTS and all(part.strip() for part in parts))


def test_a_long_text_is_left_alone() -> None:
    text = "Where is the key? " * MAX_LENGTH
    assert split_requests(text) == [text]

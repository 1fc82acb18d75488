"""The table of open prompts: what is taken once, what is dropped when it is full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.prompts import OpenPromptTable, Reliability
from brainnet.prompts.presence import RegionPresence
from brainnet.wire.messages import Decision, Partial, Prompt


def test_the_first_decision_and_the_first_partial_of_each_region_count() -> None:
    table, prompt = OpenPromptTable(10), Prompt(text="which digit?")
    entry = table.accept(prompt)
    first = Decision(prompt_id=prompt.prompt_id, chosen=["eye", "memory"])
    assert table.add_decision(first) is entry
    assert table.add_decision(Decision(prompt_id=prompt.prompt_id, chosen=["ear"])) is None
    assert entry.decision is first
    assert entry.missing == ["eye", "memory"]
    seven = Partial(prompt_id=prompt.prompt_id, region="eye", confidence=0.9)
    assert table.add_partial(seven) is entry
    assert table.add_partial(Partial(prompt_id=prompt.prompt_id, region="eye")) is None
    assert entry.partials == {"eye": seven}
    assert entry.missing == ["memory"]


def test_what_overtakes_its_prompt_is_held_for_it() -> None:
    table, prompt = OpenPromptTable(10), Prompt(text="which digit?")
    early = table.add_partial(Partial(prompt_id=prompt.prompt_id, region="eye"))
    assert early is not None
    assert early.prompt is None
    assert table.accept(prompt) is early
    assert early.prompt is prompt


def test_nothing_changes_a_prompt_whose_answer_is_being_written() -> None:
    table, prompt = OpenPromptTable(10), Prompt(text="which digit?")
    table.accept(prompt).answering = True
    assert table.add_decision(Decision(prompt_id=prompt.prompt_id)) is None
    assert table.add_partial(Partial(prompt_id=prompt.prompt_id, region="eye")) is None
    assert table.close(prompt.prompt_id) is not None
    assert table.close(prompt.prompt_id) is None


@given(st.integers(1, 40), st.integers(0, 80))
def test_the_oldest_are_dropped_when_it_is_full(capacity: int, opened: int) -> None:
    table = OpenPromptTable(capacity)
    for number in range(opened):
        table.accept(Prompt(prompt_id=str(number), text="x"))
        table.add_partial(Partial(prompt_id=f"early-{number}", region="eye"))
    assert len(table) == min(capacity, 2 * opened)
    if opened:
        assert table.get(f"early-{opened - 1}") is not None


def test_reliability_counts_failures_and_not_refusals() -> None:
    record = Reliability()
    partials = {"eye": Partial(code="internal", error="broke"), "memory": Partial(code="cannot_answer", error="no")}
    record.update(["eye", "memory", "slow"], partials, rate=0.25)
    assert record.by_region == {"eye": 0.75, "memory": 1.0}
    record.update(["eye"], {"eye": Partial()}, rate=0.25)
    assert record.by_region["eye"] == pytest.approx(0.8125)


def test_presence_tells_who_came_back() -> None:
    presence = RegionPresence()
    assert not presence.is_expected("eye", 60.0)
    assert presence.update("eye", alive=True) is False
    assert presence.alive == {"eye"}
    assert presence.update("eye", alive=False) is False
    assert presence.alive == set()
    assert presence.is_expected("eye", 60.0)
    assert not presence.is_expected("eye", 0.0)
    assert presence.update("eye", alive=True) is True
    assert presence.update("eye", alive=True) is False

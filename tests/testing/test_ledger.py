"""The account of a chaos run: every prompt is counted exactly once, whatever comes back and when."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.testing.chaos.ledger import CHANNELS, LOST_AFTER_S, Channel, Ledger, Outcome, Percentiles, Sent

DEADLINE_S = 5.0
END_S = 100.0
"""When the account is read: long after every deadline."""


@dataclass(frozen=True)
class Case:
    """One prompt and what comes back for it."""

    channel: Channel
    phase: str
    published: list[tuple[float, str | None]]
    replied: list[tuple[float, str | None]]


came = st.lists(st.tuples(st.floats(0, 20), st.sampled_from([None, "busy", "internal", "deadline"])), max_size=3)
cases = st.lists(st.builds(Case, st.sampled_from(CHANNELS), st.sampled_from("ab"), came, came), max_size=20)


def outcome(at_s: float, code: str | None) -> Outcome:
    return Outcome(at_s, code, None if code is None else f"because {code}")


def account(given_cases: list[Case]) -> Ledger:
    ledger = Ledger()
    for number, case in enumerate(given_cases):
        text = f"prompt {number}"
        prompt_id = "" if case.channel == "text" else f"id-{number}"
        sent = ledger.add(Sent(prompt_id, text, case.channel, case.phase, "kind", 0.0, DEADLINE_S))
        for at_s, code in case.published:
            ledger.answer(prompt_id or f"given-{at_s}", text, outcome(at_s, code))
        for at_s, code in case.replied if case.channel == "get" else []:
            ledger.reply(sent, outcome(at_s, code))
    return ledger


@given(cases)
def test_every_prompt_is_counted_once(given_cases: list[Case]) -> None:
    ledger = account(given_cases)
    tally = ledger.tally(END_S)
    assert tally.sent == len(given_cases)
    assert tally.answered + tally.refused + tally.failed + tally.lost == tally.sent
    assert tally.open == 0
    assert sum(tally.errors.values()) == tally.refused + tally.failed
    assert tally.latency_ms.count == tally.answered
    parts = [ledger.tally(END_S, phase=phase) for phase in "ab"]
    assert sum(part.sent for part in parts) == tally.sent
    assert sum(part.lost for part in parts) == tally.lost
    assert sum(ledger.tally(END_S, channel=channel).answered for channel in CHANNELS) == tally.answered
    assert ledger.unmatched == 0
    assert ledger.open_until(END_S) is None


@given(cases)
def test_lost_is_what_has_nothing_in_time(given_cases: list[Case]) -> None:
    tally = account(given_cases).tally(END_S)
    limit = DEADLINE_S + LOST_AFTER_S
    counted = [case.replied if case.channel == "get" else case.published for case in given_cases]
    lost = [came for came in counted if not any(at_s <= limit for at_s, _ in came)]
    assert tally.lost == len(lost)
    assert tally.late == sum(1 for came in lost if came)
    twice = [case for case in given_cases if len(case.published) > 1]
    twice += [case for case in given_cases if case not in twice and case.channel == "get" and len(case.replied) > 1]
    assert tally.duplicated == len(twice)
    wrong = account(given_cases).wrong(END_S, limit=100)
    assert len(wrong) == len([c for c, came in zip(given_cases, counted, strict=True) if c in twice or came in lost])


def test_a_prompt_is_open_until_two_seconds_after_its_deadline() -> None:
    ledger = Ledger()
    ledger.add(Sent("id", "text", "json", "a", "kind", 0.0, DEADLINE_S))
    assert ledger.tally(DEADLINE_S + 1.9).open == 1
    assert ledger.open_until(1.0) == DEADLINE_S + LOST_AFTER_S
    assert ledger.tally(DEADLINE_S + 2.1).lost == 1


def test_an_answer_that_nobody_waits_for_is_unmatched() -> None:
    ledger = Ledger()
    ledger.answer("id", "text", Outcome(1.0))
    assert ledger.unmatched == 1
    assert ledger.tally(END_S).sent == 0


def test_error_texts_are_counted_by_code() -> None:
    answers = [(1.0, code) for code in ["busy", "internal", "busy"]]
    ledger = account([Case("json", "a", [answer], []) for answer in answers])
    assert ledger.error_texts() == {"busy": {"because busy": 2}, "internal": {"because internal": 1}}


@pytest.mark.parametrize(("values", "p50", "p99"), [([], None, None), ([2.0], 2.0, 2.0), ([1.0, 2.0, 3.0], 2.0, 3.0)])
def test_percentiles(values: list[float], p50: float | None, p99: float | None) -> None:
    found = Percentiles.of(values)
    assert (found.count, found.p50, found.p99) == (len(values), p50, p99)

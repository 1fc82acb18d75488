"""From an open prompt to its one answer: when there is one, and with which code when there is none."""

from __future__ import annotations

from brainnet.errors import ERROR_CODES
from brainnet.prompts import OpenPrompt, conclude
from brainnet.wire.messages import Answer, Candidate, Decision, Partial, Prompt

PROMPT = Prompt(text="which digit?", deadline_ms=100, session_id="mine")


def opened(*partials: Partial, **decision: object) -> OpenPrompt:
    entry = OpenPrompt(PROMPT, partials={p.region: p for p in partials})
    if decision:
        entry.decision = Decision.model_validate({"prompt_id": PROMPT.prompt_id, **decision})
    return entry


def answer(entry: OpenPrompt, *, at_deadline: bool = False) -> Answer | None:
    return conclude(entry, trust={}, reliability={}, at_deadline=at_deadline)


def said(region: str, text: str, confidence: float = 0.9) -> Partial:
    candidates = [Candidate(text=text, probability=1.0)]
    return Partial(region=region, candidates=candidates, confidence=confidence)


def refused(region: str, code: str) -> Partial:
    return Partial(region=region, error="for a reason", code=code)


def test_nothing_is_concluded_before_there_is_something_to_conclude_from() -> None:
    assert answer(OpenPrompt(), at_deadline=True) is None
    assert answer(opened()) is None
    assert answer(opened(chosen=["eye"], route_probs={"eye": 1.0})) is None


def test_the_code_says_what_kept_the_brain_from_answering() -> None:
    one, two = {"eye": 1.0}, {"eye": 0.5, "memory": 0.5}
    cases = {
        "no_decision": opened(),
        "no_region": opened(error="no region nose is alive"),
        "internal": opened(error="the prompt could not be routed", code="internal"),
        "deadline": opened(chosen=["eye"], route_probs=one),
        "cannot_answer": opened(refused("eye", "cannot_answer"), chosen=["eye"], route_probs=one),
        "no_answer": opened(
            refused("eye", "cannot_answer"), refused("memory", "internal"), chosen=["eye", "memory"], route_probs=two
        ),
    }
    for code, entry in cases.items():
        got = answer(entry, at_deadline=True)
        assert got is not None
        assert (got.code, got.stopped_by, bool(got.error)) == (code, "error", True)
        assert got.code in ERROR_CODES
        assert (got.prompt_id, got.prompt, got.session_id) == (PROMPT.prompt_id, "which digit?", "mine")


def test_a_refusal_of_one_region_does_not_hide_the_answer_of_another() -> None:
    entry = opened(
        refused("memory", "internal"),
        said("eye", "7"),
        chosen=["eye", "memory"],
        route_probs={"eye": 0.5, "memory": 0.5},
    )
    got = answer(entry)
    assert got is not None
    assert (got.text, got.error, got.code, got.stopped_by) == ("7", None, None, "all")
    assert got.content["refused"] == {"memory": "for a reason"}


def test_it_waits_for_a_region_that_may_still_change_the_outcome() -> None:
    entry = opened(said("eye", "7"), chosen=["eye", "memory"], route_probs={"eye": 0.5, "memory": 0.5})
    assert answer(entry) is None
    late = answer(entry, at_deadline=True)
    assert late is not None
    assert (late.stopped_by, late.late) == ("deadline", ["memory"])

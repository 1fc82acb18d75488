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
        "cannot_answer": opened(refused("eye", "cannot_answer"), chosen=["eye"], route_probs=one, routed_by="client"),
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


def test_what_no_region_knows_or_can_do_is_an_honest_answer_and_no_error() -> None:
    two = {"eye": 0.5, "memory": 0.5}
    entry = opened(
        refused("eye", "cannot_answer"), refused("memory", "unknown"), chosen=["eye", "memory"], route_probs=two
    )
    got = conclude(entry, trust={}, reliability={}, at_deadline=False, able="Show me a picture.")
    assert got is not None
    assert (got.error, got.unsure, got.reason, got.contributing, got.confidence) == (None, True, "unknown", [], 0.0)
    assert got.text.endswith("Show me a picture.")
    assert got.content["refused"] == {"eye": "for a reason", "memory": "for a reason"}
    alone = answer(opened(refused("eye", "cannot_answer"), chosen=["eye"], route_probs={"eye": 1.0}))
    assert alone is not None
    assert (alone.unsure, alone.reason) == (True, "cannot")


def test_what_a_region_is_not_sure_enough_of_is_not_asserted_unless_another_says_it_too() -> None:
    two = {"eye": 0.5, "memory": 0.5}
    weak = said("eye", "7", 0.4)
    weak.threshold = 0.6
    alone = answer(opened(weak, chosen=["eye"], route_probs={"eye": 1.0}))
    assert alone is not None
    assert (alone.unsure, alone.reason, alone.contributing) == (True, "unsure", ["eye"])
    assert answer(opened(weak, chosen=["eye", "memory"], route_probs=two)) is None
    both = answer(opened(weak, said("memory", "7"), chosen=["eye", "memory"], route_probs=two))
    assert both is not None
    assert (both.text, both.unsure, both.reason) == ("7", False, "")
    sure = answer(opened(said("eye", "7", 0.7), chosen=["eye"], route_probs={"eye": 1.0}))
    assert sure is not None
    assert not sure.unsure


def test_the_parts_of_a_prompt_become_one_answer_that_names_what_was_not_done() -> None:
    entry = opened(parts=["which digit?", "where is it?", "move"], chosen=[])
    entry.part_answers = [answer(opened(said("eye", "7"), chosen=["eye"], route_probs={"eye": 1.0})), None, None]
    assert answer(entry) is None
    entry.part_answers[1] = answer(opened(refused("memory", "unknown"), chosen=["memory"], route_probs={"memory": 1.0}))
    got = answer(entry, at_deadline=True)
    assert got is not None
    lines = got.text.splitlines()
    assert lines[0] == "7"
    assert "move" in lines[2]
    assert (got.unsure, got.reason, got.contributing, got.stopped_by) == (False, "partly", ["eye"], "deadline")
    assert [part["prompt"] for part in got.content["parts"]] == ["which digit?", "where is it?", "move"]
    assert got.content["parts"][1]["unsure"]
    entry.part_answers = [None, None, None]
    nothing = answer(entry, at_deadline=True)
    assert nothing is not None
    assert nothing.code == "deadline"


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

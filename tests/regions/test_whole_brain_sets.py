"""The sets that measure a whole brain are what their card promises, and answers are judged as it says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from brainnet.errors import TrainingError
from brainnet.node import load_program
from brainnet.training import Run, find_program
from brainnet.wire.messages import Answer
from whole_brain_judging import HOLDS, begins_with, contains, judge, judge_talk
from whole_brain_sets import (
    ANSWERABLE,
    Kind,
    Part,
    Step,
    Talk,
    TalkKind,
    World,
    conversation,
    own_regions,
    regions_program,
    worlds,
)
from whole_brain_training import Settings, evaluate, train

PARTS: tuple[Part, ...] = get_args(Part)
LANGUAGES = {"en", "de", "fr", "es", "it", "ja", "hi"}
NO = {"en": "No", "de": "Nein", "fr": "Non", "es": "No", "it": "No", "ja": "いいえ", "hi": "नहीं"}


def steps(part: Part) -> list[tuple[World, Step]]:
    return [(world, step) for world in worlds(part) for step in world.steps]


def texts(part: Part) -> list[str]:
    """All prompts of one half, as people would compare them."""
    told = [step.say or step.ask for world, step in steps(part)]
    own = [text for region in own_regions(part) for text in region.prompts]
    return [" ".join(text.casefold().split()) for text in [*told, *own, *(talk.ask for talk in conversation(part))]]


@pytest.mark.parametrize("part", PARTS)
def test_a_half_has_the_promised_counts(part: Part) -> None:
    asked = [step for _, step in steps(part) if step.ask]
    kinds = Counter(step.kind for step in asked)
    assert len(worlds(part)) >= 30
    assert sum(step.fact for _, step in steps(part)) >= 150
    assert sum(step.answerable for step in asked) >= 300
    assert kinds["unanswerable"] >= 100
    assert sum(step.hard for step in asked) >= 50
    assert set(kinds) == set(get_args(Kind))
    assert min(kinds[kind] for kind in ANSWERABLE) >= 15
    assert kinds["forgotten"] >= 10
    assert sum(step.unknown for step in asked) >= 5
    assert [len(region.prompts) for region in own_regions(part)] == [10] * 5
    assert len(conversation(part)) == 50
    assert {talk.kind for talk in conversation(part)} == set(get_args(TalkKind))


@pytest.mark.parametrize("part", PARTS)
def test_a_half_has_every_language(part: Part) -> None:
    counts = Counter(world.language for world in worlds(part))
    assert set(counts) == LANGUAGES
    assert counts["en"] >= 24


@pytest.mark.parametrize("part", PARTS)
def test_about_half_of_the_questions_for_yes_or_no_are_answered_no(part: Part) -> None:
    asked = [(world, step) for world, step in steps(part) if step.kind == "yes_no" and not step.unknown]
    no = [step for world, step in asked if begins_with(NO[world.language], step.expect, world.language)]
    assert 0.4 <= len(no) / len(asked) <= 0.6


@pytest.mark.parametrize("part", PARTS)
def test_a_world_is_told_before_it_is_asked(part: Part) -> None:
    for world in worlds(part):
        assert world.steps[0].say, world.id
        assert world.steps[0].session == "new", world.id
        told = ""
        for before, step in zip(world.steps, world.steps[1:], strict=False):
            told += before.say + "\n"
            if step.kind == "follow_up" and step.ask:
                assert before.ask, f"{world.id}: {step.ask}"
                assert step.session == "same", f"{world.id}: {step.ask}"
            if step.kind == "forgotten":
                assert any(contains(told, part) for part in step.excluded), f"{world.id}: {step.ask}"


@pytest.mark.parametrize("part", PARTS)
def test_what_is_expected_was_told(part: Part) -> None:
    """Most of it in the same words: what a stored statement cannot contain would not be a fair question."""
    for world in worlds(part):
        told = " ".join(step.say for step in world.steps)
        for step in world.steps:
            if step.kind != "yes_no" and step.answerable:
                for wanted in filter(None, (step.expect, step.also)):
                    assert any(contains(told, each) for each in wanted), f"{world.id}: {step.ask}"


def test_the_halves_share_no_text() -> None:
    validation, test = (set(texts(part)) for part in PARTS)
    assert validation & test == set()
    assert {world.id for world in worlds("validation")} & {world.id for world in worlds("test")} == set()


@pytest.mark.parametrize("part", PARTS)
def test_every_own_region_is_a_program_with_examples_that_are_not_asked(part: Part) -> None:
    for region in own_regions(part):
        program: Any = load_program(f"{regions_program(part)}:{region.program}")
        assert 5 <= len(program.examples) <= 8
        assert (program.__doc__ or "").strip()
        asked = {text.casefold().strip(" .?!") for text in region.prompts}
        assert len(asked) == 10
        assert asked & {text.casefold().strip(" .?!") for text in program.examples} == set()


# -- judging ---------------------------------------------------------------------------------------------------------


def answer(text: str = "", **fields: Any) -> Answer:
    return Answer(prompt_id="1", text=text, **fields)


@pytest.mark.parametrize(
    ("text", "part", "found"),
    [
        ("The key is in the DRAWER.", "drawer", True),
        ("Die Tür klemmt.", "tur", True),
        ("It leaves at 17:20.", "7", False),
        ("pitch 14", "4", False),
        ("He often comes.", "ten", False),
        ("at ten.", "ten", True),
        ("鍵は靴箱の中です。", "靴箱", True),
        ("मेरी बहन का नाम कविता है।", "कविता", True),
    ],
)
def test_a_text_contains_what_was_asked_for(text: str, part: str, found: bool) -> None:
    assert contains(text, part) is found


@pytest.mark.parametrize(
    ("text", "words", "language", "found"),
    [
        ("Yes, it is.", ["yes"], "en", True),
        ("Nothing is known.", ["no"], "en", False),
        ("¡No!", ["no"], "es", True),
        ("はい、そうです。", ["はい"], "ja", True),
        ("नहीं, छाता अलमारी के पीछे है।", ["नहीं"], "hi", True),
    ],
)
def test_yes_or_no_is_the_first_word(text: str, words: list[str], language: str, found: bool) -> None:
    assert begins_with(text, words, language) is found


def test_a_question_is_judged_by_what_its_answer_holds() -> None:
    step = Step.model_validate({"ask": "When?", "kind": "corrected", "expect": ["Friday"], "not": ["Monday"]})
    assert judge(step, answer("On Friday."), "en").right
    assert not judge(step, answer("On Monday, no, on Friday."), "en").right
    refused = judge(step, answer("", error="memory does not know", code="unknown"), "en")
    assert refused.refused
    assert not refused.right
    both = Step(ask="Where and who?", kind="two_at_once", expect=("cellar",), also=("Ada",))
    assert judge(both, answer("Ada is in the cellar."), "en").right
    assert not judge(both, answer("In the cellar."), "en").right


def test_what_has_no_answer_must_be_refused() -> None:
    step = Step(ask="Who is the mayor?", kind="unanswerable")
    assert judge(step, answer("", error="nothing is known"), "en").right
    assert not judge(step, answer("I do not know."), "en").right
    failed = judge(step, answer("", error="internal error", code="internal"), "en")
    assert failed.refused
    assert not failed.right


def test_what_was_forgotten_may_stand_nowhere() -> None:
    step = Step.model_validate({"ask": "The code?", "kind": "forgotten", "not": ["5093"]})
    assert judge(step, answer("", error="not known", content={"scores": [0.5093]}), "en").right
    assert not judge(step, answer("", error="it was 5093"), "en").right
    assert not judge(step, answer("", error="not known", content={"hits": ["the code is 5093"]}), "en").right


def test_conversation_is_judged_by_its_form() -> None:
    live = ["memory", "seeing", "moving"]
    hello = Talk(ask="hello", kind="greeting")
    assert judge_talk(hello, answer("Hello!"), live).right
    assert not judge_talk(hello, answer("This was his hat.", confidence=0.9), live).right
    assert not judge_talk(hello, answer("Hello, said the man.", confidence=0.07), live).right
    regions = Talk(ask="which regions are there?", kind="regions")
    assert judge_talk(regions, answer("memory, seeing and moving"), live).right
    assert not judge_talk(regions, answer("memory"), live).right
    cannot = Talk(ask="order a pizza", kind="cannot")
    assert judge_talk(cannot, answer("I cannot. I can do: seeing.", error="no region"), live).right
    assert not judge_talk(cannot, answer("Done, seeing."), live).right
    assert set(HOLDS) == set(get_args(TalkKind)) - {"regions"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"say": "x", "ask": "y"},
        {"ask": "Where?", "kind": "same_words"},
        {"ask": "Who?", "kind": "unanswerable", "expect": ["x"]},
        {"ask": "The code?", "kind": "forgotten"},
        {"ask": "Where?", "expect": ["x"], "wanted": ["y"]},
    ],
)
def test_a_step_that_cannot_be_judged_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Step.model_validate(fields)


def test_there_is_nothing_to_train(tmp_path: Path) -> None:
    assert find_program("whole_brain").about.startswith("Measures a whole brain")
    with pytest.raises(TrainingError, match="brainnet eval whole_brain"):
        train(Run("whole_brain", Settings(), tmp_path / "none.safetensors"))


def test_worlds_are_told_to_a_real_brain_and_asked(tmp_path: Path) -> None:
    chosen = [world for world in worlds("validation") if "_on_" in world.id]
    assert len(chosen) == 2
    file = tmp_path / "failures.jsonl"
    settings = Settings(only="worlds", world="_on_", fresh="memory", failures=file)
    rows = {row.name: row for row in evaluate(Run("whole_brain", settings, tmp_path / "none.safetensors"))}
    told = [step for world in chosen for step in world.steps if step.say]
    answerable = [step for world in chosen for step in world.steps if step.answerable]
    assert rows["statements"].value == len(told)
    assert rows["right_of_answerable"].unit == f"% of {len(answerable)}"
    failures = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    wrong = [f for f in failures if f["kind"] in ANSWERABLE]
    assert rows["right_of_answerable"].value == pytest.approx(100 * (1 - len(wrong) / len(answerable)))
    assert all(failure["prompt"] and failure["answer"] is not None for failure in failures)

"""What memory answers and what it does not know: other words, yes and no, corrections, forgetting, follow-ups."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from brainnet import MemoryQuery, MemoryStore, Prompt
from brainnet.testing import MemoryBrain
from hippocampus_turns import MAX_SESSIONS, MAX_TURNS, Turn, Turns
from tests.regions.asking_memory import PROGRAM, ask, said
from tests.regions.memory_worlds import ask_world, small_worlds, tally


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[MemoryBrain]:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        yield brain


async def tell(brain: MemoryBrain, *texts: str) -> None:
    for text in texts:
        assert said(await ask(brain, text)).startswith("I will remember: ")


async def unknown(brain: MemoryBrain, text: str, **more: str) -> bool:
    partial = await ask(brain, text, **more)
    assert partial.code in (None, "unknown"), partial.error
    return partial.code == "unknown"


async def texts_kept(brain: MemoryBrain) -> list[str]:
    reply = await brain.bus().call("memory/episodic/query", MemoryQuery(text="the", k=50, kinds=["statement"]))
    return sorted(hit.text for hit in reply.hits)


async def test_small_worlds(tmp_path: Path) -> None:
    total: Counter[str] = Counter()
    for name, world in small_worlds().items():
        async with MemoryBrain(tmp_path / name) as brain:
            await brain.start(PROGRAM, "memory")
            total += tally(await ask_world(brain, world))
    assert total["right"] / total["answerable"] > 0.8, total
    assert total["wrong"] / total["asserted"] < 0.08, total
    assert total["refused"] / total["unanswerable"] > 0.85, total


async def test_meaning_decides_and_not_only_shared_words(brain: MemoryBrain) -> None:
    await tell(brain, "Remember that the car is in the garage.", "Remember that the bicycle is in the yard.")
    assert said(await ask(brain, "Where is my vehicle?")) == "The car is in the garage."
    assert said(await ask(brain, "Where is the bike?")) == "The bicycle is in the yard."
    assert await unknown(brain, "Where is the boat?")


async def test_what_is_anothers_is_not_what_was_asked(brain: MemoryBrain) -> None:
    await tell(brain, "Tom's bike is in the cellar.")
    assert await unknown(brain, "Where is Anna's bike?")
    assert said(await ask(brain, "Where is Tom's bike?")) == "Tom's bike is in the cellar."
    assert await unknown(brain, "When did Tom buy his bike?")


async def test_my_name_is_not_yours(brain: MemoryBrain) -> None:
    await tell(brain, "My name is Jonas.")
    assert said(await ask(brain, "What is my name?")) == "My name is Jonas."
    assert await unknown(brain, "What's your name?")


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ("My name is Jonas.", "who am I"),
        ("Mein Name ist Jonas.", "Wer bin ich?"),
        ("Mon nom est Jonas.", "Qui suis-je ?"),
        ("Mi nombre es Jonas.", "¿Quién soy?"),
    ],
)
async def test_who_am_i(brain: MemoryBrain, told: str, asked: str) -> None:
    assert await unknown(brain, asked)
    await ask(brain, told)
    assert said(await ask(brain, asked)) == told


async def test_a_plain_statement_is_kept_and_said_back(brain: MemoryBrain) -> None:
    assert said(await ask(brain, "The drone is called Fink.")) == "I will remember: The drone is called Fink."
    assert said(await ask(brain, "What is the drone called?")) == "The drone is called Fink."


@pytest.mark.parametrize(
    ("told", "question", "verdict"),
    [
        ("The car is in the garage.", "Is the car in the garage?", "Yes"),
        ("The car is in the garage.", "Is the car in the cellar?", "No"),
        ("The car is no longer in the garage.", "Is the car in the garage?", "No"),
        ("The car is in the garage.", "Is the car red?", None),
        ("The door code is 4711.", "Is the door code 1234?", "No"),
        ("Anna lives in Oslo.", "Does Anna live in Oslo?", "Yes"),
        ("Anna lives in Oslo.", "Does Tom live in Oslo?", None),
        ("Das Auto ist in der Garage.", "Ist das Auto in der Garage?", "Ja"),
        ("La clé est dans le tiroir.", "Est-ce que la clé est dans le tiroir ?", "Oui"),
    ],
)
async def test_yes_no_or_unknown(brain: MemoryBrain, told: str, question: str, verdict: str | None) -> None:
    await tell(brain, told)
    partial = await ask(brain, question)
    if verdict is None:
        assert partial.code == "unknown"
    else:
        assert said(partial) == f"{verdict}: {told}"
        assert partial.content["verdict"] == verdict


async def test_the_newest_holds_in_other_words_too(brain: MemoryBrain) -> None:
    await tell(brain, "The key is in the drawer.", "I put the key into the car.")
    assert said(await ask(brain, "Where is the key?")) == "I put the key into the car."
    assert said(await ask(brain, "Is the key in the drawer?")) == "No: I put the key into the car."


async def test_a_correction_replaces_what_was_wrong(brain: MemoryBrain) -> None:
    await tell(brain, "The key is in the drawer.", "The lamp is in the hall.")
    answer = said(await ask(brain, "Actually, the key is in the car."))
    assert answer == "I had: The key is in the drawer. Now: The key is in the car."
    assert await texts_kept(brain) == ["The key is in the car.", "The lamp is in the hall."]
    assert said(await ask(brain, "Where is the key?")) == "The key is in the car."


async def test_a_correction_of_what_was_just_said(brain: MemoryBrain) -> None:
    await tell(brain, "The key is in the drawer.", "The lamp is in the hall.")
    assert said(await ask(brain, "Where is the key?", session_id="s")) == "The key is in the drawer."
    assert said(await ask(brain, "No, it's in the car.", session_id="s")).endswith("Now: The key is in the car.")
    assert said(await ask(brain, "Where is the key?")) == "The key is in the car."
    assert await texts_kept(brain) == ["The key is in the car.", "The lamp is in the hall."]


async def test_a_correction_of_nothing_is_a_statement(brain: MemoryBrain) -> None:
    await tell(brain, "The lamp is in the hall.")
    assert said(await ask(brain, "Actually, the key is in the car.")).endswith("Now: The key is in the car.")
    assert await texts_kept(brain) == ["The key is in the car.", "The lamp is in the hall."]


async def test_forgetting_deletes_and_does_not_repeat_the_secret(brain: MemoryBrain) -> None:
    await tell(brain, "The door code is 4711.", "The locker code is 1188.", "The door is green.")
    assert said(await ask(brain, "Forget the door code.")) == "Forgotten: 1 statement about 'door code'."
    assert await unknown(brain, "What is the door code?")
    assert await texts_kept(brain) == ["The door is green.", "The locker code is 1188."]
    assert await unknown(brain, "Forget the door code.")


async def test_forget_that(brain: MemoryBrain) -> None:
    await tell(brain, "The door code is 4711.")
    await ask(brain, "The locker code is 1188.", session_id="s")
    assert said(await ask(brain, "Forget that.", session_id="s")) == "Forgotten: 1 statement."
    assert await texts_kept(brain) == ["The door code is 4711."]
    assert await unknown(brain, "Forget that.", session_id="another")


async def test_everything_is_forgotten_only_after_a_yes_in_the_same_session(brain: MemoryBrain) -> None:
    await tell(brain, "The door code is 4711.", "The lamp is in the hall.")
    asked = said(await ask(brain, "Forget everything.", session_id="s"))
    assert "all 2 statements" in asked
    assert len(await texts_kept(brain)) == 2
    assert not said(await ask(brain, "Forget everything, yes", session_id="another")).startswith("Forgotten")
    assert said(await ask(brain, "Forget everything, yes", session_id="s")) == "Forgotten: 2 statements."
    assert await texts_kept(brain) == []


async def test_lists_what_it_knows(brain: MemoryBrain) -> None:
    await tell(brain, "Anna likes tea.", "Tom likes juice.", "Anna lives in Oslo.")
    about = said(await ask(brain, "What do you know about Anna?"))
    assert "Anna likes tea." in about
    assert "Anna lives in Oslo." in about
    assert "Tom" not in about
    assert await unknown(brain, "What do you know about Carla?")
    everything = await ask(brain, "What do you know?")
    assert everything.content["total"] == 3
    assert everything.content["recalled"][0]["text"] == "Anna lives in Oslo."


async def test_follow_ups(brain: MemoryBrain) -> None:
    await tell(
        brain,
        "Anna's bike is in the cellar.",
        "Tom's bike is in the yard.",
        "Anna works at the bakery.",
        "The red pen is in box 1.",
        "The blue pen is in box 2.",
    )
    turns = [
        ("a", "Where is Anna's bike?", "Anna's bike is in the cellar."),
        ("a", "And Tom's?", "Tom's bike is in the yard."),
        ("b", "Where is the red pen?", "The red pen is in box 1."),
        ("b", "And the other one?", "The blue pen is in box 2."),
        ("c", "Where is Anna's bike?", "Anna's bike is in the cellar."),
        ("c", "Where does she work?", "Anna works at the bakery."),
    ]
    for session, question, answer in turns:
        assert said(await ask(brain, question, session_id=session)) == answer
    assert said(await ask(brain, "When was that?", session_id="c")).startswith("Told on ")
    assert await unknown(brain, "And Tom's?", session_id="nothing before")


async def test_a_prompt_that_is_not_to_be_remembered_stores_nothing(brain: MemoryBrain) -> None:
    for text in ("Remember that the safe is empty.", "Actually, the safe is full."):
        partial = await brain.query("memory", Prompt(text=text, remember=False))
        assert partial.code == "cannot_answer"
        assert "nothing" in (partial.error or "")
    assert await texts_kept(brain) == []


async def test_a_bid_says_how_sure_it_is_and_writes_nothing(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        region: Any = await brain.start(PROGRAM, "memory")
        await tell(brain, "The car is in the garage.")

        async def bid(text: str) -> tuple[float, str]:
            found = await region.in_model_thread(region.bid, Prompt(text=text))
            return found.score, found.why

        assert (await bid("Remember that the lamp is red."))[0] > 0.9
        assert (await bid("Forget the lamp."))[0] > 0.9
        assert (await bid("What is the capital of France?"))[0] < 0.3
        score, why = await bid("Where is the car?")
        assert score > 0.7
        assert why.startswith("1 of 1 words, best 0.")
        assert await texts_kept(brain) == ["The car is in the garage."]


async def test_passages_of_documents_are_cited(brain: MemoryBrain) -> None:
    passage = "The pump is driven by a motor. The filter of the pump must be changed every six weeks. Wear gloves."
    metadata = {"source": "/documents/manual.pdf", "page": 3, "offset": 120, "title": "Manual"}
    await brain.bus().call("memory/episodic/store", MemoryStore(text=passage, kind="passage", metadata=metadata))
    found = await ask(brain, "How often must the filter of the pump be changed?")
    assert said(found) == "The filter of the pump must be changed every six weeks. (manual.pdf, page 3)"
    assert found.content["document"] == metadata
    assert said(await ask(brain, "Forget everything.", session_id="s")).startswith("This deletes all 0")


def test_turns_are_bounded() -> None:
    turns = Turns()
    for number in range(MAX_SESSIONS + 10):
        for turn in range(MAX_TURNS + 3):
            turns.add(f"s{number}", Turn(f"prompt {turn}", episodes=(turn,)))
    assert turns.of("s0") == []
    last = turns.of(f"s{MAX_SESSIONS + 9}")
    assert [turn.text for turn in last] == [f"prompt {n}" for n in range(MAX_TURNS + 2, 2, -1)]
    turns.forget({MAX_TURNS + 2})
    assert len(turns.of(f"s{MAX_SESSIONS + 9}")) == MAX_TURNS - 1
    turns.clear()
    assert turns.of(f"s{MAX_SESSIONS + 9}") == []


async def test_prompts_at_the_same_time(brain: MemoryBrain) -> None:
    await tell(brain, "The car is in the garage.")
    answers = await asyncio.gather(*(ask(brain, "Where is the car?") for _ in range(5)))
    assert {said(answer) for answer in answers} == {"The car is in the garage."}


async def test_a_short_question_that_looks_english_is_answered_in_the_language_of_what_was_told(
    brain: MemoryBrain,
) -> None:
    await tell(brain, "Katrin wohnt in Bremen.")
    assert said(await ask(brain, "Wohnt Katrin in Bremen?")) == "Ja: Katrin wohnt in Bremen."

"""The hippocampus over the in-memory network: what it keeps, what it finds, and how sure it is."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet import MemoryQuery, MemoryReply, MemoryStore, MemoryStored, Prompt
from brainnet.errors import CallError
from brainnet.testing import MemoryBrain
from brainnet.wire.messages import Answered, Exchange, MemoryList, ParamsQuery, StatusQuery
from hippocampus_prompts import statement_to_remember
from tests.regions.asking_memory import MODULE, PROGRAM, ask, counters, said


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[MemoryBrain]:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        yield brain


async def test_remembers_and_recalls(brain: MemoryBrain) -> None:
    stored = await ask(brain, "Remember that the blue toolbox is under the workbench.")
    assert said(stored) == "I will remember: The blue toolbox is under the workbench."
    assert stored.confidence == 1.0
    await ask(brain, "Remember that the red hammer is on the shelf.")
    found = await ask(brain, "Where is the blue toolbox?")
    assert said(found) == "The blue toolbox is under the workbench."
    assert found.confidence > 0.9
    assert found.content["episode_id"] == stored.content["episode_id"]
    assert found.content["stored_at"].endswith("+00:00")
    assert found.spikes.any()
    recalled = found.content["recalled"]
    assert [episode["text"] for episode in recalled] == [candidate.text for candidate in found.candidates]
    best = recalled[0]
    assert best["score"] == found.content["score"] > 0
    assert best["source"].startswith(
        f"stored {best['stored_at']} (episode {best['episode_id']}, score {best['score']:.4f}"
    )
    assert 0.3 < best["similarity"] <= 1


async def test_recalls_after_a_restart(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        await ask(brain, "Please don't forget that Anna is allergic to peanuts.")
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        assert said(await ask(brain, "What is Anna allergic to?")) == "Anna is allergic to peanuts."


async def test_learns_from_its_episodes_in_quiet_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "QUIET_S", 0.01)
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        status = await brain.bus().call("node/memory/status", StatusQuery())
        assert "consolidations" not in status.counters
        for number in range(100):
            await brain.bus().call("memory/episodic/store", MemoryStore(text=f"the kettle number {number} is hot"))
        while "consolidations" not in status.counters:
            status = await brain.bus().call("node/memory/status", StatusQuery())


async def test_a_memory_kept_with_other_vectors_is_searched_by_its_own(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        await ask(brain, "Remember that the physician lives next door.")
    (path,) = tmp_path.rglob("memory.sqlite")
    db = sqlite3.connect(path)
    db.execute("UPDATE episodes SET vector = ?, vector_model = 'another'", (bytes(480),))
    db.commit()
    db.close()
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        reply = await brain.bus().call("memory/episodic/query", MemoryQuery(text="a doctor"))
        assert [hit.text for hit in reply.hits] == ["The physician lives next door."]


async def test_the_same_prompt_is_stored_once_also_after_a_restart(tmp_path: Path) -> None:
    prompt = Prompt(text="Remember that the rope is wet.")
    replies = []
    for _ in range(2):
        async with MemoryBrain(tmp_path) as brain:
            await brain.start(PROGRAM, "memory")
            replies += [await brain.query("memory", prompt), await brain.query("memory", prompt)]
    assert len({reply.content["episode_id"] for reply in replies}) == 1


async def test_says_when_it_knows_nothing(brain: MemoryBrain) -> None:
    empty = await ask(brain, "What did I tell you?")
    assert empty.error is not None
    assert "nothing in memory" in empty.error
    await ask(brain, "Remember that the blue toolbox is under the workbench.")
    for question in ("Where is the green ladder?", "What is the capital of France?"):
        partial = await ask(brain, question)
        assert partial.error is not None
        assert "nothing in memory about" in partial.error
        assert partial.confidence == 0.0


async def test_is_less_sure_when_less_fits(brain: MemoryBrain) -> None:
    for fact in ("the blue toolbox is under the workbench", "the green toolbox is in the car", "tea is in the kitchen"):
        await ask(brain, f"Remember that {fact}.")
    sure = await ask(brain, "Where is the green toolbox?")
    unsure = await ask(brain, "Where is the purple toolbox?")
    assert said(sure) == "The green toolbox is in the car."
    assert unsure.confidence < 0.5 < sure.confidence


async def test_the_newest_holds_when_the_same_thing_is_said_anew(brain: MemoryBrain) -> None:
    await ask(brain, "Remember that the car key is in the left drawer of the desk.")
    await ask(brain, "Remember that the car key is in my coat.")
    found = await ask(brain, "Where is the car key?")
    assert said(found) == "The car key is in my coat."
    assert [candidate.text for candidate in found.candidates][1:] == ["The car key is in the left drawer of the desk."]


INFLECTED = {
    "microscope": (
        "microscope",
        "microscopes",
        "microscope's",
        "microscope’s",
        "Microscopes",
        "MICROSCOPE",
        "microscopes’",
    ),
    "city": ("city", "cities", "city's", "Cities"),
    "box": ("box", "boxes", "box's", "BOXES’"),
    "Zoë": ("Zoë", "Zoe", "ZOE", "Zoë's", "Zoe’s", "Zoe\u0308"),
    "x-ray": ("x-ray", "X-rays", "x ray", "x-ray's", "X‑ray"),
    "İzmir": ("İzmir", "Izmir", "izmir's", "IZMIR"),
    "painting": ("painting", "paintings", "painted", "painting’s"),
    "ﬁle": ("ﬁle", "file", "files", "file's"),
}
"""Words, and the forms in which they may be stored and asked for."""


@pytest.mark.parametrize("word", INFLECTED)
async def test_a_word_is_the_same_in_every_form(brain: MemoryBrain, word: str) -> None:
    forms = INFLECTED[word]
    for place, form in enumerate(forms):
        await ask(brain, f"Remember that the {form} is in room {place}a.")
        await ask(brain, f"Remember that the {form} is in room {place}b.")
    newest = f"The {forms[-1]} is in room {len(forms) - 1}b."
    for form in forms:
        for question in (f"Where is the {form}?", f"Where’s the {form}?", f"Do you know where the {form} is?"):
            found = await ask(brain, question)
            assert unicodedata.normalize("NFC", said(found)) == unicodedata.normalize("NFC", newest)
            assert found.content["matched"]
    assert "errors" not in await counters(brain)


WORDS = st.sampled_from([form for forms in INFLECTED.values() for form in forms] + ["is", "the", "’s", "blue", "Where"])
TEXTS = st.one_of(st.text(max_size=30), st.lists(st.one_of(WORDS, st.text(max_size=8)), max_size=8).map(" ".join))


@given(statements=st.lists(TEXTS, min_size=1, max_size=8), questions=st.lists(TEXTS, min_size=1, max_size=8))
@settings(max_examples=15, deadline=None)
def test_any_question_gets_an_answer_or_a_reason(statements: list[str], questions: list[str]) -> None:
    async def asked() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with MemoryBrain(Path(folder)) as brain:
                await brain.start(PROGRAM, "memory")
                for text in [*(f"Remember that {statement}" for statement in statements), *questions, *statements]:
                    if text.strip():
                        partial = await ask(brain, text)
                        assert partial.code in (None, "cannot_answer", "unknown"), partial.error
                        assert (partial.error is None) == bool(partial.candidates)

    asyncio.run(asked())


@pytest.mark.parametrize("attached", [{"image": b"a picture"}, {"audio": b"a sound"}, {"arrays": {"eeg": b"1"}}])
async def test_a_question_about_what_came_with_it_is_not_answered_from_memory(
    brain: MemoryBrain, attached: dict[str, Any]
) -> None:
    await ask(brain, "Remember that my favourite digit is 7 and the picture of a shirt hangs in the hall.")
    for question in ("What is this?", "Which digit is this?", "What does the picture show?", "What did I tell you?"):
        partial = await brain.query("memory", Prompt(text=question, **attached))
        assert partial.error is not None
        assert partial.code == "cannot_answer"
        assert partial.confidence == 0
        assert "cannot see" in partial.error
    stored = await brain.query("memory", Prompt(text="Remember that Anna has the red door.", **attached))
    assert said(stored) == "I will remember: Anna has the red door."
    found = await brain.query("memory", Prompt(text="Which digit is on Anna's red door?", **attached))
    assert said(found) == "Anna has the red door."


async def test_what_was_said_last_does_not_depend_on_the_clock(
    brain: MemoryBrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    stored = []
    for hours, place in ((0, "drawer"), (-1, "car"), (-1, "coat")):
        monkeypatch.setattr(time, "time_ns", lambda hours=hours: now + hours * 3600 * 10**9)
        stored.append(await ask(brain, f"Remember that the key is in the {place}."))
    assert [partial.content.get("clock_stepped", False) for partial in stored] == [False, True, False]
    assert said(await ask(brain, "Where is the key?")) == "The key is in the coat."
    told = await ask(brain, "What did I tell you?")
    assert told.content["recalled"][0]["text"] == "The key is in the coat."
    assert (await counters(brain))["clock_steps"] == 1


async def test_a_question_for_a_place_prefers_a_place(brain: MemoryBrain) -> None:
    await ask(brain, "Remember that the blue toolbox is under the workbench.")
    await ask(brain, "Remember that the blue toolbox was expensive.")
    assert said(await ask(brain, "Where is the blue toolbox?")) == "The blue toolbox is under the workbench."


async def test_a_question_about_nothing_in_particular_gets_the_newest(brain: MemoryBrain) -> None:
    await ask(brain, "Remember that the oven is hot.")
    await ask(brain, "Remember that the tea is cold.")
    told = await ask(brain, "What did I tell you?")
    assert told.content["total"] == 2
    assert [each["text"] for each in told.content["recalled"]] == ["The tea is cold.", "The oven is hot."]


async def test_keeps_exchanges_and_does_not_recall_them(brain: MemoryBrain) -> None:
    await ask(brain, "Remember that the blue toolbox is under the workbench.")
    bus = brain.bus("supervisor", "here")
    for number, text in enumerate(["The blue toolbox? No idea, really.", "Ships sail."]):
        exchange = Exchange(prompt_id=f"p{number}", prompt="Where is the blue toolbox?", text=text, confidence=0.4)
        failed = Exchange(prompt_id=f"f{number}", prompt="Where is the blue toolbox?", failed=True)
        bus.publish("brain/answered", Answered(exchanges=[exchange, failed]))
        bus.publish("brain/answered", Answered(exchanges=[exchange]))
    # Handlers and queries share the model thread, so what was published before is kept before this is answered.
    await brain.bus().call("node/memory/status", StatusQuery())
    reply = MemoryReply()
    while len(reply.hits) < 2:
        reply = await brain.bus().call("memory/episodic/query", MemoryQuery(text="toolbox", kinds=["exchange"]))
    assert sorted(hit.metadata["prompt_id"] for hit in reply.hits) == ["p0", "p1"]
    found = await ask(brain, "Where is the blue toolbox?")
    assert [candidate.text for candidate in found.candidates] == ["The blue toolbox is under the workbench."]


async def test_the_weakest_exchanges_are_dropped_and_no_statement(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory", parameters={"max_exchanges": 5})
        for number in range(8):
            await ask(brain, f"Remember that oven {number} is hot.")
        exchanges = [
            Exchange(prompt_id=f"p{number}", prompt=f"Is oven {number} hot?", text="Yes.") for number in range(20)
        ]
        brain.bus("supervisor", "here").publish("brain/answered", Answered(exchanges=exchanges))

        async def kept() -> list[str]:
            reply = await brain.bus().call("memory/episodic/list", MemoryList(kinds=["exchange"]))
            return sorted((each.metadata["prompt_id"] for each in reply.episodes), key=lambda name: int(name[1:]))

        while (await counters(brain)).get("exchanges_dropped", 0) < 15:
            await ask(brain, "Where is oven 1?")
        assert await kept() == ["p15", "p16", "p17", "p18", "p19"]
        # the limit can be set while the node runs, in number and in bytes
        await brain.bus().call("node/memory/params", ParamsQuery(name="max_exchange_mb", value=30e-6, set=True))
        while len(await kept()) > 1:
            pass
        assert await kept() == ["p19"]
        for number in range(8):
            assert said(await ask(brain, f"What about oven {number}?")) == f"Oven {number} is hot."
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        reply = await brain.bus().call("memory/episodic/query", MemoryQuery(text="oven", k=99))
        assert len(reply.hits) == 9


@pytest.mark.parametrize(
    "request_",
    [
        MemoryStore(text=" "),
        MemoryStore(text="x", kind=""),
        MemoryStore(text="x", metadata={"picture": b"\xff"}),
        MemoryStore(text="x", metadata={"number": float("nan")}),
    ],
)
async def test_what_cannot_be_stored_is_refused_with_a_reason(brain: MemoryBrain, request_: MemoryStore) -> None:
    with pytest.raises(CallError, match="MemoryStore") as refused:
        await brain.bus().call("memory/episodic/store", request_)
    assert refused.value.code == "bad_message"


@pytest.mark.parametrize("system", ["episodic", "semantic"])
async def test_stores_and_finds_over_the_bus(brain: MemoryBrain, system: str) -> None:
    bus = brain.bus()
    request = MemoryStore(text="ovens are hot", kind="fact", metadata={"source": "test"})
    stored = await bus.call(f"memory/{system}/store", request)
    assert isinstance(stored, MemoryStored)
    reply = await bus.call(f"memory/{system}/query", MemoryQuery(text="is an oven hot?"))
    assert [(hit.episode_id, hit.kind, hit.metadata) for hit in reply.hits] == [
        (stored.episode_id, "fact", {"source": "test"})
    ]
    other = {"episodic": "semantic", "semantic": "episodic"}[system]
    assert (await bus.call(f"memory/{other}/query", MemoryQuery(text="is an oven hot?"))).hits == []


@pytest.mark.parametrize(
    ("prompt", "fact"),
    [
        ("Remember that the blue toolbox is under the workbench.", "The blue toolbox is under the workbench."),
        ("remember: tea is at four", "Tea is at four"),
        ("Can you please remember that Lisa is allergic to nuts?", "Lisa is allergic to nuts."),
        ("Don't forget that the plumber comes on Friday.", "The plumber comes on Friday."),
        ("Keep this for me: the code is 12", "The code is 12"),
        ("Make a note that the milk is out", "The milk is out"),
        ("I want you to know: X-ray is on Monday", "X-ray is on Monday"),
        ("For your information, the printer is in room 12. Remember this.", "The printer is in room 12"),
        ("My umbrella is in the car, remember that", "My umbrella is in the car"),
        ("McKay's number is 7. Don't forget it.", "McKay's number is 7"),
        ("Do you remember where the key is?", None),
        ("Remember where I parked?", None),
        ("What do you remember about Anna?", None),
        ("Where is the blue toolbox?", None),
        ("Remember that", None),
    ],
)
def test_tells_statements_from_questions(prompt: str, fact: str | None) -> None:
    assert statement_to_remember(prompt) == fact


async def test_statements_that_come_together_are_each_stored_once(brain: MemoryBrain) -> None:
    prompts = [Prompt(text=f"Remember that box {number} is in room {number}.") for number in range(20)]
    answers = await asyncio.gather(
        *(brain.query("memory", prompt) for prompt in [*prompts, Prompt(text=" ", image=b"x")])
    )
    assert [said(answer) for answer in answers[:-1]] == [
        f"I will remember: Box {number} is in room {number}." for number in range(20)
    ]
    assert answers[-1].error is not None
    ids = [answer.candidates[0].content["episode_id"] for answer in answers[:-1]]
    assert len(set(ids)) == 20
    assert said(await ask(brain, "Where is box 7?")) == "Box 7 is in room 7."

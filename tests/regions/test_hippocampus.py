"""The hippocampus over the in-memory network: what it keeps, what it finds, and how sure it is."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from brainnet import Answer, MemoryQuery, MemoryReply, MemoryStore, MemoryStored, Partial, Prompt
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.testing import MemoryBrain
from brainnet.wire.messages import StatusQuery

PROGRAM = load_program(str(region_file("hippocampus")))
MODULE = sys.modules[PROGRAM.__module__]


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[MemoryBrain]:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        yield brain


async def ask(brain: MemoryBrain, text: str, **more: str) -> Partial:
    partial: Partial = await brain.query("memory", Prompt(text=text, **more))
    return partial


def said(partial: Partial) -> str:
    assert partial.error is None, partial.error
    assert partial.best is not None
    return partial.best.text


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


async def test_a_question_for_a_place_prefers_a_place(brain: MemoryBrain) -> None:
    await ask(brain, "Remember that the blue toolbox is under the workbench.")
    await ask(brain, "Remember that the blue toolbox was expensive.")
    assert said(await ask(brain, "Where is the blue toolbox?")) == "The blue toolbox is under the workbench."


async def test_a_question_about_nothing_in_particular_gets_the_newest(brain: MemoryBrain) -> None:
    await ask(brain, "Remember that the oven is hot.")
    await ask(brain, "Remember that the tea is cold.")
    assert said(await ask(brain, "What did I tell you?")) == "The tea is cold."


async def test_keeps_exchanges_and_does_not_recall_them(brain: MemoryBrain) -> None:
    await ask(brain, "Remember that the blue toolbox is under the workbench.")
    bus = brain.bus("integrator", "integrator")
    for number, text in enumerate(["The blue toolbox? No idea, really.", "Ships sail."]):
        answer = Answer(prompt_id=f"p{number}", prompt="Where is the blue toolbox?", text=text, confidence=0.4)
        bus.publish("api/result", answer)
        bus.publish("api/result", answer)
    # Handlers and queries share the model thread, so what was published before is kept before this is answered.
    await brain.bus().call("node/memory/status", StatusQuery())
    reply = MemoryReply()
    while len(reply.hits) < 2:
        reply = await brain.bus().call("memory/episodic/query", MemoryQuery(text="toolbox", kinds=["exchange"]))
    assert sorted(hit.metadata["prompt_id"] for hit in reply.hits) == ["p0", "p1"]
    found = await ask(brain, "Where is the blue toolbox?")
    assert [candidate.text for candidate in found.candidates] == ["The blue toolbox is under the workbench."]


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
    assert MODULE.statement_to_remember(prompt) == fact

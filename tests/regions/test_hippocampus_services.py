"""The memory as a store: what others list, count, add and delete over the bus, and what is forgotten for good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from brainnet import Answer, Candidate, MemoryQuery, MemoryStore, Partial, Prompt
from brainnet.bus import Bus
from brainnet.errors import CallError
from brainnet.memory import EpisodicStore
from brainnet.paths import region_file
from brainnet.testing import PATIENCE_S, MemoryBrain, until
from brainnet.wire.messages import (
    Accepted,
    Answered,
    Exchange,
    MemoryDelete,
    MemoryDeleted,
    MemoryItem,
    MemoryList,
    MemoryListed,
    MemoryStats,
    MemoryStatsQuery,
    MemoryStoredMany,
    MemoryStoreMany,
)
from tests.regions.asking_memory import PROGRAM, ask, counters, said

SECRET = "The code of the safe is Quittenbrot-7731."


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[MemoryBrain]:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        yield brain


def client(brain: MemoryBrain) -> Bus:
    """Return the one bus on which a test asks."""
    bus: Bus = vars(brain).setdefault("client_of_test", None) or brain.bus()
    vars(brain)["client_of_test"] = bus
    return bus


async def kept(brain: MemoryBrain, exchanges: int) -> None:
    """Wait until so many answered prompts are kept."""
    while (await stats(brain)).by_kind.get("exchange", 0) < exchanges:
        pass


async def listed(brain: MemoryBrain, system: str = "episodic", **conditions: Any) -> MemoryListed:
    reply: MemoryListed = await client(brain).call(f"memory/{system}/list", MemoryList(**conditions))
    return reply


async def texts(brain: MemoryBrain, system: str = "episodic", **conditions: Any) -> list[str]:
    return [episode.text for episode in (await listed(brain, system, **conditions)).episodes]


async def delete(brain: MemoryBrain, system: str = "episodic", **conditions: Any) -> MemoryDeleted:
    reply: MemoryDeleted = await client(brain).call(f"memory/{system}/delete", MemoryDelete(**conditions))
    return reply


async def store(brain: MemoryBrain, *items: MemoryItem, system: str = "episodic") -> MemoryStoredMany:
    reply: MemoryStoredMany = await client(brain).call(
        f"memory/{system}/store_many", MemoryStoreMany(episodes=list(items))
    )
    return reply


async def stats(brain: MemoryBrain, system: str = "episodic") -> MemoryStats:
    reply: MemoryStats = await client(brain).call(f"memory/{system}/stats", MemoryStatsQuery())
    return reply


def files_with(folder: Path, part: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and part in path.read_bytes()]


async def test_lists_page_by_page(brain: MemoryBrain) -> None:
    for n in range(5):
        await ask(brain, f"Remember that box {n} holds nails.", session_id=f"s{n % 2}")
    page = await listed(brain, limit=2)
    assert [episode.text for episode in page.episodes] == ["Box 4 holds nails.", "Box 3 holds nails."]
    assert (page.total, page.next) == (5, page.episodes[-1].episode_id)
    rest = await listed(brain, limit=3, start=page.next)
    assert [episode.text for episode in rest.episodes] == [f"Box {n} holds nails." for n in (2, 1, 0)]
    assert await texts(brain, start=rest.next) == []
    assert await texts(brain, newest_first=False, limit=1) == ["Box 0 holds nails."]
    assert await texts(brain, session_id="s1") == ["Box 3 holds nails.", "Box 1 holds nails."]
    assert (await listed(brain, kinds=["exchange"])).total == 0
    ids = [episode.episode_id for episode in page.episodes]
    assert await texts(brain, ids=[ids[1], 999, ids[0]]) == ["Box 3 holds nails.", "Box 4 holds nails."]


async def test_a_page_of_long_texts_is_cut(brain: MemoryBrain) -> None:
    await store(brain, *(MemoryItem(text=f"{n} " + "x" * 90_000) for n in range(100)))
    found, start = [], None
    while True:
        page = await listed(brain, limit=1000, start=start)
        assert page.total == 100
        found += [episode.episode_id for episode in page.episodes]
        if (start := page.next) is None:
            break
    assert found == sorted(found, reverse=True)
    assert len(found) == 100


async def test_a_batch_is_stored_once(brain: MemoryBrain) -> None:
    items = [
        MemoryItem(text="one", key="k1", importance=0.9),
        MemoryItem(text="two", created_ns=7, accesses=3, metadata={"session_id": "a"}),
        MemoryItem(text="two", created_ns=8),
        MemoryItem(text="three", kind="passage"),
    ]
    stored = await store(brain, *items)
    assert stored.new == 4
    again = await store(brain, *items[:3])
    assert (again.episode_ids, again.new) == (stored.episode_ids[:3], 0)
    first, second, *_ = (await listed(brain, newest_first=False)).episodes
    assert (first.key, first.importance, first.accesses) == ("k1", 0.9, 0)
    assert (second.created_ns, second.accesses, second.metadata) == (7, 3, {"session_id": "a"})
    with pytest.raises(CallError, match="MemoryStoreMany"):
        await client(brain).call("memory/episodic/store_many", {"episodes": [{"text": "  "}]})
    assert (await stats(brain)).episodes == 4


async def test_counts_what_there_is_and_how_often_it_answered(brain: MemoryBrain) -> None:
    await ask(brain, "Remember that the saw is rusty.")
    for _ in range(3):
        await ask(brain, "How is the saw?", session_id="a")
    await client(brain).call("memory/episodic/query", MemoryQuery(text="saw"))
    found = await stats(brain)
    assert (found.episodes, found.by_kind, found.accesses, found.vectors) == (1, {"statement": 1}, 4, 1)
    assert 0 < found.file_bytes < found.limit_bytes == 2_048_000_000
    assert found.used_bytes > 0
    assert (await listed(brain)).episodes[0].accesses == 4
    page = {"source": "a.txt", "title": "A", "digest": "d", "passages": 3, "page": 1, "offset": 0}
    await store(brain, *(MemoryItem(text=f"part {n}", kind="passage", metadata=page) for n in range(2)))
    (source,) = (await stats(brain)).sources
    assert (source.source, source.title, source.digest, source.passages, source.expected) == ("a.txt", "A", "d", 2, 3)
    assert source.characters == 12
    assert await texts(brain, source="a.txt") == ["part 1", "part 0"]


async def test_deletes_only_what_is_confirmed(brain: MemoryBrain) -> None:
    for thing in ("red lamp", "blue lamp", "red door"):
        await ask(brain, f"Remember that the {thing} is old.")
    seen = await delete(brain, text="lamps red")
    assert (seen.matched, seen.deleted, [each.text for each in seen.episodes]) == (1, 0, ["The red lamp is old."])
    assert (await delete(brain, text="red", confirm=1)).deleted == 0
    assert (await delete(brain, text="red", confirm=2)).deleted == 2
    assert await texts(brain) == ["The blue lamp is old."]
    with pytest.raises(CallError, match="say which"):
        await delete(brain, text=" ")
    assert (await delete(brain, ids=[77])).matched == 0
    assert (await delete(brain, everything=True, confirm=1)).deleted == 1
    assert (await stats(brain)).episodes == 0


async def test_deleting_a_fact_deletes_the_statements_that_made_it(brain: MemoryBrain) -> None:
    for _ in range(2):
        await ask(brain, "Remember that the saw is rusty.")
    await client(brain).call("memory/semantic/store", MemoryStore(text="Saws cut wood."))
    node: Any = brain._running["memory"][0]
    await node.in_model_thread(node._consolidate)
    assert await texts(brain, "semantic") == ["The saw is rusty.", "Saws cut wood."]
    fact, _ = (await listed(brain, "semantic")).episodes
    assert (fact.kind, fact.metadata["told"]) == ("fact", 2)
    gone = await delete(brain, "semantic", ids=[fact.episode_id])
    assert (gone.matched, gone.deleted, gone.repeating) == (1, 1, 2)
    await node.in_model_thread(node._consolidate)
    assert await texts(brain, "semantic") == ["Saws cut wood."]
    assert (await counters(brain))["facts"] == 1
    for _ in range(2):
        await ask(brain, "Remember that the lid is red.")
    await node.in_model_thread(node._consolidate)
    gone = await delete(brain, text="lid", confirm=2)
    assert (gone.deleted, gone.repeating) == (2, 1)
    assert await texts(brain, "semantic") == ["Saws cut wood."]


class Asking:
    """Plays router and integrator between the broker and the memory."""

    def __init__(self, brain: MemoryBrain) -> None:
        self.brain = brain
        self.client, self.router = brain.bus(), brain.bus("integrator", "fuser")
        self.answers = self.client.subscribe("api/result")
        self.accepted = self.router.subscribe("brain/accepted")

    async def ask(self, text: str, **fields: Any) -> Answer:
        prompt = Prompt(text=text, **fields)
        self.client.publish("api/prompt", prompt)
        accepted: Accepted = (await self.accepted.get()).message
        partial = await self.brain.query("memory", accepted.prompt)
        answer = Answer(prompt_id=prompt.prompt_id, prompt=prompt.text, error=partial.error)
        if partial.best is not None:
            answer = answer.model_copy(update={"text": partial.best.text, "content": partial.content})
        self.router.publish("brain/conclusion/fuser", answer)
        given: Answer = (await self.answers.get()).message
        return given


async def redacted(brain: MemoryBrain, count: int) -> None:
    node = brain._running["memory"][0]
    await until("the broker to remove them", lambda: node.health().counters.get("redacted_prompts", 0) >= count)


async def test_of_what_is_forgotten_no_byte_stays_in_any_file(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        asking = Asking(brain)
        told = await asking.ask(f"Remember that {SECRET}", session_id="a")
        await asking.ask("Remember that the lid is red.")
        assert (await asking.ask("What is the code of the safe?")).text == SECRET
        assert (await asking.ask("How is the lid?")).text == "The lid is red."
        await kept(brain, 4)
        assert files_with(tmp_path, b"Quittenbrot") != []
        (statement,) = (await listed(brain, kinds=["statement"], session_id="a")).episodes
        gone = await delete(brain, ids=[statement.episode_id])
        assert (gone.matched, gone.deleted, gone.repeating) == (1, 1, 2)
        assert await texts(brain, kinds=["exchange"]) == [
            "How is the lid?\nThe lid is red.",
            "Remember that the lid is red.\nI will remember: The lid is red.",
        ]
        await redacted(brain, 2)
        assert files_with(tmp_path, b"Quittenbrot") == []
        # the prompt comes again, with its old id
        again = Prompt(prompt_id=told.prompt_id, text=f"Remember that {SECRET}")
        answer = await client(brain).call("api/prompt", again, timeout=PATIENCE_S)
        assert (answer.code, answer.text) == ("forgotten", "")
        assert files_with(tmp_path, b"Quittenbrot") == []
        assert (await asking.ask("What is the code of the safe?")).error is not None
    assert files_with(tmp_path, b"Quittenbrot") == []


async def test_the_broker_is_told_later_when_it_was_away(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        await Asking(brain).ask(f"Remember that {SECRET}")
        await kept(brain, 1)
    with EpisodicStore(tmp_path / "memory.sqlite") as store:
        store.forget(store.ids())
    assert files_with(tmp_path, b"Quittenbrot") == ["journal.sqlite"]
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        await redacted(brain, 1)
        assert files_with(tmp_path, b"Quittenbrot") == []
    with EpisodicStore(tmp_path / "memory.sqlite") as store:
        assert store.forgotten_prompts() == []


class Forgetful(PROGRAM):  # type: ignore[misc, valid-type]
    """A memory that forgets all statements at a prompt, and says what they were."""

    def answer(self, query: Any) -> Any:
        if not query.prompt.text.startswith("Forget"):
            return super().answer(query)
        ids = [episode.episode_id for episode in self.episodes.recent(99, ["statement"])]
        deleted = self.episodes.forget(ids)
        return Partial(candidates=[Candidate(text=f"Forgotten: {deleted[0].text}", probability=1.0)], confidence=1.0)


async def test_the_prompt_that_asks_to_forget_is_not_kept(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Forgetful, "memory", checkpoint=region_file("hippocampus").with_suffix(".safetensors"))
        asking = Asking(brain)
        await asking.ask(f"Remember that {SECRET}")
        answer = await asking.ask("Forget the safe, which was my aunt's.")
        assert answer.text == f"Forgotten: {SECRET}"
        await redacted(brain, 2)
        await asking.ask("Remember that the lid is red.")
        await kept(brain, 1)
        assert (await texts(brain, kinds=["exchange"])) == [
            "Remember that the lid is red.\nI will remember: The lid is red."
        ]
        assert files_with(tmp_path, b"Quittenbrot") == []
        assert files_with(tmp_path, b"aunt") == []


async def test_an_answer_that_comes_after_the_deletion_is_not_kept_either(brain: MemoryBrain, tmp_path: Path) -> None:
    stored = await ask(brain, f"Remember that {SECRET}")
    await delete(brain, ids=[stored.content["episode_id"]])
    late = [
        Exchange(prompt_id="late", prompt="What is the code?", text=SECRET),
        Exchange(prompt_id="other", prompt="How is the lid?", text="Red."),
    ]
    brain.bus("supervisor", "here").publish("brain/answered", Answered(exchanges=late))
    await redacted(brain, 2)
    assert await texts(brain, kinds=["exchange"]) == ["How is the lid?\nRed."]
    # told again, it is kept again
    await ask(brain, f"Remember that {SECRET}")
    again = Exchange(prompt_id="again", prompt="What is the code?", text=SECRET)
    brain.bus("supervisor", "here").publish("brain/answered", Answered(exchanges=[again]))
    await kept(brain, 2)
    assert said(await ask(brain, "What is the code of the safe?")) == SECRET


async def test_an_exchange_names_the_episodes_that_it_cites(brain: MemoryBrain) -> None:
    asking = Asking(brain)
    await asking.ask("Remember that the saw is rusty.")
    await asking.ask("How is the saw?")
    await kept(brain, 2)
    found = (await listed(brain, kinds=["exchange"])).episodes
    (statement,) = (await listed(brain, kinds=["statement"])).episodes
    assert [each.metadata["episodes"] for each in found] == [[statement.episode_id]] * 2

"""A document that is interrupted while it is stored goes on where it was, and nothing is stored twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from brainnet.client.ingest import ingest
from brainnet.client.memory import Memory
from brainnet.documents import DocumentFile
from brainnet.errors import BrainnetError
from brainnet.testing import MemoryBrain
from brainnet.wire.messages import MemoryItem, MemoryList, MemoryStoredMany
from tests.regions.asking_memory import PROGRAM


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Memory]:
    async with MemoryBrain(tmp_path / "data") as brain:
        await brain.start(PROGRAM, "memory")
        yield Memory(brain.bus())


def book(folder: Path, word: str, chapters: int = 80) -> DocumentFile:
    path = folder / "book.txt"
    path.write_text(
        "\n\n".join(f"Chapter {n} is of {word}. It is long. It has number {n}. So it ends." for n in range(chapters))
    )
    return DocumentFile(path, "books/book.txt")


async def texts(memory: Memory) -> list[str]:
    return [each.text async for each in memory.episodes(MemoryList(kinds=["passage"], newest_first=False))]


@pytest.mark.parametrize("replacing", [False, True])
async def test_goes_on_after_an_interruption(memory: Memory, tmp_path: Path, replacing: bool) -> None:
    if replacing:
        assert (await ingest(memory, book(tmp_path, "plums"))).state == "new"
    file = book(tmp_path, "pears")
    store, stored = memory.store, 0

    async def interrupted(items: Any) -> MemoryStoredMany:
        nonlocal stored
        if stored:
            raise KeyboardInterrupt
        stored += len(items)
        return await store(items)

    memory.store = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await ingest(memory, file)
    assert stored == 64
    memory.store = store  # type: ignore[method-assign]
    seen: list[tuple[int, int]] = []
    done = await ingest(memory, file, lambda n, of: seen.append((n, of)))
    assert (done.state, done.passages) == ("changed" if replacing else "completed", 80)
    assert seen == [(0, 80), (64, 80), (80, 80)]
    assert await texts(memory) == [
        f"Chapter {n} is of pears. It is long. It has number {n}. So it ends." for n in range(80)
    ]
    assert (await ingest(memory, file)).state == "unchanged"
    (source,) = (await memory.stats()).sources
    assert (source.source, source.title, source.passages, source.expected) == ("books/book.txt", "book", 80, 80)
    hit = (await memory.search("number 77 of pears", 1))[0]
    assert hit.metadata["offset"] == file.path.read_text().index("Chapter 77")
    # beside it stands what belongs to it
    assert {each.metadata["session_id"] async for each in memory.episodes(MemoryList())} == {hit.metadata["session_id"]}


async def test_what_cannot_be_read_is_said_and_stores_nothing(memory: Memory, tmp_path: Path) -> None:
    done = await ingest(memory, DocumentFile(tmp_path / "none.txt", "none.txt"))
    assert done.state == "failed"
    assert "none.txt cannot be read" in done.detail
    assert await texts(memory) == []


async def test_long_pages_are_read_to_their_end(memory: Memory) -> None:
    items = [MemoryItem(text=f"{n} " + "x" * 95_000, key=str(n)) for n in range(90)]
    counts = [counted async for counted in memory.load(items)]
    assert sum(new for _, new in counts) == 90
    assert max(count for count, _ in counts) < 64, "a batch is no larger than a message may be"
    ids = [each.episode_id async for each in memory.episodes(MemoryList(), at_most=70)]
    assert len(ids) == 70
    assert [each.episode_id for each in await memory.get(ids)] == ids
    exported = [each["key"] async for each in memory.export()]
    assert exported == [str(n) for n in range(90)]


async def test_without_a_memory_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainnet.client.memory._TIMEOUT_S", 0.1)
    async with MemoryBrain(tmp_path) as brain:
        with pytest.raises(BrainnetError, match="no region of this brain serves the semantic memory"):
            await Memory(brain.bus(), "semantic").stats()

"""The memory of a brain, from outside: searched, listed, corrected, saved and filled."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from brainnet.bus import Bus
from brainnet.errors import BrainnetError, CallTimeout, MessageError
from brainnet.wire.keys import key
from brainnet.wire.messages import (
    MAX_BATCH,
    MemoryDelete,
    MemoryDeleted,
    MemoryEpisode,
    MemoryHit,
    MemoryItem,
    MemoryList,
    MemoryListed,
    MemoryQuery,
    MemoryStats,
    MemoryStatsQuery,
    MemoryStoredMany,
    MemoryStoreMany,
    Message,
    validate,
)

__all__ = ["Memory", "System", "read_items"]

System = Literal["episodic", "semantic"]
"""A memory: of episodes, or of facts."""
_TIMEOUT_S: Final = 60.0
"""Seconds for a reply. A deletion may write a large file anew."""
_BATCH: Final = 64
"""Episodes that are stored together: few enough that prompts are answered between two batches."""
_BATCH_CHARACTERS: Final = 1 << 20
_EXPORTED: Final = ("text", "kind", "metadata", "key", "importance", "created_ns", "accesses")
M = TypeVar("M", bound=Message)


class Memory:
    """A memory of a running brain.

    Example:
    ```python
    async with Client() as brain:
        memory = Memory(brain.bus)
        for hit in await memory.search("blue toolbox"):
            print(hit.episode_id, hit.text)
    ```

    Args:
        bus: A connection to the brain, such as `Client.bus`.
        system: `episodic` for what was told and answered, and for documents; `semantic` for facts.

    Raises:
        BrainnetError: Every method raises it with the code `timeout` when no memory answers, and with the code of the
            memory when it refuses.
    """

    def __init__(self, bus: Bus, system: System = "episodic") -> None:
        self._bus = bus
        self.system = system

    async def search(self, text: str, k: int = 10, kinds: list[str] | None = None) -> list[MemoryHit]:
        """Return the best `k` episodes for a text, best first."""
        hits: list[MemoryHit] = (await self._call("memory_query", MemoryQuery(text=text, k=k, kinds=kinds))).hits
        return hits

    async def page(self, request: MemoryList) -> MemoryListed:
        """Return one page of episodes."""
        page: MemoryListed = await self._call("memory_list", request)
        return page

    async def get(self, ids: Sequence[int]) -> list[MemoryEpisode]:
        """Return those of these episodes that there are."""
        found: list[MemoryEpisode] = []
        wanted = list(ids)
        while wanted:
            page = await self.page(MemoryList(ids=wanted[:MAX_BATCH]))
            found += page.episodes
            # a page of long texts is cut; it goes on after its last episode
            last = page.next
            wanted = wanted[wanted.index(last) + 1 :] if last in wanted else wanted[MAX_BATCH:]
        return found

    async def episodes(self, request: MemoryList, at_most: int | None = None) -> AsyncIterator[MemoryEpisode]:
        """Yield the episodes that meet the conditions of a request, page by page.

        Args:
            request: The conditions and the order; its `limit` is the size of a page.
            at_most: Episodes after which it ends; None for all.
        """
        given = 0
        while at_most is None or given < at_most:
            limit = request.limit if at_most is None else min(request.limit, at_most - given)
            page = await self.page(request.model_copy(update={"limit": limit}))
            for episode in page.episodes:
                yield episode
            given += len(page.episodes)
            if page.next is None:
                return
            request = request.model_copy(update={"start": page.next})

    async def store(self, items: Sequence[MemoryItem]) -> MemoryStoredMany:
        """Store episodes together, at most 1000; they are durable when this returns."""
        stored: MemoryStoredMany = await self._call("memory_store_many", MemoryStoreMany(episodes=list(items)))
        return stored

    async def forget(self, request: MemoryDelete) -> MemoryDeleted:
        """Delete episodes for good; see `MemoryDelete`."""
        deleted: MemoryDeleted = await self._call("memory_delete", request)
        return deleted

    async def stats(self) -> MemoryStats:
        """Return how much there is, and which documents."""
        stats: MemoryStats = await self._call("memory_stats", MemoryStatsQuery())
        return stats

    async def export(self, kinds: list[str] | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield all episodes, oldest first, as maps of JSON: the fields of `MemoryItem`, which `read_items` reads.

        Args:
            kinds: Only these kinds; None for all.
        """
        async for episode in self.episodes(MemoryList(kinds=kinds, newest_first=False, limit=500)):
            fields = episode.model_dump(mode="json", include=set(_EXPORTED))
            yield {name: fields[name] for name in _EXPORTED}

    async def load(self, items: Iterable[MemoryItem]) -> AsyncIterator[tuple[int, int]]:
        """Store episodes in batches, in their order; yields after each batch how many it had, and how many were new.

        Run it again with the same episodes and nothing is stored twice, if they have keys or times.
        """
        for batch in _batches(items):
            stored = await self.store(batch)
            yield len(batch), stored.new

    async def _call(self, topic: str, request: Message) -> Any:
        try:
            return await self._bus.call(key(topic, system=self.system), request, timeout=_TIMEOUT_S)
        except CallTimeout:
            raise BrainnetError(
                f"no region of this brain serves the {self.system} memory, or it is busy; see `brainnet node list`",
                code="timeout",
            ) from None


def _batches(items: Iterable[MemoryItem]) -> Iterator[list[MemoryItem]]:
    batch: list[MemoryItem] = []
    characters = 0
    for item in items:
        if batch and (len(batch) == _BATCH or characters + len(item.text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(item)
        characters += len(item.text)
    if batch:
        yield batch


def read_items(path: Path) -> Iterator[MemoryItem]:
    """Yield the episodes of a file that `Memory.export` wrote: one JSON object a line, of which only `text` must be.

    Raises:
        MessageError: A line is no episode; names it.
        BrainnetError: The file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield validate(MemoryItem, json.loads(line))
                except (ValueError, RecursionError, MessageError) as error:
                    raise MessageError(f"{path}, line {number}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BrainnetError(f"{path} cannot be read: {error}", code="config") from None

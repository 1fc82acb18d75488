"""The memory as a store: what other nodes and clients may store in it, search, list, count and delete."""

from __future__ import annotations

import time
from typing import Literal

from brainnet import MemoryQuery, MemoryReply, MemoryStore, MemoryStored, serve
from brainnet.errors import MessageError
from brainnet.memory import EpisodicStore
from brainnet.wire.messages import (
    MemoryDelete,
    MemoryDeleted,
    MemoryList,
    MemoryListed,
    MemoryStats,
    MemoryStatsQuery,
    MemoryStoredMany,
    MemoryStoreMany,
)
from hippocampus_keeper import MB, MemoryKeeper
from hippocampus_messages import check_metadata, hit_message, item_of, listed, message_of, source_message

SYSTEMS: dict[str, Literal["episodes", "facts"]] = {"episodic": "episodes", "semantic": "facts"}
"""The tables of the memories."""
_PREVIEW = 50
"""Episodes that the reply to a deletion shows."""


class MemoryServices(MemoryKeeper):
    """Serves the topics of memory. What a prompt means, and how it is answered, is for the class that inherits."""

    @serve("memory_store", system="episodic")
    def store_episode(self, request: MemoryStore) -> MemoryStored:
        """Store an episode for another node."""
        return self._store("episodic", request)

    @serve("memory_store", system="semantic")
    def store_fact(self, request: MemoryStore) -> MemoryStored:
        """Store a fact for another node."""
        return self._store("semantic", request)

    @serve("memory_store_many", system="episodic")
    def store_episodes(self, request: MemoryStoreMany) -> MemoryStoredMany:
        """Store a batch of episodes."""
        return self._store_many("episodic", request)

    @serve("memory_store_many", system="semantic")
    def store_facts(self, request: MemoryStoreMany) -> MemoryStoredMany:
        """Store a batch of facts."""
        return self._store_many("semantic", request)

    @serve("memory_query", system="episodic")
    def query_episodes(self, request: MemoryQuery) -> MemoryReply:
        """Search the episodes for another node."""
        return self._search("episodic", request)

    @serve("memory_query", system="semantic")
    def query_facts(self, request: MemoryQuery) -> MemoryReply:
        """Search the facts for another node."""
        return self._search("semantic", request)

    @serve("memory_list", system="episodic")
    def list_episodes(self, request: MemoryList) -> MemoryListed:
        """List the episodes."""
        return self._list("episodic", request)

    @serve("memory_list", system="semantic")
    def list_facts(self, request: MemoryList) -> MemoryListed:
        """List the facts."""
        return self._list("semantic", request)

    @serve("memory_delete", system="episodic")
    def delete_episodes(self, request: MemoryDelete) -> MemoryDeleted:
        """Delete episodes."""
        return self._delete("episodic", request)

    @serve("memory_delete", system="semantic")
    def delete_facts(self, request: MemoryDelete) -> MemoryDeleted:
        """Delete facts, and the statements that they come from: these would make them again."""
        return self._delete("semantic", request)

    @serve("memory_stats", system="episodic")
    def count_episodes(self, request: MemoryStatsQuery) -> MemoryStats:
        """Say how much there is."""
        return self._stats("episodic")

    @serve("memory_stats", system="semantic")
    def count_facts(self, request: MemoryStatsQuery) -> MemoryStats:
        """Say how many facts there are."""
        return self._stats("semantic")

    def _store(self, system: str, request: MemoryStore) -> MemoryStored:
        vector = self._vector(request.text)
        try:
            check_metadata(request.metadata)
            with self._store_repaired():
                self._make_room()
                episode = self.memories[system].store(request.text, request.kind, request.metadata, vector)
        except (ValueError, RecursionError) as error:
            raise MessageError(f"MemoryStore: {error}") from error
        return MemoryStored(episode_id=episode.episode_id, created_ns=episode.created_ns)

    def _store_many(self, system: str, request: MemoryStoreMany) -> MemoryStoredMany:
        vectors = self.embedder.counts([item.text for item in request.episodes])
        try:
            for item in request.episodes:
                check_metadata(item.metadata)
            new = [item_of(item, vector) for item, vector in zip(request.episodes, vectors, strict=True)]
            with self._store_repaired():
                self._make_room()
                before = self.memories[system].count()
                stored = self.memories[system].store_many(new)
                added = self.memories[system].count() - before
        except (ValueError, RecursionError) as error:
            raise MessageError(f"MemoryStoreMany: {error}") from error
        return MemoryStoredMany(episode_ids=[episode.episode_id for episode in stored], new=added)

    def _search(self, system: str, request: MemoryQuery) -> MemoryReply:
        self._last_query = time.monotonic()
        with self._store_repaired():
            memory = self.memories[system]
            hits = memory.search(request.text, self._vector(request.text), request.k, request.kinds)
            # the best one is what was needed
            memory.note_access([hit.episode.episode_id for hit in hits[:1]])
        return MemoryReply(hits=[hit_message(hit) for hit in hits])

    def _list(self, system: str, request: MemoryList) -> MemoryListed:
        with self._store_repaired():
            memory = self.memories[system]
            if request.ids is not None:
                found = memory.load(request.ids)
                return listed([found[each] for each in request.ids if each in found], len(found), whole=True)
            episodes, total = memory.page(
                limit=request.limit,
                start=request.start,
                newest_first=request.newest_first,
                kinds=request.kinds,
                session_id=request.session_id,
                source=request.source,
            )
        return listed(episodes, total, whole=len(episodes) < request.limit)

    def _delete(self, system: str, request: MemoryDelete) -> MemoryDeleted:
        with self._store_repaired():
            memory = self.memories[system]
            ids = self._matching(memory, request)
            preview = [message_of(each) for each in memory.load(ids[:_PREVIEW]).values()]
            if request.ids is None and request.confirm != len(ids):
                return MemoryDeleted(matched=len(ids), episodes=preview)
            deleted, repeating = self._forget(system, ids)
            copies = self.episodes.path.parent.glob(f"{self.episodes.path.name}.damaged-*")
        return MemoryDeleted(
            matched=len(ids),
            deleted=deleted,
            repeating=repeating,
            episodes=preview,
            kept_in=sorted(path.name for path in copies) if ids else [],
        )

    def _matching(self, memory: EpisodicStore, request: MemoryDelete) -> list[int]:
        if request.ids is not None:
            return sorted({*memory.load(request.ids), *set(request.ids).intersection(memory.damaged)})
        text = request.text.strip()
        conditions = (request.kinds, request.session_id, request.source)
        if not text and not request.everything and all(condition is None for condition in conditions):
            raise MessageError("MemoryDelete: say which episodes: ids, text, kinds, session_id, source or everything")
        found = memory.ids(*conditions)
        if text:
            holding = set(memory.holding(text, request.kinds))
            found = [each for each in found if each in holding]
        return found

    def _forget(self, system: str, ids: list[int]) -> tuple[int, int]:
        """Delete episodes; return how many of these were deleted, and how many others went with them."""
        facts, before = self.memories["semantic"], self.memories["semantic"].count()
        unreadable = len(set(ids).intersection(self.memories[system].damaged))
        if system == "episodic":
            deleted = {episode.episode_id for episode in self.episodes.forget(ids)}
            return len(deleted.intersection(ids)) + unreadable, len(deleted.difference(ids)) + before - facts.count()
        # A fact is made again of the statements that it comes from, so these go first, and the fact with them.
        chosen = facts.load(ids)
        origins = {
            origin
            for fact in chosen.values()
            if isinstance(fact.metadata.get("from"), list)
            for origin in self.episodes.in_the_words_of(fact.text)
        }
        others = self.episodes.forget(sorted(origins)) if origins else []
        facts.forget(ids)
        return len(chosen) + unreadable, len(others)

    def _stats(self, system: str) -> MemoryStats:
        with self._store_repaired():
            memory = self.memories[system]
            stats = memory.stats()
            return MemoryStats(
                episodes=stats.episodes,
                by_kind=stats.by_kind,
                vectors=stats.vectors,
                accesses=memory.access_count(),
                file_bytes=stats.file_bytes,
                used_bytes=memory.used_bytes,
                limit_bytes=int(self.params.max_memory_mb * MB),
                damaged=len(memory.damaged),
                sources=[source_message(each) for each in memory.sources()],
            )

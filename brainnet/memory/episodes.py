"""What a store of episodes takes and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from brainnet.memory.vectors import Vector

__all__ = ["EXCHANGE", "FACT", "PASSAGE", "STATEMENT", "Episode", "Hit", "NewEpisode", "StoreStats"]

STATEMENT: Final = "statement"
"""Kind of what somebody told the memory. It is kept until it is forgotten."""
EXCHANGE: Final = "exchange"
"""Kind of an answered prompt; the weakest are dropped when there are too many."""
PASSAGE: Final = "passage"
"""Kind of a part of a document. Its metadata have `source`, `title`, `page` and `offset`."""
FACT: Final = "fact"
"""Kind of what several statements or sessions have in common, in semantic memory."""


@dataclass(frozen=True, slots=True)
class NewEpisode:
    """An episode to be stored.

    Episodes of the same kind whose metadata have the same `session_id` form a sequence, in the order in which they
    are stored: a good match raises the scores of its neighbours (see `EpisodeIndex`).

    Attributes:
        text: the text that is searched; must not be blank.
        kind: a name by which searches can be restricted.
        metadata: any JSON object.
        vector: the vector of the text, [D], or None.
        key: makes storing idempotent: an episode whose key is already stored is not stored again.
        importance: how much it matters that this is kept, in [0, 1]; see `brainnet.memory.retention`.
        created_ns: when it was stored, for one that comes from another store; None is now.
        accesses: how often it has answered, for one that comes from another store.
    """

    text: str
    kind: str = "statement"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    vector: Vector | None = None
    key: str | None = None
    importance: float = 0.5
    created_ns: int | None = None
    accesses: int = 0


@dataclass(frozen=True, slots=True)
class Episode:
    """One stored episode.

    Two are equal when they are the same episode with the same content, however often it was accessed.

    Attributes:
        episode_id: its number in the store; numbers only grow, and are not used again.
        kind: its kind.
        text: what is searched.
        metadata: a JSON object.
        created_ns: when it was stored, in nanoseconds since the epoch.
        importance: how much it matters that it is kept, in [0, 1].
        accesses: how often it has answered.
        key: the key under which it was stored.
    """

    episode_id: int
    kind: str
    text: str
    metadata: dict[str, Any]
    created_ns: int
    importance: float = field(default=0.5, compare=False)
    accesses: int = field(default=0, compare=False)
    key: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes:
        episode: the episode.
        score: the fused score with the contribution of its neighbours; comparable only within one search.
        bm25_rank: its rank by BM25 alone, from 1; None without a common term.
        vector_rank: its rank by cosine similarity alone, from 1; None without a similarity above 0.
        similarity: the cosine similarity of its vector to that of the query; None if one of the two is missing.
    """

    episode: Episode
    score: float
    bm25_rank: int | None
    vector_rank: int | None
    similarity: float | None


@dataclass(frozen=True, slots=True)
class StoreStats:
    """The size of a store: numbers of episodes and vectors, and the bytes of the database file."""

    episodes: int
    by_kind: dict[str, int]
    vectors: int
    file_bytes: int

"""What a store of episodes takes and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brainnet.memory.vectors import Vector

__all__ = ["Episode", "Hit", "NewEpisode", "StoreStats"]


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
    """

    text: str
    kind: str = "statement"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    vector: Vector | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One stored episode; `created_ns` is in nanoseconds since the epoch."""

    episode_id: int
    kind: str
    text: str
    metadata: dict[str, Any]
    created_ns: int


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

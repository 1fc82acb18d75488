"""Episodes as they stand in messages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet import MemoryHit
from brainnet.memory import Episode, Hit, NewEpisode
from brainnet.wire.messages import MemoryEpisode, MemoryItem, MemoryListed, MemorySource, encode

_MAX_LISTED = 4 << 20
"""Characters of the texts of one page."""
_SMALL_METADATA = 256
"""Characters that an episode counts beside its text."""


def check_metadata(metadata: dict[str, Any]) -> None:
    """Refuse what cannot be sent again: it would make every search fail that finds it.

    Raises:
        MessageError: It cannot be sent.
    """
    encode(MemoryHit(episode_id=0, text="", kind="", score=0.0, created_ns=0, metadata=metadata))


def item_of(item: MemoryItem, vector: NDArray[np.int8]) -> NewEpisode:
    """Return an episode of a batch as it is stored."""
    return NewEpisode(
        item.text, item.kind, item.metadata, vector, item.key, item.importance, item.created_ns, item.accesses
    )


def hit_message(hit: Hit) -> MemoryHit:
    """Return a search result as it is sent."""
    episode = hit.episode
    return MemoryHit(
        episode_id=episode.episode_id,
        text=episode.text,
        kind=episode.kind,
        score=hit.score,
        created_ns=episode.created_ns,
        metadata=episode.metadata,
    )


def message_of(episode: Episode) -> MemoryEpisode:
    """Return an episode as it is sent."""
    return MemoryEpisode(
        episode_id=episode.episode_id,
        text=episode.text,
        kind=episode.kind,
        created_ns=episode.created_ns,
        metadata=episode.metadata,
        key=episode.key,
        importance=episode.importance,
        accesses=episode.accesses,
    )


def listed(episodes: list[Episode], total: int, *, whole: bool) -> MemoryListed:
    """Return a page of episodes, cut where the message would become too large.

    Args:
        episodes: The page; at least its first episode is sent.
        total: All that meet the conditions.
        whole: Whether nothing comes after this page.
    """
    characters = 0
    page: list[MemoryEpisode] = []
    for episode in episodes:
        characters += len(episode.text) + _SMALL_METADATA
        if page and characters > _MAX_LISTED:
            whole = False
            break
        page.append(message_of(episode))
    return MemoryListed(episodes=page, total=total, next=None if whole or not page else page[-1].episode_id)


def source_message(document: dict[str, Any]) -> MemorySource:
    """Return a document as it is sent; see `EpisodicStore.sources`."""
    return MemorySource(**document)

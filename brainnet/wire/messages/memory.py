"""Messages to store episodes in a memory and to search them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from brainnet.wire.messages.codec import MAX_TEXT, Message


class MemoryStore(Message):
    """An episode to store."""

    text: str = Field(min_length=1, max_length=MAX_TEXT)
    kind: str = "statement"
    metadata: dict[str, Any] = Field(default_factory=dict)


class MemoryStored(Message):
    """The acknowledgement of a stored episode.

    Guarantees: an acknowledged episode is durable; it survives SIGKILL.
    """

    episode_id: int
    created_ns: int


class MemoryQuery(Message):
    """A search for episodes."""

    text: str = Field(min_length=1, max_length=MAX_TEXT)
    k: int = Field(5, ge=1, le=1000)
    kinds: list[str] | None = None


class MemoryHit(Message):
    """One episode found."""

    episode_id: int
    text: str
    kind: str
    score: float
    created_ns: int
    metadata: dict[str, Any] = Field(default_factory=dict)


class MemoryReply(Message):
    """The episodes that were found, best first."""

    hits: list[MemoryHit] = Field(default_factory=list)

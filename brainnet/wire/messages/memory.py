"""Messages to store episodes in a memory, to search, list and delete them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from brainnet.wire.messages.codec import MAX_ID, MAX_TEXT, Id, Message, Probability

MAX_BATCH: Final = 1000
"""Episodes that one message holds at most."""


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


class MemoryItem(Message):
    """One episode of a batch to store.

    An episode that is stored already is not stored again: one with the same key, or, where it has its time, one with
    the same time, kind and text.
    """

    text: str = Field(min_length=1, max_length=MAX_TEXT)
    kind: str = Field("statement", min_length=1, max_length=MAX_ID)
    metadata: dict[str, Any] = Field(default_factory=dict)
    key: str | None = Field(None, min_length=1, max_length=1000, description="makes storing it idempotent")
    importance: Probability = Field(0.5, description="how much it matters that it is kept")
    created_ns: int | None = Field(None, ge=0, lt=1 << 62, description="when it was stored first; None: now")
    accesses: int = Field(0, ge=0, lt=1 << 62, description="how often it has answered before")


class MemoryStoreMany(Message):
    """Episodes to store together: all or none."""

    episodes: list[MemoryItem] = Field(min_length=1, max_length=MAX_BATCH)


class MemoryStoredMany(Message):
    """The acknowledgement of a batch, which is then durable."""

    episode_ids: list[int] = Field(description="of the episodes of the batch, in their order")
    new: int = Field(0, ge=0, description="how many were not stored already")


class MemoryEpisode(Message):
    """One stored episode."""

    episode_id: int
    text: str
    kind: str
    created_ns: int
    metadata: dict[str, Any] = Field(default_factory=dict)
    key: str | None = None
    importance: Probability = 0.5
    accesses: int = Field(0, ge=0, description="how often it has answered")


class MemoryList(Message):
    """Lists episodes in the order in which they were stored; all conditions have to be met."""

    ids: list[int] | None = Field(None, max_length=MAX_BATCH, description="these, without any other condition")
    kinds: list[str] | None = Field(None, description="their kinds; None: all")
    session_id: Id | None = Field(None, description="of their metadata; None: all")
    source: str | None = Field(None, description="the document of passages; None: all")
    start: int | None = Field(None, description="`next` of the page before")
    newest_first: bool = True
    limit: int = Field(100, ge=1, le=MAX_BATCH)


class MemoryListed(Message):
    """A page of episodes. It may be shorter than its limit, so that the message does not become too large."""

    episodes: list[MemoryEpisode] = Field(default_factory=list)
    total: int = Field(0, ge=0, description="all that meet the conditions")
    next: int | None = Field(None, description="`start` of the next page; None: this was the last one")


class MemoryDelete(Message):
    """Deletes episodes for good, with the answered prompts that repeat them and the facts that come from them.

    With ids these are deleted at once. All other conditions are met together, and what meets them is deleted only if
    its number is the one that is confirmed.
    """

    ids: list[int] | None = Field(None, max_length=MAX_BATCH)
    text: str = Field("", max_length=MAX_TEXT, description="words that they all contain")
    kinds: list[str] | None = None
    session_id: Id | None = None
    source: str | None = Field(None, description="the document of passages")
    everything: bool = Field(False, description="no other condition")
    confirm: int | None = Field(
        None, ge=0, description="the number of episodes that is expected to meet the conditions"
    )


class MemoryDeleted(Message):
    """What was deleted, or, without the right confirmation, what would be."""

    matched: int = Field(0, ge=0, description="episodes that meet the conditions")
    deleted: int = Field(0, ge=0, description="of these")
    repeating: int = Field(0, ge=0, description="answered prompts and facts that went with them")
    episodes: list[MemoryEpisode] = Field(default_factory=list, description="the first of those that match")
    kept_in: list[str] = Field(
        default_factory=list, description="damaged copies of the file, which cannot be changed and may still hold them"
    )


class MemoryStatsQuery(Message):
    """Asks for the size of a memory, and which documents are in it."""


class MemorySource(Message):
    """A document in a memory."""

    source: str
    title: str = ""
    digest: str = Field("", description="of its content, SHA-256")
    passages: int = Field(0, ge=0, description="that are stored")
    expected: int = Field(0, ge=0, description="that the whole document has")
    characters: int = Field(0, ge=0)
    created_ns: int = 0


class MemoryStats(Message):
    """The size of a memory."""

    episodes: int = Field(0, ge=0)
    by_kind: dict[str, int] = Field(default_factory=dict)
    vectors: int = Field(0, ge=0)
    accesses: int = Field(0, ge=0, description="answers that episodes have given")
    file_bytes: int = Field(0, ge=0)
    used_bytes: int = Field(0, ge=0, description="of the file")
    limit_bytes: int = Field(0, ge=0, description="at which nothing new is stored")
    damaged: int = Field(0, ge=0, description="rows that cannot be read")
    sources: list[MemorySource] = Field(default_factory=list)


class Forgotten(Message):
    """Prompts that told or repeated what a memory has forgotten: nothing of them is to be kept anywhere."""

    prompt_ids: list[Id] = Field(max_length=MAX_BATCH)


class Redacted(Message):
    """Prompts of which nothing is kept any more; ask again for the others, which have no answer yet."""

    prompt_ids: list[Id] = Field(default_factory=list)

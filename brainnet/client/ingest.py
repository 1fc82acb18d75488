"""Fills a memory with documents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from brainnet.client.memory import Memory
from brainnet.documents import Document, DocumentFile, Passage, passages_of, read_document
from brainnet.errors import DocumentError
from brainnet.wire.messages import MAX_BATCH, MemoryDelete, MemoryItem, MemoryList, MemorySource

__all__ = ["PASSAGE", "Ingested", "ingest"]

PASSAGE: Final = "passage"
"""The kind of episodes that are parts of documents."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one document.

    Attributes:
        source: What it is called.
        state: `new`, `changed` (its old passages were replaced), `completed` (a part of it was there), `unchanged`,
            `duplicate` (the same content is there under another name), or `failed`.
        passages: Passages that it has in memory now.
        detail: For people: of which it is a duplicate, or why it failed.
    """

    source: str
    state: Literal["new", "changed", "completed", "unchanged", "duplicate", "failed"]
    passages: int = 0
    detail: str = ""


async def ingest(
    memory: Memory, file: DocumentFile, progress: Callable[[int, int], None] = lambda done, total: None
) -> Ingested:
    """Store a document as passages; what is there already is not stored again.

    Guarantees: when it is interrupted at any moment and called again, the memory is as if it had run through; a file
    that has changed replaces its old passages, which are deleted for good after the new ones are durable.

    Args:
        memory: Where it goes.
        file: The document.
        progress: Called with the passages that are stored and all that there are.

    Raises:
        BrainnetError: The memory does not answer, or is full.
    """
    try:
        document = read_document(file.path)
        passages = passages_of(document)
    except DocumentError as error:
        return Ingested(file.source, "failed", detail=str(error))
    sources = (await memory.stats()).sources
    same = [each for each in sources if each.digest == document.digest and each.passages >= each.expected]
    known = [each for each in sources if each.source == file.source]
    if not known and same:
        return Ingested(file.source, "duplicate", same[0].passages, f"the same as {same[0].source}")
    if not any(each.source == file.source for each in same):
        stored = 0
        progress(0, len(passages))
        async for count, _ in memory.load(_items(file.source, document, passages)):
            stored += count
            progress(stored, len(passages))
    old = [each for each in known if each.digest != document.digest]
    if old:
        await _forget(memory, file.source, document.digest)
    return Ingested(file.source, _state(known, document.digest, len(passages), bool(old)), len(passages))


def _state(
    known: list[MemorySource], digest: str, passages: int, replaced: bool
) -> Literal["new", "changed", "completed", "unchanged"]:
    if replaced:
        return "changed"
    before = next((each.passages for each in known if each.digest == digest), None)
    if before is None:
        return "new"
    return "unchanged" if before >= passages else "completed"


def _items(source: str, document: Document, passages: list[Passage]) -> list[MemoryItem]:
    name = hashlib.sha256(source.encode(errors="replace")).hexdigest()[:16]
    return [
        MemoryItem(
            text=passage.text,
            kind=PASSAGE,
            key=f"{PASSAGE}:{name}:{document.digest[:32]}:{number}",
            metadata={
                "source": source,
                "title": document.title,
                "page": passage.page,
                "offset": passage.offset,
                "digest": document.digest,
                "passages": len(passages),
                # one session for each version, so that a good match raises what stands beside it
                "session_id": f"document:{name}:{document.digest[:16]}",
            },
        )
        for number, passage in enumerate(passages)
    ]


async def _forget(memory: Memory, source: str, digest: str) -> None:
    """Delete the passages of all other versions of a document."""
    request = MemoryList(kinds=[PASSAGE], source=source, limit=MAX_BATCH)
    old = [each.episode_id async for each in memory.episodes(request) if each.metadata.get("digest") != digest]
    for first in range(0, len(old), MAX_BATCH):
        await memory.forget(MemoryDelete(ids=old[first : first + MAX_BATCH]))

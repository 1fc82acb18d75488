"""Deletes rows, and finds those that go with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from brainnet.memory.database import Database, Table, is_readable
from brainnet.memory.episodes import EXCHANGE, FACT, STATEMENT, Episode
from brainnet.memory.forgetting import Forgotten, plain, traces_of, words_key
from brainnet.memory.retention import log_retention
from brainnet.memory.table_rows import batches

__all__ = ["Deletion", "fact_key", "facts_of", "weakest"]


class Deletion:
    """One deletion from a table.

    Args:
        db: The file.
        episodes: What is to be deleted.
        ids: All ids that are to be deleted, those of rows that cannot be read included.
        table: The table; that of `db` by default.
    """

    def __init__(
        self, db: Database, episodes: Sequence[Episode], ids: Collection[int], table: Table | None = None
    ) -> None:
        self.episodes = list(episodes)
        self._db = db
        self._ids = set(ids)
        self._table = table or db.table

    def repeating(self) -> list[int]:
        """Return the ids of the answered prompts that repeat what is deleted, without those that are deleted anyway."""
        if not self.episodes:
            return []
        forgotten = Forgotten(self.episodes)
        found = []
        with self._db.errors():
            rows = self._db.execute(f"SELECT episode_id, text, metadata FROM {self._table} WHERE kind = ?", (EXCHANGE,))
            for episode_id, text, metadata in rows:
                if episode_id not in self._ids and isinstance(text, str) and forgotten.repeats(text, _object(metadata)):
                    found.append(episode_id)
        return found

    def delete(self, ids: Sequence[int], episodes: Sequence[Episode]) -> list[bytes]:
        """Delete rows, in a transaction of the caller, and note which prompts told or repeat them.

        Args:
            ids: The rows.
            episodes: Those of them that can be read.

        Returns:
            Bytes by which these rows would be found in the file.
        """
        texts = {episode.episode_id: episode.text for episode in episodes}
        traces: list[bytes] = []
        for part in batches(ids):
            marks = ",".join("?" * len(part))
            rows = self._db.execute(f"SELECT episode_id, vector FROM {self._table} WHERE episode_id IN ({marks})", part)
            for episode_id, vector in rows:
                traces += traces_of(texts.get(episode_id, ""), vector if isinstance(vector, bytes) else None)
            self._db.execute(f"DELETE FROM {self._table} WHERE episode_id IN ({marks})", part)
        told = [each for episode in episodes if isinstance(each := episode.metadata.get("prompt_id"), str) and each]
        self._db.executemany("INSERT OR IGNORE INTO forgotten VALUES (?)", [(each,) for each in told])
        if ids:
            self._db.mark_unclean()
        return traces


def weakest(db: Database, kind: str, keep: int, keep_bytes: int) -> list[int]:
    """Return the ids of the episodes of a kind that are too many, weakest first; see `brainnet.memory.retention`.

    Args:
        db: The file.
        kind: The kind.
        keep: Episodes that are not too many.
        keep_bytes: Bytes of their texts together that are not too many.
    """
    rows = db.execute(
        f"SELECT episode_id, length(CAST(text AS BLOB)), importance, accesses, accessed, kind, text, created_ns"
        f" FROM {db.table} WHERE kind = ? ORDER BY episode_id",
        (kind,),
    ).fetchall()
    if not rows:
        return []
    ids = np.array([row[0] for row in rows], np.int64)
    sizes = np.array([row[1] or 0 for row in rows], np.int64)
    importance = np.array([row[2] if isinstance(row[2], float) else 0.5 for row in rows])
    accesses = np.array([row[3] if isinstance(row[3], int) else 0 for row in rows], np.float64)
    accessed = np.array([row[4] if isinstance(row[4], int) else 0 for row in rows], np.float64)
    # counted in episodes of all kinds; `db` knows the highest id that was ever given, also of a deleted row
    now = db.highest_id
    age = np.maximum(1.0, now - ids + 1)
    since = np.where(accessed > 0, np.clip(now - accessed + 1, 1.0, age), age)
    strength = log_retention(since, accesses, importance)
    readable = np.array([is_readable(row[5], row[6], row[7]) for row in rows])
    strength[~readable] = -np.inf
    # strongest first; of equal ones the newest
    order = np.lexsort((-ids, -strength))
    kept = min(max(0, keep), int(np.searchsorted(sizes[order].cumsum(), keep_bytes, "right")))
    dropped: list[int] = ids[order[kept:]].tolist()
    return dropped[::-1]


def fact_key(text: str) -> str:
    """Return the key of the fact that statements in these words make."""
    return f"{FACT}:{words_key(text)}"


def facts_of(
    db: Database,
    table: Table,
    statements: Collection[Episode],
    load: Callable[[Collection[int]], dict[int, Episode]],
) -> list[Episode]:
    """Return the facts that come from statements which are deleted, and from no other.

    Args:
        db: The file.
        table: The table of facts; the statements are in the other one.
        statements: What is deleted.
        load: Returns the facts of ids.
    """
    doomed = {episode.episode_id for episode in statements}
    words = {plain(episode.text): fact_key(episode.text) for episode in statements if episode.kind == STATEMENT}
    with db.errors():
        found = {}
        for said, key in words.items():
            row = db.execute(f"SELECT episode_id FROM {table} WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[said] = int(row[0])
        if not found:
            return []
        left = set()
        for episode_id, text in db.execute("SELECT episode_id, text FROM episodes WHERE kind = ?", (STATEMENT,)):
            if episode_id not in doomed and isinstance(text, str):
                left.add(plain(text))
    return list(load([each for said, each in found.items() if said not in left]).values())


def _object(metadata: object) -> dict[str, Any]:
    try:
        found = json.loads(metadata) if isinstance(metadata, str) else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

"""Counts how often episodes have answered, and in how many sessions; written to the file in quiet times."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final

from brainnet.memory.database import Database
from brainnet.memory.episodes import Episode

__all__ = ["MAX_SESSIONS", "Accesses"]

MAX_SESSIONS: Final = 8
"""Sessions that are told apart for one episode; more say nothing new."""
_MAX_WAITING: Final = 1024
"""Episodes whose counts wait; with more they are written at once."""


@dataclass(slots=True)
class _Count:
    accesses: int = 0
    accessed: int = 0
    sessions: set[str] = field(default_factory=set)


class Accesses:
    """Counts that are not written yet.

    A commit waits for the disk, and an answer must not wait for a count.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counts: dict[int, _Count] = {}

    def note(self, ids: Collection[int], session_id: str, now: int) -> None:
        """Count one access of each episode.

        Args:
            ids: The episodes.
            session_id: The session in which they answered; empty without one.
            now: The highest id that there is.
        """
        # a mark of the session is enough to tell two apart
        mark = hashlib.sha256(session_id.encode(errors="replace")).hexdigest()[:8] if session_id else ""
        for each in ids:
            count = self._counts.setdefault(each, _Count())
            count.accesses += 1
            count.accessed = now
            if mark:
                count.sessions.add(mark)
        if len(self._counts) > _MAX_WAITING:
            self.write()

    @property
    def waiting(self) -> int:
        """Accesses that are not written yet."""
        return sum(count.accesses for count in self._counts.values())

    def drop(self, ids: Collection[int]) -> None:
        """Take episodes that were deleted out of the counts."""
        for each in ids:
            self._counts.pop(each, None)

    def added(self, episodes: dict[int, Episode]) -> dict[int, Episode]:
        """Return the episodes with what was counted since the last `write`."""
        if not self._counts:
            return episodes
        return {
            each: replace(episode, accesses=episode.accesses + self._counts[each].accesses)
            if each in self._counts
            else episode
            for each, episode in episodes.items()
        }

    def write(self) -> None:
        """Write all counts in one transaction.

        Raises:
            StoreError: The file cannot be written now; the counts are kept.
        """
        if not self._counts:
            return
        table = self._db.table
        with self._db.transaction():
            for each, count in self._counts.items():
                row = self._db.execute(f"SELECT sessions FROM {table} WHERE episode_id = ?", (each,)).fetchone()
                if row is None:
                    continue
                sessions = sorted({*sessions_of(row[0]), *count.sessions})[:MAX_SESSIONS]
                self._db.execute(
                    f"UPDATE {table} SET accesses = accesses + ?, accessed = ?, sessions = ? WHERE episode_id = ?",
                    (count.accesses, count.accessed, json.dumps(sessions), each),
                )
        self._counts = {}


def sessions_of(column: object) -> list[str]:
    """Return the marks of the sessions in which an episode was accessed; none of a damaged column."""
    try:
        found = json.loads(column) if isinstance(column, str) else []
    except ValueError:
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []

"""The episodes of one table of a file, as they are read: by id, by kind, page by page."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from brainnet.errors import StoreError
from brainnet.memory.accesses import Accesses
from brainnet.memory.database import IS_OBJECT, Database, Table, is_readable
from brainnet.memory.episodes import PASSAGE, STATEMENT, Episode, StoreStats
from brainnet.memory.forgetting import plain
from brainnet.memory.index import EpisodeIndex
from brainnet.memory.table_rows import READ_COLUMNS, SESSION, batches, episode_of, utf8
from brainnet.memory.vectors import Vector

__all__ = ["Filter", "StoredEpisodes"]

_OF_DOCUMENT = ("source", "digest", "title", "passages")


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that episodes meet.

    Attributes:
        kinds: Their kinds; None for all.
        session_id: The `session_id` of their metadata; None for all.
        source: The `source` of their metadata; None for all.
    """

    kinds: Collection[str] | None = None
    session_id: str | None = None
    source: str | None = None

    def sql(self) -> tuple[str, list[Any]]:
        """Return the conditions in SQL, and their values."""
        parts, values = ["1"], list[Any]()
        if self.kinds is not None:
            parts.append(f"kind IN ({','.join('?' * len(set(self.kinds)))})")
            values += [utf8(kind) for kind in sorted(set(self.kinds))]
        for name, value in (("session_id", self.session_id), ("source", self.source)):
            if value is not None:
                # `json_extract` fails on what is no JSON, so IS_OBJECT comes first
                parts.append(f"CASE WHEN {IS_OBJECT} THEN json_extract(metadata, '$.{name}') = ? ELSE 0 END")
                values.append(utf8(value))
        return " AND ".join(parts), values


class StoredEpisodes:
    """Reads the episodes of one table; `EpisodicStore` has the rest."""

    def __init__(self, path: Path | str, *, table: Table = "episodes", vector_model: str = "") -> None:
        self.path = Path(path)
        self.table = table
        self.vector_model = vector_model
        self.damaged: list[int] = []
        self._index = EpisodeIndex()
        self._newest_ns = 0
        self._clock_stepped = False
        self._changes = 0
        self._db = Database(self.path, table)
        self._accesses = Accesses(self._db)
        try:
            self._load_index()
        except StoreError:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing it again has no effect."""
        with contextlib.suppress(StoreError):  # counts that are lost change nothing that somebody was told
            self._accesses.write()
        self._db.close()

    @property
    def clock_stepped(self) -> bool:
        """Whether the newest episode has an earlier time than the one before, because the clock was set back."""
        return self._clock_stepped

    @property
    def used_bytes(self) -> int:
        """The bytes that the file needs for what it holds; the space of deleted rows is used again."""
        return self._db.used_bytes

    @property
    def changes(self) -> int:
        """A number that grows with whatever is stored, deleted or accessed."""
        return self._changes

    def load(self, ids: Collection[int]) -> dict[int, Episode]:
        """Return the episodes of these ids that are there and can be read."""
        found: dict[int, Episode] = {}
        with self._db.errors():
            for part in batches(ids):
                # one query for many ids; the rows come in any order, hence the mapping
                rows = self._db.execute(
                    f"SELECT {READ_COLUMNS} FROM {self.table} WHERE episode_id IN ({','.join('?' * len(part))})", part
                )
                found.update((row[0], episode) for row in rows if (episode := episode_of(row)) is not None)
        return self._accesses.added(found)

    def get(self, episode_id: int) -> Episode | None:
        """Return the episode of this id, or None."""
        return self.load([episode_id]).get(episode_id)

    def recent(self, limit: int, kinds: Collection[str] | None = None) -> list[Episode]:
        """Return at most `limit` episodes, newest first."""
        ids = self._index.newest(limit, kinds)
        episodes = self.load(ids)
        return [episodes[episode_id] for episode_id in ids if episode_id in episodes]

    def page(
        self,
        *,
        limit: int = 100,
        start: int | None = None,
        newest_first: bool = True,
        kinds: Collection[str] | None = None,
        session_id: str | None = None,
        source: str | None = None,
    ) -> tuple[list[Episode], int]:
        """Return a page of episodes in the order of their ids, and the number of all that meet the conditions.

        Args:
            limit: the largest number of episodes.
            start: the id after which the page begins: the last one of the page before.
            newest_first: whether the ids fall.
            kinds: the kinds; None for all.
            session_id: the `session_id` of the metadata; None for all.
            source: the `source` of the metadata, of passages; None for all.
        """
        where, values = Filter(kinds, session_id, source).sql()
        begin = "" if start is None else f" AND episode_id {'<' if newest_first else '>'} ?"
        sql = (
            f"SELECT episode_id FROM {self.table} WHERE {where}{begin}"
            f" ORDER BY episode_id {'DESC' if newest_first else ''} LIMIT ?"
        )
        with self._db.errors():
            total = self._db.execute(f"SELECT count(*) FROM {self.table} WHERE {where}", values).fetchone()[0]
            first = [] if start is None else [start]
            ids = [row[0] for row in self._db.execute(sql, [*values, *first, limit])]
        found = self.load(ids)
        return [found[each] for each in ids if each in found], int(total)

    def ids(
        self, kinds: Collection[str] | None = None, session_id: str | None = None, source: str | None = None
    ) -> list[int]:
        """Return the ids of all episodes that meet the conditions of `page`, ascending."""
        where, values = Filter(kinds, session_id, source).sql()
        with self._db.errors():
            rows = self._db.execute(f"SELECT episode_id FROM {self.table} WHERE {where} ORDER BY episode_id", values)
            return [row[0] for row in rows]

    def holding(self, text: str, kinds: Collection[str] | None = None) -> list[int]:
        """Return the ids of the episodes that hold all words of a text, ascending; none if it has no words."""
        return self._index.holding(text, kinds)

    def in_the_words_of(self, text: str, kind: str = STATEMENT) -> list[int]:
        """Return the ids of the episodes of a kind that say the same as a text, word by word, ascending."""
        wanted = plain(text)
        with self._db.errors():
            rows = self._db.execute(f"SELECT episode_id, text FROM {self.table} WHERE kind = ?", (kind,))
            return sorted(row[0] for row in rows if isinstance(row[1], str) and plain(row[1]) == wanted)

    def rows_of(
        self, kind: str, *, ids: Collection[int] | None = None, since: int = 0, needed: bool = False
    ) -> list[tuple[int, str, object]]:
        """Return id, text and column `sessions` of the episodes of a kind that can be read, oldest first.

        Args:
            kind: The kind.
            ids: Only these; None for all.
            since: Only those with higher ids.
            needed: Besides, those that were accessed in several sessions.
        """
        several = " OR (json_valid(sessions) AND json_array_length(sessions) > 1)" if needed else ""
        sql = f"SELECT episode_id, text, sessions FROM {self.table} WHERE kind = ? AND (episode_id > ?{several})"
        rows: list[tuple[int, str, object]] = []
        with self._db.errors():
            if ids is None:
                rows += self._db.execute(f"{sql} ORDER BY episode_id", (kind, since))
            for part in batches(ids or ()):
                marks = ",".join("?" * len(part))
                rows += self._db.execute(f"{sql} AND episode_id IN ({marks}) ORDER BY episode_id", (kind, since, *part))
        return [row for row in rows if isinstance(row[1], str)]

    @property
    def highest_id(self) -> int:
        """The highest id that there is; 0 without episodes."""
        return self._index.highest_id

    def vectors_of(self, ids: Collection[int]) -> dict[int, Vector]:
        """Return the vectors of these episodes, as far as they have one of this `vector_model`."""
        found: dict[int, Vector] = {}
        width = self._index.vectors.width
        with self._db.errors():
            for part in batches(ids):
                rows = self._db.execute(
                    f"SELECT episode_id, vector FROM {self.table} WHERE vector_model = ?"
                    f" AND episode_id IN ({','.join('?' * len(part))})",
                    (self.vector_model, *part),
                )
                for episode_id, blob in rows:
                    if isinstance(blob, bytes) and len(blob) == width:
                        found[episode_id] = np.frombuffer(blob, np.int8)
        return found

    def find(self, key: str) -> Episode | None:
        """Return the episode that was stored under a key, or None."""
        with self._db.errors():
            row = self._db.execute(f"SELECT episode_id FROM {self.table} WHERE key = ?", (utf8(key),)).fetchone()
        return None if row is None else self.get(int(row[0]))

    def sources(self) -> list[dict[str, Any]]:
        """Return the documents whose passages are stored, by name: a map of what is the same for all their passages.

        It has `source`, `title`, `digest`, `expected` (passages of the whole document), and of what is stored
        `passages`, `characters` and `created_ns`. Two versions of one document are two entries.
        """
        extracted = ", ".join(f"json_extract(metadata, '$.{name}') AS {name}" for name in _OF_DOCUMENT)
        # the inner query reads only rows whose metadata can be read
        sql = (
            "SELECT source, digest, max(title), max(passages), count(*), sum(length(text)), max(created_ns) FROM ("
            f"SELECT {extracted}, text, created_ns FROM {self.table} WHERE kind = ? AND {IS_OBJECT}"
            ") WHERE typeof(source) = 'text' GROUP BY source, digest ORDER BY source, max(created_ns)"
        )
        with self._db.errors():
            rows = self._db.execute(sql, (PASSAGE,)).fetchall()
        return [
            {
                "source": source,
                "digest": digest if isinstance(digest, str) else "",
                "title": title if isinstance(title, str) else "",
                "expected": expected if isinstance(expected, int) and expected >= 0 else 0,
                "passages": passages,
                "characters": characters,
                "created_ns": created_ns,
            }
            for source, digest, title, expected, passages, characters, created_ns in rows
        ]

    def access_count(self) -> int:
        """Return how often episodes have answered, all together."""
        with self._db.errors():
            row = self._db.execute(f"SELECT coalesce(sum(accesses), 0) FROM {self.table}").fetchone()
        return int(row[0]) + self._accesses.waiting

    def count(self, kinds: Collection[str] | None = None) -> int:
        """Return the number of episodes of these kinds; None counts all."""
        return self._index.count(kinds)

    def without_vector(self, limit: int = 256) -> list[Episode]:
        """Return at most `limit` episodes that have no vector of this `vector_model`, oldest first."""
        ids = self._index.without_vector(limit)
        episodes = self.load(ids)
        return [episodes[episode_id] for episode_id in ids if episode_id in episodes]

    def stats(self) -> StoreStats:
        """Return the size of the store."""
        with self._db.errors():
            size = self.path.stat().st_size
        by_kind = self._index.by_kind()
        return StoreStats(sum(by_kind.values()), by_kind, self._index.vectors.vector_count, size)

    def _load_index(self) -> None:
        # vectors of another model are left out: cosine similarity across models means nothing
        index, damaged = EpisodeIndex(), []
        sql = (
            f"SELECT episode_id, kind, {SESSION}, text, CASE WHEN vector_model = ? THEN vector END, created_ns,"
            f" {IS_OBJECT} FROM {self.table} ORDER BY episode_id"
        )
        with self._db.errors():
            width = self._vector_width()
            rows = self._db.execute(sql, (self.vector_model,))
            for episode_id, kind, session, text, blob, created_ns, is_object in rows:
                if not (is_object and is_readable(kind, text, created_ns)):
                    damaged.append(episode_id)
                    continue
                # a vector that cannot be read is made again, as one of another model is
                usable = isinstance(blob, bytes) and len(blob) == width
                sequence = session if isinstance(session, str) else ""
                index.add(episode_id, kind, sequence, text, np.frombuffer(blob, np.int8) if usable else None)
                self._newest_ns = created_ns
        self._index, self.damaged = index, damaged

    def _vector_width(self) -> int:
        """Return the width that most vectors of this model have; 0 without any."""
        sql = (
            f"SELECT length(vector) FROM {self.table} WHERE vector_model = ? AND typeof(vector) = 'blob'"
            " GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
        )
        row = self._db.execute(sql, (self.vector_model,)).fetchone()
        return int(row[0]) if row else 0

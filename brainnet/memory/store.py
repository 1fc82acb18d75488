"""The durable store of episodes: SQLite is the truth, the indexes of words and vectors are derived from it.

**What is promised.** When `store` or `store_many` returns, the episodes are committed to a write-ahead log that
has been synced to disk (WAL, synchronous=FULL): they survive `kill -9` of the process at any moment and, as far as
the disk keeps its word on fsync, a power cut. A batch is stored whole or not at all. Access counts are not
promised: they are written with the next store, every few hundred searches, and at close.

One store belongs to the thread that opened it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import StoreError
from brainnet.memory.index import EpisodeIndex
from brainnet.memory.text_index import terms
from brainnet.memory.vectors import whole

Vector = NDArray[np.integer | np.floating]

__all__ = ["Episode", "EpisodicStore", "Hit", "NewEpisode", "StoreStats"]

APPLICATION_ID = 0x62726E6D  # "brnm": marks the file as ours
SCHEMA_VERSION = 2
TOUCHES_HELD = 256

_SCHEMA = """
CREATE TABLE IF NOT EXISTS {table} (
    episode_id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT UNIQUE,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,
    importance REAL NOT NULL,
    created_ns INTEGER NOT NULL,
    accesses INTEGER NOT NULL DEFAULT 0,
    vector BLOB,
    vector_model TEXT
);
"""
_FROM_VERSION_1 = (
    "DROP TRIGGER IF EXISTS {table}_stored",
    "DROP TABLE IF EXISTS {table}_text",
    "DROP INDEX IF EXISTS {table}_kind",
    "UPDATE {table} SET vector = whole(vector) WHERE vector IS NOT NULL",
)
_SESSION = "CASE json_type(metadata, '$.session_id') WHEN 'text' THEN json_extract(metadata, '$.session_id') END"
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_COLUMNS = "episode_id, kind, text, metadata, importance, created_ns, accesses"


@dataclass(frozen=True, slots=True)
class NewEpisode:
    """Something to be stored. `key` makes storing idempotent: a second episode of the same key is not stored.

    Episodes of one kind whose metadata have the same `session_id` are each other's context, in the order in which
    they are stored: what fits a query lifts its neighbours (`EpisodeIndex`).
    """

    text: str
    kind: str = "statement"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    importance: float = 0.5
    vector: Vector | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One stored episode; `created_ns` in nanoseconds since the epoch, `importance` in [0, 1]."""

    episode_id: int
    kind: str
    text: str
    metadata: dict[str, Any]
    importance: float
    created_ns: int
    accesses: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A found episode: fused `score` in context, to be compared within one search; its rank by its own words and by
    its own vector (from 1; None: not found that way); and the cosine `similarity` of its vector to the query's (None:
    the query or the episode has none).
    """

    episode: Episode
    score: float
    bm25_rank: int | None
    vector_rank: int | None
    similarity: float | None


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How much a store holds."""

    episodes: int
    by_kind: dict[str, int]
    vectors: int
    file_bytes: int


class EpisodicStore:
    """Episodes in one table of the SQLite file at `path`, which is made when missing.

    `table` keeps several memories in one file: "episodes", or "facts" for semantic memory. `vector_model` names
    what makes the vectors: stored vectors of another model are left out of the search until `set_vectors`
    replaces them.

    Every method raises StoreError, naming the file and what to do, when the file is damaged, is no memory
    store, or cannot be written.
    """

    def __init__(
        self, path: Path | str, *, table: Literal["episodes", "facts"] = "episodes", vector_model: str = ""
    ) -> None:
        self.path = Path(path)
        self.table = table
        self.vector_model = vector_model
        self._index = EpisodeIndex()
        self._touched: Counter[int] = Counter()
        self._insert = (
            f"INSERT INTO {table} (key, kind, text, metadata, importance, created_ns, vector, vector_model)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        with self._reporting():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=5.0)
        try:
            with self._reporting():
                self._open()
        except StoreError:
            self._db.close()
            raise

    def __enter__(self) -> EpisodicStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Writes the access counts and closes the file. Closing twice is fine."""
        try:
            with self._transaction():
                pass
        except StoreError as error:
            if not isinstance(error.__cause__, sqlite3.ProgrammingError):
                raise
        finally:
            self._db.close()

    def store(
        self,
        text: str,
        kind: str = "statement",
        metadata: Mapping[str, Any] | None = None,
        importance: float = 0.5,
        vector: Vector | None = None,
        key: str | None = None,
    ) -> Episode:
        """Stores one episode durably and returns it; with a `key` already stored, returns that one unchanged."""
        return self.store_many([NewEpisode(text, kind, metadata or {}, importance, vector, key)])[0]

    def store_many(self, episodes: Sequence[NewEpisode]) -> list[Episode]:
        """Stores a batch durably, all or nothing, and returns it in order.

        Raises ValueError, and stores nothing, for an empty text or kind, an importance outside [0, 1], metadata
        that is not JSON, or a vector of another width than those stored before.
        """
        rows = [self._row(episode) for episode in episodes]
        self._check_widths(episode.vector for episode in episodes)
        stored: list[int] = []
        fresh: dict[int, tuple[Episode, Vector | None]] = {}
        with self._transaction():
            for episode, row in zip(episodes, rows, strict=True):
                known = self._id_of(episode.key)
                if known is None:
                    known = int(self._db.execute(self._insert, row).lastrowid or 0)
                    fresh[known] = _episode((known, *row[1:6], 0)), episode.vector
                stored.append(known)
        for made, vector in fresh.values():
            self._index.add(made.episode_id, made.kind, _session(made.metadata), made.text, vector)
        found = {item: made for item, (made, _) in fresh.items()}
        if len(found) < len(stored):
            found |= self._load(set(stored) - set(found))
        return [found[episode_id] for episode_id in stored]

    def get(self, episode_id: int) -> Episode | None:
        """The episode of this id, or None. Does not count as an access."""
        return self._load([episode_id]).get(episode_id)

    def recent(self, limit: int, kinds: Collection[str] | None = None) -> list[Episode]:
        """At most `limit` episodes, newest first. Does not count as an access."""
        where, values = _kind_filter(kinds)
        sql = f"SELECT {_COLUMNS} FROM {self.table} WHERE true{where} ORDER BY episode_id DESC LIMIT ?"
        with self._reporting():
            return [_episode(row, self._touched[row[0]]) for row in self._db.execute(sql, (*values, limit))]

    def search(
        self,
        text: str,
        vector: Vector | None = None,
        k: int = 5,
        kinds: Collection[str] | None = None,
        words: float = 0.5,
    ) -> list[Hit]:
        """The `k` best episodes for a text and its vector, best first; each counts as accessed.

        BM25 over the words of `text` (any text is safe; there is no query syntax) and cosine similarity to `vector`
        give a score each, of which `words` is the share of the first; equal scores: the newest first. `kinds` None
        searches every kind. Without a vector, or with `words` = 1, it is BM25 alone.

        A store of 100 vectors or more has a meaning of its own for words (`consolidate`), and looks twice.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if not 0.0 <= words <= 1.0:
            raise ValueError(f"the share of the words must be in [0, 1], got {words}")
        with self._reporting():
            self._pragma("user_version")  # a closed store, or one of another thread, says so
        found = self._index.search(text, vector if words < 1 else None, k, kinds, words)
        best = [hit.episode_id for hit in found]
        episodes = self._load(best)
        similar = self._index.similarity(vector, best) if vector is not None else {}
        self._touched.update(best)
        if self._touched.total() >= TOUCHES_HELD:
            with self._transaction():
                pass
        return [
            Hit(episodes[hit.episode_id], hit.score, hit.text_rank, hit.vector_rank, similar.get(hit.episode_id))
            for hit in found
        ]

    def consolidate(self) -> bool:
        """Learns what words mean here from the company they keep, if anything was stored since it did last.

        Then a text is compared by its vector and by what its words have come to mean, and a search is widened by
        terms that its best episodes share. A search does the same by itself once there are half as many episodes
        again, so that calling this in quiet times only keeps it fresh. Nothing is written. 100,000 episodes take
        under a second; fewer than 100 with a vector teach nothing.
        """
        return self._index.consolidate()

    def count(self, kinds: Collection[str] | None = None) -> int:
        """How many episodes there are."""
        return self._index.count(kinds)

    def document_frequencies(self, asked: Collection[str], kinds: Collection[str] | None = None) -> dict[str, int]:
        """How many episodes hold each word, matched as `search` matches it (stemmed, without accents)."""
        return {word: len(self._index.holders(word, kinds)) for word in asked}

    def terms_in(self, episode_id: int, asked: Collection[str]) -> set[str]:
        """Those of the words that an episode holds, matched as `search` matches them."""
        episode = self.get(episode_id)
        held = set(terms(episode.text)) if episode else set()
        return {word for word in asked if held.issuperset(terms(word))}

    def without_vector(self, limit: int = 256) -> list[Episode]:
        """At most `limit` episodes that have no vector of this `vector_model`, oldest first."""
        sql = (
            f"SELECT {_COLUMNS} FROM {self.table} WHERE vector IS NULL OR vector_model IS NOT ?"
            " ORDER BY episode_id LIMIT ?"
        )
        with self._reporting():
            return [_episode(row) for row in self._db.execute(sql, (self.vector_model, limit))]

    def set_vectors(self, vectors: Mapping[int, Vector]) -> None:
        """Gives episodes new vectors, durably."""
        rows = [(_blob(vector), self.vector_model, item) for item, vector in vectors.items()]
        self._check_widths(vectors.values())
        with self._transaction():
            self._db.executemany(f"UPDATE {self.table} SET vector = ?, vector_model = ? WHERE episode_id = ?", rows)
        for item, vector in vectors.items():
            self._index.set_vector(item, vector)

    def stats(self) -> StoreStats:
        """Counts, and the bytes of the database file."""
        with self._reporting():
            size = self.path.stat().st_size
        by_kind = self._index.by_kind()
        return StoreStats(sum(by_kind.values()), by_kind, self._index.vectors.held, size)

    def _open(self) -> None:
        if self._pragma("application_id") not in (0, APPLICATION_ID) or (
            self._pragma("application_id") == 0 and self._db.execute("SELECT 1 FROM sqlite_schema").fetchone()
        ):
            raise StoreError(f"{self.path} is an SQLite file of another program; point the store at another path")
        version = self._pragma("user_version")
        if not 0 <= version <= SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has memory format {version}, this program reads {SCHEMA_VERSION}; use the brainnet"
                " that wrote it, or move the file away to start with an empty memory"
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if version == 1:
                self._migrate()
            self._db.execute(_SCHEMA.format(table=self.table))
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._load_index()

    def _migrate(self) -> None:
        """From format 1, which kept vectors as float32 and the words in a full-text table of SQLite's."""
        self._db.create_function("whole", 1, lambda blob: whole(np.frombuffer(blob, "<f4")).tobytes())
        for table in ("episodes", "facts"):
            if self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone():
                for step in _FROM_VERSION_1:
                    self._db.execute(step.format(table=table))

    def _load_index(self) -> None:
        index = EpisodeIndex()
        sql = (
            f"SELECT episode_id, kind, {_SESSION}, text, CASE WHEN vector_model = ? THEN vector END FROM {self.table}"
            " ORDER BY episode_id"
        )
        for episode_id, kind, session, text, blob in self._db.execute(sql, (self.vector_model,)):
            index.add(episode_id, kind, session or "", text, None if blob is None else np.frombuffer(blob, np.int8))
        self._index = index

    def _row(self, episode: NewEpisode) -> tuple[object, ...]:
        if not episode.text.strip() or not episode.kind:
            raise ValueError("an episode needs a text and a kind")
        if not 0.0 <= episode.importance <= 1.0:
            raise ValueError(f"importance must be in [0, 1], got {episode.importance}")
        try:
            metadata = _JSON.encode(dict(episode.metadata))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the metadata of an episode must be JSON: {error}") from error
        blob = None if episode.vector is None else _blob(episode.vector)
        # SQLite holds text as UTF-8, which has no lone surrogates.
        text = episode.text.encode("utf-8", "replace").decode("utf-8")
        model = None if blob is None else self.vector_model
        return (episode.key, episode.kind, text, metadata, episode.importance, time.time_ns(), blob, model)

    def _check_widths(self, vectors: Iterable[Vector | None]) -> None:
        width = self._index.vectors.width
        for vector in vectors:
            if vector is not None and len(vector) != (width := width or len(vector)):
                raise ValueError(f"this store holds vectors of {width} numbers, got one of {len(vector)}")

    def _id_of(self, key: str | None) -> int | None:
        if key is None:
            return None
        row = self._db.execute(f"SELECT episode_id FROM {self.table} WHERE key = ?", (key,)).fetchone()
        return None if row is None else int(row[0])

    def _load(self, ids: Collection[int]) -> dict[int, Episode]:
        marks = ",".join("?" * len(ids))
        with self._reporting():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM {self.table} WHERE episode_id IN ({marks})", tuple(ids))
            return {row[0]: _episode(row, self._touched[row[0]]) for row in rows}

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One write transaction; it takes the waiting access counts along."""
        with self._reporting():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(
                    f"UPDATE {self.table} SET accesses = accesses + ? WHERE episode_id = ?",
                    [(count, item) for item, count in self._touched.items()],
                )
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self._touched.clear()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turns SQLite's errors into one sentence that says which file and what to do."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise StoreError(
                f"the memory store {self.path} is closed, or belongs to another thread: {error}"
            ) from error
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"the memory store {self.path} cannot be used: {error}; check that its folder exists, is writable and"
                " has space, and that no other program holds the file"
            ) from error
        except (sqlite3.DatabaseError, ValueError) as error:
            raise StoreError(
                f"the memory store {self.path} is damaged or no memory store ({error}); restore it from a copy, or move"
                " it away to start with an empty memory"
            ) from error
        except OSError as error:
            raise StoreError(f"the memory store {self.path} cannot be opened: {error}") from error


def _kind_filter(kinds: Collection[str] | None) -> tuple[str, tuple[str, ...]]:
    if kinds is None:
        return "", ()
    return f" AND kind IN ({','.join('?' * len(kinds))})", tuple(kinds)


def _blob(vector: Vector) -> bytes:
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ValueError("a vector must be one row of finite numbers")
    return whole(vector).tobytes()


def _session(metadata: Mapping[str, Any]) -> str:
    session = metadata.get("session_id")
    return session if isinstance(session, str) else ""


def _episode(row: Sequence[Any], touched: int = 0) -> Episode:
    episode_id, kind, text, metadata, importance, created_ns, accesses = row
    return Episode(episode_id, kind, text, json.loads(metadata), importance, created_ns, accesses + touched)

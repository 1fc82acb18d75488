"""The durable store of episodes: an SQLite file, and in-memory indexes of terms and vectors derived from it.

Durability: when `store` or `store_many` returns, the episodes are committed to a write-ahead log that is synced to
disk (WAL, synchronous=FULL). They survive `kill -9` of the process at any moment and, if the disk honours fsync, a
power failure. A batch is stored completely or not at all.

Order: episodes are ordered by their ids, which only grow. The time of an episode is that of the computer's clock, which
may be set back; nothing is decided by it.

Damage: a row that cannot be read is left out, and named in `EpisodicStore.damaged`. If the file itself is damaged, a
store raises `DamagedStoreError`; `replace_damaged` then puts a file in its place with every row that can still be read.

A store may be used only by the thread that opened it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np

from brainnet.errors import StoreError
from brainnet.memory.database import IS_OBJECT, Database, Table, is_readable
from brainnet.memory.episodes import Episode, Hit, NewEpisode, StoreStats
from brainnet.memory.index import EpisodeIndex
from brainnet.memory.text_index import terms
from brainnet.memory.vectors import Vector, quantize

__all__ = ["EpisodicStore"]

_UNUSED_IMPORTANCE = 0.5
"""The value of the unused column `importance`, which is NOT NULL and has no default."""
# Only a string is a session. `json_extract` fails on what is no JSON, so IS_OBJECT comes first.
_SESSION = (
    f"CASE WHEN {IS_OBJECT} THEN CASE json_type(metadata, '$.session_id')"
    " WHEN 'text' THEN json_extract(metadata, '$.session_id') END END"
)
_MAX_VARIABLES = 500
# One encoder for all rows; NaN and infinity are refused, because they are not JSON.
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_COLUMNS = "episode_id, kind, text, metadata, created_ns"


class EpisodicStore:
    """Episodes in one table of an SQLite file.

    Args:
        path: the file; it is created if missing.
        table: "episodes", or "facts" for semantic memory; one file can hold both.
        vector_model: the name of the model that computes the vectors. Stored vectors of another model are not
            searched until `set_vectors` replaces them.

    Attributes:
        damaged: the ids of the rows that cannot be read; they are left out of everything, and stay in the file.

    Raises:
        StoreError: every method raises it, with the file and what to do, when the file is of another program or a newer
            format, or cannot be used now: it is locked, or the disk is full.
        DamagedStoreError: every method raises it when the file is damaged or no database.
    """

    def __init__(self, path: Path | str, *, table: Table = "episodes", vector_model: str = "") -> None:
        self.path = Path(path)
        self.table = table
        self.vector_model = vector_model
        self.damaged: list[int] = []
        self._index = EpisodeIndex()
        self._newest_ns = 0
        self._clock_stepped = False
        self._insert = (
            f"INSERT INTO {table} (key, kind, text, metadata, importance, created_ns, vector, vector_model)"
            f" VALUES (?, ?, ?, ?, {_UNUSED_IMPORTANCE}, ?, ?, ?)"
        )
        self._db = Database(self.path, table)
        try:
            self._load_index()
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
        """Close the file; closing it again has no effect."""
        self._db.close()

    def store(
        self,
        text: str,
        kind: str = "statement",
        metadata: Mapping[str, Any] | None = None,
        vector: Vector | None = None,
        key: str | None = None,
    ) -> Episode:
        """Store one episode durably and return it; if `key` is already stored, return that episode unchanged.

        Raises:
            ValueError: as for `store_many`.
        """
        return self.store_many([NewEpisode(text, kind, metadata or {}, vector, key)])[0]

    def store_many(self, episodes: Sequence[NewEpisode]) -> list[Episode]:
        """Store a batch durably, all or nothing, and return it in order.

        Raises:
            ValueError: an empty text or kind, metadata that is not JSON, or a vector of another width than those
                stored before; nothing is stored then.
        """
        # everything that can be refused is checked before the transaction
        now_ns = time.time_ns()
        rows = [self._row(episode, now_ns) for episode in episodes]
        self._check_widths(episode.vector for episode in episodes)
        ids: list[int] = []
        inserted: dict[int, tuple[Episode, Vector | None]] = {}
        with self._db.transaction():
            for episode, row in zip(episodes, rows, strict=True):
                episode_id = self._id_of(episode.key)
                if episode_id is None:
                    episode_id = int(self._db.execute(self._insert, row).lastrowid or 0)
                    kind, text, metadata = str(row[1]), str(row[2]), json.loads(str(row[3]))
                    inserted[episode_id] = Episode(episode_id, kind, text, metadata, now_ns), episode.vector
                ids.append(episode_id)
        if inserted:
            self._clock_stepped = now_ns < self._newest_ns
            self._newest_ns = now_ns
        # the index only after the commit, so that it never holds an episode that was rolled back
        for new, vector in inserted.values():
            self._index.add(new.episode_id, new.kind, _session(new.metadata), new.text, vector)
        result = {episode_id: new for episode_id, (new, _) in inserted.items()}
        if len(result) < len(ids):
            result |= self._load(set(ids) - set(result))
        return [result[episode_id] for episode_id in ids]

    @property
    def clock_stepped(self) -> bool:
        """Whether the newest episode has an earlier time than the one before, because the clock was set back."""
        return self._clock_stepped

    @property
    def used_bytes(self) -> int:
        """The bytes that the file needs for what it holds; the space of deleted rows is used again."""
        return self._db.used_bytes

    def forget_oldest(self, kind: str, *, keep: int, keep_bytes: int) -> int:
        """Delete the oldest episodes of a kind until at most `keep` are left, with texts of at most `keep_bytes`.

        Returns:
            The number of episodes deleted. When there are too many, a sixteenth of the limits is freed besides, so that
            not every new episode needs a deletion.
        """
        if not self._index.excess(kind, keep, keep_bytes):
            return 0
        ids = self._index.excess(kind, keep - keep // 16, keep_bytes - keep_bytes // 16)
        with self._db.transaction():
            # all of the kind up to the last: those before it are too many, too, or cannot be read
            self._db.execute(f"DELETE FROM {self.table} WHERE kind = ? AND episode_id <= ?", (kind, ids[-1]))
        self._index.forget(ids)
        if self._index.sparse:
            self._load_index()
        return len(ids)

    def get(self, episode_id: int) -> Episode | None:
        """Return the episode of this id, or None."""
        return self._load([episode_id]).get(episode_id)

    def recent(self, limit: int, kinds: Collection[str] | None = None) -> list[Episode]:
        """Return at most `limit` episodes, newest first."""
        ids = self._index.newest(limit, kinds)
        episodes = self._load(ids)
        return [episodes[episode_id] for episode_id in ids if episode_id in episodes]

    def search(
        self,
        text: str,
        vector: Vector | None = None,
        k: int = 5,
        kinds: Collection[str] | None = None,
        text_weight: float = 0.5,
    ) -> list[Hit]:
        """Return the `k` best episodes for a text and its vector, best first; of equal scores the newest first.

        The score is a convex combination of BM25 and cosine similarity. A store of 100 vectors or more also uses term
        embeddings (see `consolidate`) and pseudo-relevance feedback.

        Args:
            text: the query; any text is safe, there is no query syntax.
            vector: the vector of the query; without one the search is BM25 alone.
            k: the largest number of results, at least 1.
            kinds: the kinds of episodes to search; None for all.
            text_weight: the weight of BM25, in [0, 1]; 1 is BM25 alone.

        Raises:
            ValueError: `k` or `text_weight` is out of range.
            ModelError: the query vector has another width than the stored ones.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if not 0.0 <= text_weight <= 1.0:
            raise ValueError(f"text_weight must be in [0, 1], got {text_weight}")
        with self._db.errors():
            # the index would answer even if the store is closed or belongs to another thread; SQLite reports it
            self._db.pragma("user_version")
        matches = self._index.search(text, vector if text_weight < 1 else None, k, kinds, text_weight)
        ids = [match.episode_id for match in matches]
        episodes = self._load(ids)
        similarity = self._index.similarity(vector, ids) if vector is not None else {}
        return [
            Hit(
                episodes[match.episode_id],
                match.score,
                match.text_rank,
                match.vector_rank,
                similarity.get(match.episode_id),
            )
            for match in matches
            if match.episode_id in episodes
        ]

    def consolidate(self) -> bool:
        """Fit the term embeddings again if an episode was stored since the last fit.

        Afterwards a text is compared by its vector and by the embeddings of its terms (see `TermEmbeddings`), and a
        search uses pseudo-relevance feedback. A search fits them by itself when the number of episodes has grown by
        half, so that calls in idle times are optional. Nothing is written to disk. 100,000 episodes take less than a
        second.

        Returns:
            Whether the embeddings were fitted: False without a new episode, or with fewer than 100 vectors.
        """
        if self._index.forgotten:
            self._load_index()
        return self._index.consolidate()

    def count(self, kinds: Collection[str] | None = None) -> int:
        """Return the number of episodes of these kinds; None counts all."""
        return self._index.count(kinds)

    def document_frequencies(self, words: Collection[str], kinds: Collection[str] | None = None) -> dict[str, int]:
        """Return the number of episodes that contain each word, compared by `terms`, as in `search`."""
        return self._index.frequency(words, kinds)

    def terms_in(self, episode_id: int, words: Collection[str]) -> set[str]:
        """Return those of the words that an episode contains, compared by `terms`, as in `search`."""
        episode = self.get(episode_id)
        contained = set(terms(episode.text)) if episode else set()
        return {word for word in words if contained.issuperset(terms(word))}

    def without_vector(self, limit: int = 256) -> list[Episode]:
        """Return at most `limit` episodes that have no vector of this `vector_model`, oldest first."""
        ids = self._index.without_vector(limit)
        episodes = self._load(ids)
        return [episodes[episode_id] for episode_id in ids if episode_id in episodes]

    def set_vectors(self, vectors: Mapping[int, Vector]) -> None:
        """Replace the vectors of episodes durably.

        Args:
            vectors: the new vectors by episode id.

        Raises:
            ValueError: a vector has another width than those stored before, or values that are not finite.
        """
        rows = [(_blob(vector), self.vector_model, episode_id) for episode_id, vector in vectors.items()]
        self._check_widths(vectors.values())
        with self._db.transaction():
            self._db.executemany(f"UPDATE {self.table} SET vector = ?, vector_model = ? WHERE episode_id = ?", rows)
        for episode_id, vector in vectors.items():
            self._index.set_vector(episode_id, vector)

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
            f"SELECT episode_id, kind, {_SESSION}, text, CASE WHEN vector_model = ? THEN vector END, created_ns,"
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

    def _row(self, episode: NewEpisode, now_ns: int) -> tuple[object, ...]:
        if not episode.text.strip() or not episode.kind:
            raise ValueError("an episode needs a text and a kind")
        try:
            metadata = _JSON.encode(dict(episode.metadata)).encode(errors="replace").decode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"the metadata of an episode must be JSON: {error}") from error
        blob = None if episode.vector is None else _blob(episode.vector)
        # SQLite stores text as UTF-8, which cannot represent lone surrogates
        text = _utf8(episode.text)
        model = None if blob is None else self.vector_model
        return (_utf8(episode.key), _utf8(episode.kind), text, metadata, now_ns, blob, model)

    def _check_widths(self, vectors: Iterable[Vector | None]) -> None:
        width = self._index.vectors.width
        for vector in vectors:
            # the first vector of an empty store sets the width for the rest of the batch
            if vector is not None and len(vector) != (width := width or len(vector)):
                raise ValueError(f"this store holds vectors of {width} numbers, got one of {len(vector)}")

    def _id_of(self, key: str | None) -> int | None:
        if key is None:
            return None
        row = self._db.execute(f"SELECT episode_id FROM {self.table} WHERE key = ?", (_utf8(key),)).fetchone()
        if row is not None and row[0] in self.damaged:
            # what was stored under the key is lost, so it is stored again
            self._db.execute(f"UPDATE {self.table} SET key = NULL WHERE episode_id = ?", row)
            return None
        return None if row is None else int(row[0])

    def _load(self, ids: Collection[int]) -> dict[int, Episode]:
        """Return the episodes of these ids that are there and can be read."""
        found: dict[int, Episode] = {}
        with self._db.errors():
            for part in _batches(ids):
                # one query for many ids; the rows come in any order, hence the mapping
                rows = self._db.execute(
                    f"SELECT {_COLUMNS} FROM {self.table} WHERE episode_id IN ({','.join('?' * len(part))})", part
                )
                found.update((row[0], episode) for row in rows if (episode := _episode(row)) is not None)
        return found


def _batches(ids: Collection[int]) -> Iterator[tuple[int, ...]]:
    """Yield the ids in batches that SQLite accepts as the variables of one statement."""
    remaining = list(ids)
    for first in range(0, len(remaining), _MAX_VARIABLES):
        yield tuple(remaining[first : first + _MAX_VARIABLES])


@overload
def _utf8(text: str) -> str: ...
@overload
def _utf8(text: None) -> None: ...
def _utf8(text: str | None) -> str | None:
    """Return the text as SQLite can store it: UTF-8, which has no lone surrogates."""
    return None if text is None else text.encode(errors="replace").decode()


def _blob(vector: Vector) -> bytes:
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ValueError("a vector must be one row of finite numbers")
    return quantize(vector).tobytes()


def _session(metadata: Mapping[str, Any]) -> str:
    session = metadata.get("session_id")
    return session if isinstance(session, str) else ""


def _episode(row: Sequence[Any]) -> Episode | None:
    """Make an episode of a row; None if the row is damaged."""
    episode_id, kind, text, metadata, created_ns = row
    if not is_readable(kind, text, created_ns):
        return None
    try:
        values = json.loads(metadata)
    except (ValueError, TypeError, RecursionError):
        return None
    return Episode(episode_id, kind, text, values, created_ns) if isinstance(values, dict) else None

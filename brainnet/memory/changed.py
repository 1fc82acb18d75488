"""The episodes of one table of a file, as they are changed: stored, replaced, deleted for good."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from brainnet.errors import StoreError
from brainnet.memory.database import DamagedStoreError, Table
from brainnet.memory.deletion import Deletion, facts_of, weakest
from brainnet.memory.episodes import STATEMENT, Episode, NewEpisode
from brainnet.memory.stored import StoredEpisodes
from brainnet.memory.table_rows import batches, blob_of, episode_of, json_of, row_of, session_of, utf8
from brainnet.memory.vectors import Vector

__all__ = ["ChangedEpisodes"]

_CLEANED_AT_ONCE: Final = 1 << 28
"""Bytes of a file up to which opening it removes what deletions have left; `consolidate` does it for a larger one."""
_REBUILT_AT_ONCE: Final = 3000
"""Episodes up to which a deletion builds the index anew, in less than a second; `consolidate` does it for more."""


class ChangedEpisodes(StoredEpisodes):
    """Stores and deletes the episodes of one table; `EpisodicStore` has the rest."""

    def __init__(self, path: Path | str, *, table: Table = "episodes", vector_model: str = "") -> None:
        self.derived: ChangedEpisodes | None = None
        self.on_forgotten: Callable[[list[Episode]], None] = lambda episodes: None
        self._insert = (
            f"INSERT INTO {table} (key, kind, text, metadata, importance, created_ns, accesses, vector, vector_model)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        super().__init__(path, table=table, vector_model=vector_model)
        try:
            self.clean(at_most=_CLEANED_AT_ONCE)
        except StoreError:
            self._db.close()
            raise

    def store(
        self,
        text: str,
        kind: str = STATEMENT,
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

        An episode is not stored again when its key is stored already, or, if it brings its time, when one of the same
        time, kind and text is; the one that is there is returned unchanged.

        Raises:
            ValueError: an empty text or kind, metadata that is not JSON, or a vector of another width than those
                stored before; nothing is stored then.
        """
        # everything that can be refused is checked before the transaction
        now_ns = time.time_ns()
        known = self._known(episodes)
        rows = [row_of(episode, now_ns, self.vector_model) for episode in episodes]
        self._check_widths(episode.vector for episode in episodes)
        ids: list[int] = []
        inserted: dict[int, tuple[Episode, Vector | None]] = {}
        with self._db.transaction():
            for episode, row in zip(episodes, rows, strict=True):
                episode_id = self._id_of(episode.key)
                if episode_id is None:
                    episode_id = known.get((row[5], row[1], row[2]))
                if episode_id is None:
                    episode_id = int(self._db.execute(self._insert, row).lastrowid or 0)
                    stored = episode_of((episode_id, *row[1:4], row[5], row[4], row[6], row[0]))
                    assert stored is not None
                    inserted[episode_id] = stored, episode.vector
                ids.append(episode_id)
        if inserted:
            self._changes += 1
            # those of another store bring a time of their own
            if any(episode.created_ns is None for episode in episodes):
                self._clock_stepped = now_ns < self._newest_ns
                self._newest_ns = now_ns
        # the index only after the commit, so that it never holds an episode that was rolled back
        for new, vector in inserted.values():
            self._index.add(new.episode_id, new.kind, session_of(new.metadata), new.text, vector)
        result = {episode_id: new for episode_id, (new, _) in inserted.items()}
        if len(result) < len(ids):
            result |= self.load(set(ids) - set(result))
        return [result[episode_id] for episode_id in ids]

    def _known(self, episodes: Sequence[NewEpisode]) -> dict[tuple[object, object, object], int]:
        """Return the ids of the episodes that are stored already, by time, kind and text; of those that have a time."""
        times = {each.created_ns for each in episodes if each.created_ns is not None}
        found: dict[tuple[object, object, object], int] = {}
        with self._db.errors():
            for part in batches([each for each in times if 0 <= each < 1 << 62]):
                marks = ",".join("?" * len(part))
                sql = f"SELECT created_ns, kind, text, episode_id FROM {self.table} WHERE created_ns IN ({marks})"
                found.update((row[:3], row[3]) for row in self._db.execute(sql, part))
        return found

    def set_vectors(self, vectors: Mapping[int, Vector]) -> None:
        """Replace the vectors of episodes durably.

        Args:
            vectors: the new vectors by episode id.

        Raises:
            ValueError: a vector has another width than those stored before, or values that are not finite.
        """
        rows = [(blob_of(vector), self.vector_model, episode_id) for episode_id, vector in vectors.items()]
        self._check_widths(vectors.values())
        with self._db.transaction():
            self._db.executemany(f"UPDATE {self.table} SET vector = ?, vector_model = ? WHERE episode_id = ?", rows)
        for episode_id, vector in vectors.items():
            self._index.set_vector(episode_id, vector)

    def set_metadata(self, metadata: Mapping[int, Mapping[str, Any]]) -> None:
        """Replace the metadata of episodes durably, by id; their sessions must stay the same.

        Raises:
            ValueError: they are not JSON.
        """
        rows = [(json_of(values), episode_id) for episode_id, values in metadata.items()]
        with self._db.transaction():
            self._db.executemany(f"UPDATE {self.table} SET metadata = ? WHERE episode_id = ?", rows)

    def note_access(self, ids: Collection[int], session_id: str = "") -> None:
        """Count that episodes have answered a question of a session; written to the file in quiet times.

        What was counted since is lost when the process is killed.
        """
        self._accesses.note(ids, session_id, self._index.highest_id)
        self._changes += 1

    def forget(self, ids: Collection[int]) -> list[Episode]:
        """Delete episodes for good, with the answered prompts that repeat them and the facts that come from them.

        An answered prompt repeats an episode if it told it (the same `prompt_id`), cites it (`episodes` in its
        metadata), or holds its text. A fact goes when the last statement in its words goes.

        Guarantees: when this returns, the deletion is durable, no search finds the episodes, and no byte of their texts
        and vectors is in the file or its write-ahead log, unless another episode holds them. While another program
        reads the file the last is not possible; `clean`, `consolidate` and the next opening try again. Term embeddings
        are fitted again without them: at the next search, or with more than 3000 episodes by `consolidate`.

        Returns:
            The episodes that were deleted, those that repeat others included, in the order of their ids.
        """
        deletion = Deletion(self._db, list(self.load(ids).values()), ids)
        repeating = self.load(deletion.repeating())
        facts = [] if self.derived is None else self.derived._without_origin(deletion.episodes)
        deleted = sorted([*deletion.episodes, *repeating.values()], key=lambda episode: episode.episode_id)
        gone = sorted({*(episode.episode_id for episode in deleted), *ids})
        was_unclean = self._db.unclean
        with self._db.transaction():
            traces = deletion.delete(gone, deleted)
            if self.derived is not None:
                traces += Deletion(self._db, facts, [], self.derived.table).delete([f.episode_id for f in facts], facts)
        self._leave_out(gone)
        if self.derived is not None:
            self.derived._leave_out([fact.episode_id for fact in facts])
        # the traces of an earlier deletion are not known any more, and those of damaged rows never were
        known = not was_unclean and not set(ids).intersection(self.damaged)
        self.damaged = [each for each in self.damaged if each not in gone]
        with contextlib.suppress(StoreError):  # it stays marked, and `clean` says why when it is tried again
            self._db.clean(traces if known else None)
        if deleted:
            self.on_forgotten(deleted)
        return deleted

    def forget_weakest(self, kind: str, *, keep: int, keep_bytes: int) -> int:
        """Delete episodes of a kind until at most `keep` are left, with texts of at most `keep_bytes`.

        Those that are remembered least go first (see `brainnet.memory.retention`): without accesses the oldest.

        Returns:
            The number of episodes deleted. When there are too many, a sixteenth of the limits is freed besides, so that
            not every new episode needs a deletion.
        """
        if not self._index.excess(kind, keep, keep_bytes):
            return 0
        self._accesses.write()
        with self._db.transaction():
            ids = weakest(self._db, kind, keep - keep // 16, keep_bytes - keep_bytes // 16)
            self._db.executemany(f"DELETE FROM {self.table} WHERE episode_id = ?", [(each,) for each in ids])
        known = [each for each in ids if each not in set(self.damaged)]
        self._index.forget(known)
        self.damaged = [each for each in self.damaged if each not in set(ids)]
        if self._index.sparse:
            self._load_index()
        return len(known)

    def clean(self, at_most: int | None = None) -> bool:
        """Remove bytes of deleted episodes that are still in the file: after a crash, or of an older version.

        Args:
            at_most: Bytes above which a file is left as it is; None for none.

        Returns:
            Whether nothing is left. False while another program holds the file, or the disk is full.
        """
        if not self._db.unclean:
            return True
        if at_most is not None and self.path.stat().st_size > at_most:
            return False
        try:
            return self._db.clean()
        except DamagedStoreError:
            raise
        except StoreError:
            return False

    def forgotten_prompts(self, limit: int = 256) -> list[str]:
        """Return prompts whose traces outside of this file are still to be removed; see `confirm_forgotten`."""
        with self._db.errors():
            rows = self._db.execute("SELECT prompt_id FROM forgotten ORDER BY rowid LIMIT ?", (limit,))
            return [row[0] for row in rows]

    def confirm_forgotten(self, prompt_ids: Collection[str]) -> None:
        """Take prompts off the list of `forgotten_prompts`."""
        with self._db.transaction():
            self._db.executemany("DELETE FROM forgotten WHERE prompt_id = ?", [(each,) for each in prompt_ids])

    def forget_prompts(self, prompt_ids: Collection[str]) -> None:
        """Put prompts that are not episodes on the list of `forgotten_prompts`, durably."""
        with self._db.transaction():
            self._db.executemany("INSERT OR IGNORE INTO forgotten VALUES (?)", [(each,) for each in prompt_ids])

    def _leave_out(self, ids: Collection[int]) -> None:
        """Take deleted episodes out of the index and of the counts of accesses."""
        if not ids:
            return
        self._changes += 1
        self._accesses.drop(ids)
        if len(self._index) <= _REBUILT_AT_ONCE:
            self._load_index()
        else:
            self._index.forget([each for each in ids if self._index.knows(each)])

    def _without_origin(self, statements: Collection[Episode]) -> list[Episode]:
        """Return the facts that come only from these statements of another store of the same file."""
        return facts_of(self._db, self.table, statements, self.load)

    def _check_widths(self, vectors: Iterable[Vector | None]) -> None:
        width = self._index.vectors.width
        for vector in vectors:
            # the first vector of an empty store sets the width for the rest of the batch
            if vector is not None and len(vector) != (width := width or len(vector)):
                raise ValueError(f"this store holds vectors of {width} numbers, got one of {len(vector)}")

    def _id_of(self, key: str | None) -> int | None:
        if key is None:
            return None
        row = self._db.execute(f"SELECT episode_id FROM {self.table} WHERE key = ?", (utf8(key),)).fetchone()
        if row is not None and row[0] in self.damaged:
            # what was stored under the key is lost, so it is stored again
            self._db.execute(f"UPDATE {self.table} SET key = NULL WHERE episode_id = ?", row)
            return None
        return None if row is None else int(row[0])

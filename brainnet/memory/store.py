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

from collections.abc import Collection

from brainnet.memory.changed import ChangedEpisodes
from brainnet.memory.episodes import Hit
from brainnet.memory.text_index import terms
from brainnet.memory.vectors import Vector

__all__ = ["EpisodicStore"]


class EpisodicStore(ChangedEpisodes):
    """Episodes in one table of an SQLite file.

    Args:
        path: the file; it is created if missing.
        table: "episodes", or "facts" for semantic memory; one file can hold both.
        vector_model: the name of the model that computes the vectors. Stored vectors of another model are not
            searched until `set_vectors` replaces them.

    Attributes:
        damaged: the ids of the rows that cannot be read; they are left out of everything, and stay in the file.
        derived: a store of the same file whose facts come from the statements of this one (see `consolidate_facts`);
            what is forgotten here is forgotten there, too.
        on_forgotten: called with the episodes that `forget` has deleted.

    Raises:
        StoreError: every method raises it, with the file and what to do, when the file is of another program or a newer
            format, or cannot be used now: it is locked, or the disk is full.
        DamagedStoreError: every method raises it when the file is damaged or no database.
    """

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
        episodes = self.load(ids)
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
        half, so that calls in idle times are optional. 100,000 episodes take less than a second. What `note_access` has
        counted is written to the file, and what deletions may have left in it is removed.

        Returns:
            Whether the embeddings were fitted: False without a new episode, or with fewer than 100 vectors.
        """
        self._accesses.write()
        self.clean()
        if self._index.forgotten:
            self._load_index()
        return self._index.consolidate()

    def document_frequencies(self, words: Collection[str], kinds: Collection[str] | None = None) -> dict[str, int]:
        """Return the number of episodes that contain each word, compared by `terms`, as in `search`."""
        return self._index.frequency(words, kinds)

    def terms_in(self, episode_id: int, words: Collection[str]) -> set[str]:
        """Return those of the words that an episode contains, compared by `terms`, as in `search`."""
        episode = self.get(episode_id)
        contained = set(terms(episode.text)) if episode else set()
        return {word for word in words if contained.issuperset(terms(word))}

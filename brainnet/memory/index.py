"""The in-memory search index over the episodes of a store: terms, vectors, kinds, and the order within a session."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainnet.memory.fusion import convex_combination
from brainnet.memory.term_embeddings import TermEmbeddings
from brainnet.memory.text_index import TextIndex
from brainnet.memory.vectors import MIN_COMPILED_ROWS, Vector, VectorIndex

__all__ = ["NEXT_WEIGHT", "PREVIOUS_WEIGHT", "EpisodeIndex", "Match"]

NEXT_WEIGHT = 0.3
"""The fraction of an episode's score that the next episode of its session receives."""
PREVIOUS_WEIGHT = 0.1
"""The fraction that the previous episode receives. It is smaller because human recall goes forward more often than
backward: Kahana 1996, *Associative retrieval processes in free recall*."""
FEEDBACK_EPISODES = 10
"""The number of best episodes that pseudo-relevance feedback uses."""
RERANKED = 5000
"""The number of episodes whose vectors are compared again with the query after feedback."""
FEEDBACK_EXPONENT = 6
"""Feedback weighs an episode by its score to this power, so that a clear first result dominates the others."""
REFIT_GROWTH = 1.5
"""A search fits the term embeddings again when the number of episodes has grown by this factor."""
MIN_FORGOTTEN = 256
"""With fewer forgotten rows than this an index is not worth building again."""
FORGOTTEN_SHARE = 1 / 8
"""Forgotten rows, as a share of the others, from which on an index is built again. A memory that drops its oldest
episode for each new one thus takes an eighth more than its episodes, and indexes each of them about eight times."""
_FORGOTTEN = -1
"""The code of the kind of an episode that was forgotten. Its row stays, and counts for nothing."""

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Match:
    """One search result.

    Attributes:
        episode_id: the id of the episode.
        score: the fused score, with the contribution of neighbouring episodes.
        text_rank: the rank by BM25 alone, from 1; equal scores share the better rank. None without a common term.
        vector_rank: the rank by cosine similarity alone; None without a similarity above 0, or without a query vector.
    """

    episode_id: int
    score: float
    text_rank: int | None
    vector_rank: int | None


class EpisodeIndex:
    """An index over episodes in ascending order of their ids; derived from a store, never written to disk.

    Episodes of the same kind and session are linked in their order. An episode is ranked by the cube of its own
    score, plus `NEXT_WEIGHT` times the cubed score of the previous episode and `PREVIOUS_WEIGHT` times that of the
    next one. The cube makes sure that only good matches raise their neighbours. So a search finds an answer through
    its question, even if the two share no word.
    """

    def __init__(self) -> None:
        self.texts = TextIndex()
        self.vectors = VectorIndex()
        self.term_embeddings = TermEmbeddings()
        # array.array grows by amortised doubling and exposes its buffer to numpy without a copy (see _view);
        # a list would cost a conversion at every search
        self._ids, self._kinds, self._previous, self._next, self._bytes = (array("q") for _ in range(5))
        self._forgotten = 0
        self._kind_codes: dict[str, int] = {}
        self._last_of_session: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        """Return the number of rows: of the episodes, and of those forgotten since the index was built."""
        return len(self._ids)

    @property
    def sparse(self) -> bool:
        """Whether so many rows are of forgotten episodes that the index is worth building again."""
        return self._forgotten >= max(MIN_FORGOTTEN, (len(self) - self._forgotten) * FORGOTTEN_SHARE)

    @property
    def forgotten(self) -> int:
        """The number of rows of forgotten episodes."""
        return self._forgotten

    @property
    def highest_id(self) -> int:
        """The highest id; 0 without episodes."""
        return self._ids[-1] if self._ids else 0

    def knows(self, episode_id: int) -> bool:
        """Return whether an episode is in the index, and not forgotten."""
        row = int(np.searchsorted(_view(self._ids), episode_id))
        return row < len(self) and self._ids[row] == episode_id and self._kinds[row] != _FORGOTTEN

    def holding(self, text: str, kinds: Collection[str] | None) -> list[int]:
        """Return the ids of the episodes that contain all words of a text, ascending; none if it has no words."""
        allowed = self._allowed(kinds)
        rows = self.texts.containing(text)
        return [self._ids[row] for row in (rows if allowed is None else rows[allowed[rows]]).tolist()]

    def add(self, episode_id: int, kind: str, session: str, text: str, vector: Vector | None) -> None:
        """Add the next episode; an empty `session` links it to no other episode.

        Raises:
            ModelError: the vector has another width than the vectors of the index.
        """
        row = len(self._ids)
        self.vectors.add(vector)
        self.texts.add(text)
        self._ids.append(episode_id)
        self._kinds.append(self._kind_codes.setdefault(kind, len(self._kind_codes)))
        self._bytes.append(len(text.encode(errors="replace")))
        previous = self._last_of_session.get((kind, session), -1) if session else -1
        self._previous.append(previous)
        self._next.append(-1)
        if session:
            self._last_of_session[kind, session] = row
        if previous >= 0:
            self._next[previous] = row

    def excess(self, kind: str, episodes: int, text_bytes: int) -> list[int]:
        """Return the ids of the oldest episodes of a kind that are too many, in ascending order.

        Args:
            kind: the kind.
            episodes: the number of episodes that are not too many.
            text_bytes: the bytes of their texts together that are not too many.
        """
        rows = np.flatnonzero(_view(self._kinds) == self._kind_codes.get(kind, _FORGOTTEN - 1))
        # from the newest to the oldest: how much there is with each
        sizes = _view(self._bytes)[rows][::-1].cumsum()
        kept = min(max(0, episodes), int(np.searchsorted(sizes, text_bytes, "right")))
        return [self._ids[row] for row in rows[: len(rows) - kept].tolist()]

    def forget(self, episode_ids: Collection[int]) -> None:
        """Leave these episodes out of every search and count; their memory is freed when the index is built again."""
        for row in np.searchsorted(_view(self._ids), sorted(episode_ids)).tolist():
            self._kinds[row] = _FORGOTTEN
            self.vectors.remove(row)
        self._forgotten += len(episode_ids)

    def newest(self, limit: int, kinds: Collection[str] | None) -> list[int]:
        """Return the ids of the newest `limit` episodes of these kinds, newest first."""
        allowed = self._allowed(kinds)
        rows = np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)
        return [self._ids[row] for row in rows[::-1][:limit].tolist()]

    def without_vector(self, limit: int) -> list[int]:
        """Return the ids of the oldest `limit` episodes that have no vector, oldest first."""
        missing = self.vectors.missing() & (_view(self._kinds) != _FORGOTTEN)
        return [self._ids[row] for row in np.flatnonzero(missing)[:limit].tolist()]

    def consolidate(self, min_growth: float = 1.0) -> bool:
        """Fit the term embeddings again if the number of episodes has grown by more than the factor `min_growth`.

        Returns:
            Whether the embeddings were fitted: False without growth, or with too few vectors.
        """
        if len(self) <= min_growth * self.term_embeddings.fitted_texts:
            return False
        self.term_embeddings.fit(self.texts, self.vectors)
        return self.term_embeddings.fitted_texts > 0

    def search(
        self, text: str, vector: Vector | None, limit: int, kinds: Collection[str] | None, text_weight: float
    ) -> list[Match]:
        """Return the best `limit` matches, best first; of equal scores the newest first.

        A match has a score of its own above 0, or a neighbour that has one. Once the term embeddings are fitted, a
        search runs twice: the second time with pseudo-relevance feedback from the best `FEEDBACK_EPISODES`, both in
        terms and in vectors.

        Args:
            text: the query text; may be empty.
            vector: the query vector, or None to search by text alone.
            limit: the largest number of matches.
            kinds: the kinds of episodes to search; None for all.
            text_weight: the weight of BM25 in the fused score, in [0, 1].

        Raises:
            ModelError: the query vector has another width than the vectors of the index.
        """
        allowed = self._allowed(kinds)
        query_terms = self.texts.query_terms(text)
        by_text = self._masked(self.texts.scores(query_terms), allowed)
        by_vector = self._masked(self._similarities(query_terms, vector), allowed)
        fused = convex_combination(by_text, by_vector, text_weight)
        if vector is not None and self.term_embeddings.fitted_texts and fused.any():
            candidates = _at_least(fused, RERANKED)
            # feedback comes from the best of the fused ranking, so each side learns from the other
            best = np.array(_best(fused, FEEDBACK_EPISODES, candidates))
            weights = fused[best] ** FEEDBACK_EXPONENT
            by_vector = self._masked(
                self.term_embeddings.feedback_similarities(by_vector, candidates, best, weights), allowed
            )
            if query_terms:
                feedback = dict(zip(best.tolist(), weights.tolist(), strict=True))
                by_text = self._masked(self.texts.scores(self.texts.expanded_query(query_terms, feedback)), allowed)
            fused = convex_combination(by_text, by_vector, text_weight)
        total = self._with_neighbours(fused, allowed)
        return [
            Match(self._ids[row], float(total[row]), _rank(by_text, row), _rank(by_vector, row))
            for row in _best(total, limit)
        ]

    def frequency(self, words: Collection[str], kinds: Collection[str] | None) -> dict[str, int]:
        """Return the number of episodes that contain each word, compared by its stem."""
        allowed = self._allowed(kinds)
        found = {word: self.texts.containing(word) for word in words}
        return {
            word: len(rows) if allowed is None else int(np.count_nonzero(allowed[rows])) for word, rows in found.items()
        }

    def set_vector(self, episode_id: int, vector: Vector) -> None:
        """Replace the vector of an episode of the index.

        Raises:
            ModelError: the vector has another width than the vectors of the index.
        """
        self.vectors.replace(int(np.searchsorted(_view(self._ids), episode_id)), vector)
        # term embeddings are sums over all vectors, so a changed vector invalidates them
        self.term_embeddings = TermEmbeddings()

    def count(self, kinds: Collection[str] | None) -> int:
        """Return the number of episodes of these kinds; None counts all."""
        by_kind = self.by_kind()
        return sum(by_kind.values() if kinds is None else (by_kind.get(kind, 0) for kind in set(kinds)))

    def by_kind(self) -> dict[str, int]:
        """Return the number of episodes of each kind."""
        kinds = _view(self._kinds)
        counts = np.bincount(kinds[kinds != _FORGOTTEN], minlength=len(self._kind_codes))
        return {kind: int(counts[code]) for kind, code in sorted(self._kind_codes.items()) if counts[code]}

    def similarity(self, vector: Vector, episode_ids: Collection[int]) -> dict[int, float]:
        """Return the cosine similarity of `vector` to the vectors of these episodes; those without one are omitted."""
        # ids ascend, so a binary search replaces a dictionary from ids to rows
        rows = np.searchsorted(_view(self._ids), sorted(episode_ids))
        similarities = self.vectors.similarities(vector, rows)
        return {
            self._ids[row]: float(similarity)
            for row, similarity in zip(rows.tolist(), similarities, strict=True)
            if self.vectors.has(row)
        }

    def _similarities(self, query_terms: Collection[int], vector: Vector | None) -> Scores:
        """Return the similarity of the query to every episode, negative ones as 0.

        The vectors are compared alone until the term embeddings are fitted, and together with those afterwards.
        """
        if vector is None:
            return np.zeros(len(self), np.float32)
        self.consolidate(REFIT_GROWTH)
        if not self.term_embeddings.fitted_texts:
            return np.maximum(self.vectors.similarities(vector), 0)
        self.term_embeddings.update(self.texts, self.vectors)
        return np.maximum(self.term_embeddings.similarities(list(query_terms), vector), 0)

    def _allowed(self, kinds: Collection[str] | None) -> NDArray[np.bool_] | None:
        if kinds is None:
            return _view(self._kinds) != _FORGOTTEN if self._forgotten else None
        # kinds are integers, so that this is a pass over an array for each, instead of comparisons of strings
        held, allowed = _view(self._kinds), np.zeros(len(self), np.bool_)
        for kind in set(kinds).intersection(self._kind_codes):
            allowed |= held == self._kind_codes[kind]
        return allowed

    @staticmethod
    def _masked(scores: Scores, allowed: NDArray[np.bool_] | None) -> Scores:
        if allowed is not None:
            scores[~allowed] = 0
        return scores

    def _with_neighbours(self, scores: Scores, allowed: NDArray[np.bool_] | None) -> Scores:
        best = scores.max(initial=0)
        if not best > 0:
            return scores
        # relative to the best score, so that the cube of small scores does not underflow
        scores = scores / best
        if len(scores) >= MIN_COMPILED_ROWS:
            # imported here: loading numba takes longer than the whole search of a small store
            from brainnet.memory.kernels import add_neighbours

            total = np.empty_like(scores)
            next_weight, previous_weight = np.float32(NEXT_WEIGHT), np.float32(PREVIOUS_WEIGHT)
            add_neighbours(scores, _view(self._previous), _view(self._next), next_weight, previous_weight, total)
        else:
            # multiplications: numpy computes `** 3` by calling pow for every element
            scores *= scores * scores
            # row -1 stands for "no neighbour" and reads the 0 that is appended at the end
            padded = np.append(scores, np.float32(0))
            total = scores + np.float32(NEXT_WEIGHT) * padded[_view(self._previous)]
            total += np.float32(PREVIOUS_WEIGHT) * padded[_view(self._next)]
        return self._masked(total, allowed)


def _at_least(scores: Scores, count: int) -> NDArray[np.int64]:
    """Return the rows of the `count` highest scores above 0, ascending; more of them where the last score is tied."""
    rows: NDArray[np.int64] = np.flatnonzero(
        scores > 0
    )  # often few: the others have no word of the query, or are of another kind
    if len(rows) <= count:
        return rows
    above = scores[rows]
    # partition finds the smallest score to keep; argpartition, which finds the rows, is several times slower
    kept: NDArray[np.int64] = rows[above >= np.partition(above, len(above) - count)[len(above) - count]]
    return kept


def _best(scores: Scores, limit: int, candidates: NDArray[np.int64] | None = None) -> list[int]:
    """Return the rows of the highest scores above 0, highest first; of equal scores the highest row first."""
    rows = _at_least(scores, limit) if candidates is None else candidates
    # lexsort sorts by its last key first; the negated row breaks ties in favour of the newest episode
    best: list[int] = rows[np.lexsort((-rows, -scores[rows]))][:limit].tolist()
    return best


def _rank(scores: Scores, row: int) -> int | None:
    return 1 + int(np.count_nonzero(scores > scores[row])) if scores[row] > 0 else None


def _view(numbers: array[int]) -> NDArray[np.int64]:
    """Return the numbers as a numpy array without a copy; `numbers` cannot grow while the view exists."""
    # frombuffer refuses an empty buffer
    return np.frombuffer(numbers, np.int64) if numbers else np.zeros(0, np.int64)

"""What a search needs of the episodes of a store, in memory: their words, vectors, kinds, and who followed whom."""

from __future__ import annotations

from array import array
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from brainnet.memory.text_index import TextIndex
from brainnet.memory.vectors import VectorIndex

__all__ = ["FOLLOWING", "PRECEDING", "EpisodeIndex"]

FOLLOWING = 0.3
"""How much of an episode's score the next of its session is given: remembering goes on with what came after."""
PRECEDING = 0.1
"""How much of it the one before is given. Recall goes forward more readily than back: Kahana 1996, *Associative
retrieval processes in free recall*."""

Ranking = list[int]
"""Episode ids, best first."""


class EpisodeIndex:
    """Episodes in rising order of their ids, ranked by text and by vector; derived from a store, and never stored.

    Episodes of one kind and session are linked in their order. What fits a query lifts its neighbours: an episode is
    ranked by the cube of its own score, plus `FOLLOWING` of that of the episode before it and `PRECEDING` of that of
    the one after it; cubed, so that only what fits well lifts others. An answer is found by its question, and a
    sentence by its topic, though they share no word.
    """

    def __init__(self) -> None:
        self.texts = TextIndex()
        self.vectors = VectorIndex()
        self._ids, self._kinds, self._before, self._after = (array("q") for _ in range(4))
        self._codes: dict[str, int] = {}
        self._last: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(
        self, episode_id: int, kind: str, session: str, text: str, vector: NDArray[np.integer | np.floating] | None
    ) -> None:
        """Adds the next episode; an empty ``session`` links it to none."""
        number = len(self._ids)
        self.vectors.add(vector)
        self.texts.add(text)
        self._ids.append(episode_id)
        self._kinds.append(self._codes.setdefault(kind, len(self._codes)))
        before = self._last.get((kind, session), -1) if session else -1
        self._before.append(before)
        self._after.append(-1)
        if session:
            self._last[kind, session] = number
        if before >= 0:
            self._after[before] = number

    def by_text(self, text: str, limit: int, kinds: Collection[str] | None) -> Ranking:
        """The best ``limit`` by BM25; none that neither holds a word of ``text`` nor adjoins one that does."""
        return self._best(self.texts.scores(text), limit, kinds)

    def by_vector(
        self, vector: NDArray[np.integer | np.floating], limit: int, kinds: Collection[str] | None
    ) -> Ranking:
        """The best ``limit`` by cosine similarity; none without any similarity."""
        return self._best(np.maximum(self.vectors.similarities(vector), 0), limit, kinds)

    def holders(self, word: str, kinds: Collection[str] | None) -> list[int]:
        """The ids of the episodes that hold a word, matched by its stem, rising."""
        numbers = self.texts.holders(word)
        allowed = self._allowed(kinds)
        return [self._ids[n] for n in (numbers if allowed is None else numbers[allowed[numbers]]).tolist()]

    def set_vector(self, episode_id: int, vector: NDArray[np.integer | np.floating]) -> None:
        """Gives an episode of the index another vector."""
        self.vectors.replace(int(np.searchsorted(_view(self._ids), episode_id)), vector)

    def count(self, kinds: Collection[str] | None) -> int:
        """How many episodes there are of these kinds."""
        by_kind = self.by_kind()
        return sum(by_kind.values() if kinds is None else (by_kind.get(kind, 0) for kind in set(kinds)))

    def by_kind(self) -> dict[str, int]:
        """How many episodes there are of each kind, by name."""
        counts = np.bincount(_view(self._kinds), minlength=len(self._codes))
        return {kind: int(counts[code]) for kind, code in sorted(self._codes.items())}

    def similarity(self, vector: NDArray[np.integer | np.floating], episode_ids: Collection[int]) -> dict[int, float]:
        """Cosine similarity of the vectors of these episodes; those without one are left out."""
        numbers = np.searchsorted(_view(self._ids), sorted(episode_ids))
        found = self.vectors.similarities(vector, numbers)
        return {self._ids[n]: float(s) for n, s in zip(numbers.tolist(), found, strict=True) if self.vectors.has(n)}

    def _allowed(self, kinds: Collection[str] | None) -> NDArray[np.bool_] | None:
        if kinds is None:
            return None
        codes = [self._codes[kind] for kind in kinds if kind in self._codes]
        return np.isin(_view(self._kinds), codes)

    def _best(self, scores: NDArray[np.float32], limit: int, kinds: Collection[str] | None) -> Ranking:
        """The best of the scores in context, none of them 0; of equal ones the newest first."""
        best = scores.max(initial=0)
        if not best > 0:
            return []
        scores = scores / best
        scores *= scores * scores
        padded = np.append(scores, np.float32(0))  # number -1, no episode, scores 0
        total = padded[_view(self._before)]
        total *= np.float32(FOLLOWING)
        total += np.float32(PRECEDING) * padded[_view(self._after)]
        total += scores
        allowed = self._allowed(kinds)
        if allowed is not None:
            total[~allowed] = 0
        # Keep every tie with the last one kept, so that the order below is what decides.
        last = np.partition(total, len(total) - limit)[len(total) - limit] if len(total) > limit else np.float32(0)
        at = np.flatnonzero(total >= last if last > 0 else total > 0)
        return [self._ids[number] for number in at[np.lexsort((-at, -total[at]))][:limit].tolist()]


def _view(numbers: array[int]) -> NDArray[np.int64]:
    """The numbers without a copy; while the view lives, the array cannot grow."""
    return np.frombuffer(numbers, np.int64) if numbers else np.zeros(0, np.int64)

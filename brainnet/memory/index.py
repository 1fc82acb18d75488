"""What a search needs of the episodes of a store, in memory: their words, vectors, kinds, and who followed whom."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainnet.memory.fusion import convex_combination
from brainnet.memory.meanings import Meanings
from brainnet.memory.text_index import TextIndex
from brainnet.memory.vectors import COMPILED_FROM, VectorIndex

__all__ = ["FOLLOWING", "PRECEDING", "EpisodeIndex", "Found"]

FOLLOWING = 0.3
"""How much of an episode's score the next of its session is given: remembering goes on with what came after."""
PRECEDING = 0.1
"""How much of it the one before is given. Recall goes forward more readily than back: Kahana 1996, *Associative
retrieval processes in free recall*."""
FEEDBACK = 10
"""How many of the best episodes the second look of a search learns from."""
SECOND = 5000
"""How many it looks at anew by their vectors."""
SHARPNESS = 6
"""To which power of its score each of them counts: where one stands out, little but its own terms is added."""
GROWN = 1.5
"""A search first learns anew when there are so many times as many episodes as when it learned last."""

Vector = NDArray[np.integer | np.floating]
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """An episode, its fused score in context, and its rank by its own words and by its own vector (from 1, equal ones
    sharing the better rank; None: no word in common, no similarity, or not asked that way).
    """

    episode_id: int
    score: float
    text_rank: int | None
    vector_rank: int | None


class EpisodeIndex:
    """Episodes in rising order of their ids, found by text and by vector; derived from a store, and never stored.

    Episodes of one kind and session are linked in their order. What fits a query lifts its neighbours: an episode is
    ranked by the cube of its own score, plus `FOLLOWING` of that of the episode before it and `PRECEDING` of that of
    the one after it; cubed, so that only what fits well lifts others. An answer is found by its question, and a
    sentence by its topic, though they share no word.
    """

    def __init__(self) -> None:
        self.texts = TextIndex()
        self.vectors = VectorIndex()
        self.meanings = Meanings()
        self._ids, self._kinds, self._before, self._after = (array("q") for _ in range(4))
        self._codes: dict[str, int] = {}
        self._last: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, episode_id: int, kind: str, session: str, text: str, vector: Vector | None) -> None:
        """Adds the next episode; an empty `session` links it to none."""
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

    def consolidate(self, grown: float = 1.0) -> bool:
        """Learns anew what words mean, if there are more than `grown` times as many episodes as when it did last."""
        if len(self) <= grown * self.meanings.learned:
            return False
        self.meanings.learn(self.texts, self.vectors)
        return self.meanings.learned > 0

    def search(
        self, text: str, vector: Vector | None, limit: int, kinds: Collection[str] | None, words: float
    ) -> list[Found]:
        """The best `limit`, best first, of equal ones the newest first; none that neither fits the query by itself
        nor adjoins one that does. `words` is the share of BM25 in the fused score.

        Once words have been learned, a search looks twice: the second time for what the best `FEEDBACK` of the first
        look have in common, too, in terms and in vectors.
        """
        allowed = self._allowed(kinds)
        asked = self.texts.asked(text)
        by_text = self._only(self.texts.scores(asked), allowed)
        by_vector = self._only(self._similarities(asked, vector), allowed)
        fused = convex_combination(by_text, by_vector, words)
        if vector is not None and self.meanings.learned and fused.any():
            likely = _at_least(fused, SECOND)
            best = np.array(_best(fused, FEEDBACK, likely))
            counts = fused[best] ** SHARPNESS
            by_vector = self._only(self.meanings.recalled(by_vector, likely, best, counts), allowed)
            if asked:
                query = self.texts.recalled(asked, dict(zip(best.tolist(), counts.tolist(), strict=True)))
                by_text = self._only(self.texts.scores(query), allowed)
            fused = convex_combination(by_text, by_vector, words)
        total = self._in_context(fused, allowed)
        return [
            Found(self._ids[number], float(total[number]), _rank(by_text, number), _rank(by_vector, number))
            for number in _best(total, limit)
        ]

    def holders(self, word: str, kinds: Collection[str] | None) -> list[int]:
        """The ids of the episodes that hold a word, matched by its stem, rising."""
        numbers = self.texts.holders(word)
        allowed = self._allowed(kinds)
        return [self._ids[n] for n in (numbers if allowed is None else numbers[allowed[numbers]]).tolist()]

    def set_vector(self, episode_id: int, vector: Vector) -> None:
        """Gives an episode of the index another vector."""
        self.vectors.replace(int(np.searchsorted(_view(self._ids), episode_id)), vector)
        self.meanings = Meanings()

    def count(self, kinds: Collection[str] | None) -> int:
        """How many episodes there are of these kinds."""
        by_kind = self.by_kind()
        return sum(by_kind.values() if kinds is None else (by_kind.get(kind, 0) for kind in set(kinds)))

    def by_kind(self) -> dict[str, int]:
        """How many episodes there are of each kind, by name."""
        counts = np.bincount(_view(self._kinds), minlength=len(self._codes))
        return {kind: int(counts[code]) for kind, code in sorted(self._codes.items())}

    def similarity(self, vector: Vector, episode_ids: Collection[int]) -> dict[int, float]:
        """Cosine similarity of the vectors of these episodes; those without one are left out."""
        numbers = np.searchsorted(_view(self._ids), sorted(episode_ids))
        found = self.vectors.similarities(vector, numbers)
        return {self._ids[n]: float(s) for n, s in zip(numbers.tolist(), found, strict=True) if self.vectors.has(n)}

    def _similarities(self, asked: Collection[int], vector: Vector | None) -> Scores:
        """To every episode, 0 where negative: of the vectors, in the light of what words mean once that is learned."""
        if vector is None:
            return np.zeros(len(self), np.float32)
        self.consolidate(GROWN)
        if not self.meanings.learned:
            return np.maximum(self.vectors.similarities(vector), 0)
        self.meanings.see(self.texts, self.vectors)
        return np.maximum(self.meanings.similarities(list(asked), vector), 0)

    def _allowed(self, kinds: Collection[str] | None) -> NDArray[np.bool_] | None:
        if kinds is None:
            return None
        codes = [self._codes[kind] for kind in kinds if kind in self._codes]
        return np.isin(_view(self._kinds), codes)

    @staticmethod
    def _only(scores: Scores, allowed: NDArray[np.bool_] | None) -> Scores:
        if allowed is not None:
            scores[~allowed] = 0
        return scores

    def _in_context(self, scores: Scores, allowed: NDArray[np.bool_] | None) -> Scores:
        best = scores.max(initial=0)
        if not best > 0:
            return scores
        scores = scores / best
        if len(scores) >= COMPILED_FROM:
            from brainnet.memory.kernels import in_context

            total = np.empty_like(scores)
            following, preceding = np.float32(FOLLOWING), np.float32(PRECEDING)
            in_context(scores, _view(self._before), _view(self._after), following, preceding, total)
        else:
            scores *= scores * scores
            padded = np.append(scores, np.float32(0))  # number -1, no episode, scores 0
            total = scores + np.float32(FOLLOWING) * padded[_view(self._before)]
            total += np.float32(PRECEDING) * padded[_view(self._after)]
        return self._only(total, allowed)


def _at_least(scores: Scores, count: int) -> NDArray[np.int64]:
    """The numbers of the `count` highest scores, rising, none of them 0; of more, where they tie with the last."""
    # By value: numpy finds places (argpartition) several times as slowly.
    last = np.partition(scores, len(scores) - count)[len(scores) - count] if len(scores) > count else np.float32(0)
    return np.flatnonzero(scores >= last if last > 0 else scores > 0)


def _best(scores: Scores, limit: int, among: NDArray[np.int64] | None = None) -> list[int]:
    """The numbers of the highest scores, none of them 0, of equal ones the last first."""
    at = _at_least(scores, limit) if among is None else among
    best: list[int] = at[np.lexsort((-at, -scores[at]))][:limit].tolist()
    return best


def _rank(scores: Scores, number: int) -> int | None:
    return 1 + int(np.count_nonzero(scores > scores[number])) if scores[number] > 0 else None


def _view(numbers: array[int]) -> NDArray[np.int64]:
    """The numbers without a copy; while the view lives, the array cannot grow."""
    return np.frombuffer(numbers, np.int64) if numbers else np.zeros(0, np.int64)

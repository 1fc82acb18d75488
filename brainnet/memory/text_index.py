"""BM25 full-text search over the texts of a store: derived data, held in memory only.

SQLite's FTS5 fetches and scores every row that holds any word of a query, one by one: 0.2 s for a question to 100,000
episodes. Here a posting is one number of an array, and a query adds a few arrays.
"""

from __future__ import annotations

import math
import unicodedata
from array import array
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache, reduce
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from brainnet.memory.stemming import stem
from brainnet.memory.stop_words import STOP_WORDS
from brainnet.snn.models.text_features import words

__all__ = ["TextIndex", "terms"]

SATURATION = 1.2
"""k1: how soon further occurrences of a term in a text stop counting."""
LENGTH_SHARE = 0.75
"""b: how far long texts are discounted."""
QUERY_TERMS = 64
"""How many distinct terms of a query are looked up."""
FEEDBACK_TERMS = 20
QUERY_SHARE = 0.5
"""How much of a query that recalled something is the query itself: RM3's usual interpolation."""
_COUNT_BITS = 6
_MOST = (1 << _COUNT_BITS) - 1


def terms(text: str) -> list[str]:
    """What full-text search matches: the words of a text, without accents and possessives, as stems."""
    plain = text
    if not text.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return [_term(word) for word in words(plain)]


@lru_cache(maxsize=65536)
def _term(word: str) -> str:
    return stem(word.replace("’", "'").removesuffix("'s").replace("'", ""))


_STOPS = frozenset(_term(word) for word in STOP_WORDS)


class TextIndex:
    """Texts, numbered from 0 as they are added, searched by BM25.

    Robertson and Zaragoza 2009, *The Probabilistic Relevance Framework: BM25 and Beyond*: the sum over the terms of
    the query of idf * tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length)), where idf is
    ln(1 + (N - n + 0.5) / (n + 0.5)), which no term, however usual, turns negative. Stop words of a query are left
    out, unless it has no other words.

    Terms are numbered too, from 0 as they are first met.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._postings: list[array[int]] = []
        self._held = array("I")  # what each text holds, one text after the other: term and count
        self._ends = array("q", [0])
        self._lengths = array("I")
        self._total = 0
        self._stops: list[int] = []
        self._discounts = np.zeros(0, np.float32)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def terms(self) -> int:
        """How many different terms the texts hold."""
        return len(self._postings)

    def add(self, text: str) -> None:
        """Adds the next text."""
        number, found = len(self._lengths), terms(text)
        for term, count in Counter(found).items():
            which = self._numbers.get(term)
            if which is None:
                which = self._new(term)
            count = min(count, _MOST)  # noqa: PLW2901
            self._postings[which].append(number << _COUNT_BITS | count)
            self._held.append(which << _COUNT_BITS | count)
        self._ends.append(len(self._held))
        self._lengths.append(len(found))
        self._total += len(found)

    def holders(self, word: str) -> NDArray[np.int64]:
        """The numbers of the texts that hold a word, or every one of several, rising."""
        found = [(self._posting(term) >> _COUNT_BITS).astype(np.int64) for term in set(terms(word))]
        return reduce(np.intersect1d, found) if found else np.zeros(0, np.int64)

    def scores(self, asked: Mapping[int, float]) -> NDArray[np.float32]:
        """The BM25 score of every text for these terms, each counting so much; 0 for those that hold none of them."""
        scores = np.zeros(len(self), np.float32)
        for which, share in asked.items():
            posting = np.frombuffer(self._postings[which], np.uint32)
            at = posting >> _COUNT_BITS
            scores[at] += np.float32(share * self._idf(len(at))) * self._counts_for(posting, at)
        return scores

    def asked(self, text: str) -> dict[int, float]:
        """The terms of a query that any text holds, each of them counting 1."""
        found = list(dict.fromkeys(terms(text)))
        telling = [term for term in found if term not in _STOPS] or found
        return {self._numbers[term]: 1.0 for term in islice(telling, QUERY_TERMS) if term in self._numbers}

    def recalled(self, asked: Mapping[int, float], texts: Mapping[int, float]) -> dict[int, float]:
        """A query that recalled these texts, each counting so much, and the terms that they have most in common.

        Pseudo-relevance feedback: the `FEEDBACK_TERMS` terms of the highest sum, over the texts, of score times BM25
        weight are added, so that of the whole query they are the share that `QUERY_SHARE` leaves. Rocchio 1971, with
        the interpolation of RM3 (Abdul-Jaleel et al. 2004).
        """
        sums: dict[int, float] = {}
        for number, score in texts.items():
            _, held, counts = self.by_text(number, number + 1)
            for which, count in zip(held.tolist(), (score * counts).tolist(), strict=True):
                sums[which] = sums.get(which, 0.0) + count
        for which in self._stops:
            sums.pop(which, None)
        ranked = sorted(sums, key=lambda which: -sums[which] * self._idf(len(self._postings[which])))[:FEEDBACK_TERMS]
        total = sum(sums[which] for which in ranked)
        query = {which: QUERY_SHARE * share / sum(asked.values()) for which, share in asked.items()}
        for which in ranked:
            query[which] = query.get(which, 0.0) + (1 - QUERY_SHARE) * sums[which] / total
        return query

    def idf(self) -> NDArray[np.float32]:
        """The idf of every term; 0 for stop words."""
        held = np.fromiter(map(len, self._postings), np.float32, len(self._postings))
        found: NDArray[np.float32] = np.log(1 + (len(self) - held + np.float32(0.5)) / (held + np.float32(0.5)))
        found[self._stops] = 0
        return found

    def by_text(self, first: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """What the texts from number `first` to before `end` hold: where each text begins in the two other arrays,
        and where the last ends; the terms; and what each counts in BM25 beside its idf.
        """
        starts = np.array(self._ends[first : end + 1], np.int64)
        held = np.array(self._held[starts[0] : starts[-1]], np.uint32)
        texts = np.repeat(np.arange(first, end), np.diff(starts))
        return starts - starts[0], (held >> _COUNT_BITS).astype(np.int64), self._counts_for(held, texts)

    def by_term(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """The same the other way round: per term, the texts that hold it."""
        starts = np.zeros(len(self._postings) + 1, np.int64)
        np.cumsum([len(posting) for posting in self._postings], out=starts[1:])
        postings = np.frombuffer(b"".join(self._postings), np.uint32)
        texts = (postings >> _COUNT_BITS).astype(np.int64)
        return starts, texts, self._counts_for(postings, texts)

    def _counts_for(self, held: NDArray[np.uint32], texts: NDArray[np.int64]) -> NDArray[np.float32]:
        count = (held & _MOST).astype(np.float32)
        counted: NDArray[np.float32] = count * np.float32(SATURATION + 1) / (count + self._discounted()[texts])
        return counted

    def _discounted(self) -> NDArray[np.float32]:
        if len(self._discounts) != len(self):
            share = np.array(self._lengths, np.float32) * (LENGTH_SHARE / max(1.0, self._total / len(self)))
            self._discounts = np.float32(SATURATION) * (share + np.float32(1 - LENGTH_SHARE))
        return self._discounts

    def _idf(self, held: int) -> float:
        return math.log(1 + (len(self) - held + 0.5) / (held + 0.5))

    def _new(self, term: str) -> int:
        which = self._numbers[term] = len(self._postings)
        self._postings.append(array("I"))
        if term in _STOPS:
            self._stops.append(which)
        return which

    def _posting(self, term: str) -> NDArray[np.uint32]:
        which = self._numbers.get(term)
        return np.zeros(0, np.uint32) if which is None else np.frombuffer(self._postings[which], np.uint32)

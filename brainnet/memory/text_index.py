"""BM25 full-text search over the texts of a store: derived data, held in memory only.

SQLite's FTS5 fetches and scores every row that holds any word of a query, one by one: 0.2 s for a question to 100,000
episodes. Here a posting is one number of an array, and a query adds a few arrays.
"""

from __future__ import annotations

import math
import unicodedata
from array import array
from collections import Counter
from functools import lru_cache, reduce
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from brainnet.memory.stemming import stem
from brainnet.snn.models.text_features import words

__all__ = ["TextIndex", "terms"]

SATURATION = 1.2
"""k1: how soon further occurrences of a term in a text stop counting."""
LENGTH_SHARE = 0.75
"""b: how far long texts are discounted."""
QUERY_TERMS = 64
"""How many distinct terms of a query are looked up."""
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


class TextIndex:
    """Texts, numbered from 0 as they are added, searched by BM25.

    Robertson and Zaragoza 2009, *The Probabilistic Relevance Framework: BM25 and Beyond*: the sum over the terms of
    the query of idf * tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length)), where idf is
    ln(1 + (N - n + 0.5) / (n + 0.5)), which no term, however usual, turns negative.
    """

    def __init__(self) -> None:
        self._postings: dict[str, array[int]] = {}
        self._lengths = array("I")
        self._total = 0
        self._discounts = np.zeros(0, np.float32)

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, text: str) -> None:
        """Adds the next text."""
        number, found = len(self._lengths), terms(text)
        for term, count in Counter(found).items():
            posting = self._postings.get(term)
            if posting is None:
                posting = self._postings[term] = array("I")
            posting.append(number << _COUNT_BITS | min(count, _MOST))
        self._lengths.append(len(found))
        self._total += len(found)

    def holders(self, word: str) -> NDArray[np.int64]:
        """The numbers of the texts that hold a word, or every one of several, rising."""
        found = [(self._posting(term) >> _COUNT_BITS).astype(np.int64) for term in set(terms(word))]
        return reduce(np.intersect1d, found) if found else np.zeros(0, np.int64)

    def scores(self, text: str) -> NDArray[np.float32]:
        """The BM25 score of every text for the words of ``text``; 0 for those that hold none of them."""
        scores = np.zeros(len(self), np.float32)
        if not len(self):
            return scores
        if len(self._discounts) != len(self):
            share = np.array(self._lengths, np.float32) * (LENGTH_SHARE / max(1.0, self._total / len(self)))
            self._discounts = np.float32(SATURATION) * (share + np.float32(1 - LENGTH_SHARE))
        for term in islice(dict.fromkeys(terms(text)), QUERY_TERMS):
            posting = self._posting(term)
            if not len(posting):
                continue
            at, count = posting >> _COUNT_BITS, (posting & _MOST).astype(np.float32)
            idf = math.log(1 + (len(self) - len(at) + 0.5) / (len(at) + 0.5))
            scores[at] += np.float32(idf * (SATURATION + 1)) * count / (count + self._discounts[at])
        return scores

    def _posting(self, term: str) -> NDArray[np.uint32]:
        posting = self._postings.get(term)
        return np.zeros(0, np.uint32) if posting is None else np.frombuffer(posting, np.uint32)

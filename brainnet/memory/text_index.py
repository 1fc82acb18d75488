"""BM25 full-text search over the texts of a store; derived data, held in memory only.

SQLite's FTS5 fetches and scores every row that contains any word of the query, one by one: 0.2 s for a question to
100,000 episodes. Here a posting is one integer of an array, and a query adds a few arrays.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import islice, takewhile

import numpy as np
from numpy.typing import NDArray

from brainnet.memory.languages import guess_language, stop_words
from brainnet.memory.plain_text import MIN_PART, kinship, plain_words, term_of, terms
from brainnet.memory.stop_words import STOP_WORDS

__all__ = ["TextIndex", "plain_words", "term_of", "terms"]

K1 = 1.2
"""BM25's k1: how quickly further occurrences of a term in a text stop to count."""
B = 0.75
"""BM25's b: how strongly long texts are discounted."""
MAX_QUERY_TERMS = 64
"""The number of distinct terms of a query that are looked up."""
MAX_KIN_WORDS = 16
"""The number of words of a query whose other forms are looked up."""
MAX_KIN = 200
"""The number of terms that are compared with a word, per end."""
FEEDBACK_TERMS = 20
"""The number of terms that pseudo-relevance feedback adds to a query."""
QUERY_WEIGHT = 0.5
"""The weight of the original query in an expanded query, as is usual for RM3."""
# A posting packs an index (of a text or of a term) and a term frequency into one uint32: 26 bits and 6 bits. That
# halves the memory, and a query reads one array per term instead of two.
_TF_BITS = 6
_MAX_TF = (1 << _TF_BITS) - 1


_STOP_TERMS = frozenset(term_of(word) for word in STOP_WORDS)


@cache
def _stop_terms(tongue: str) -> frozenset[str]:
    return frozenset(map(term_of, stop_words(tongue)))


def _reversed(term: str) -> str:
    return term[::-1]


def _starting(ordered: list[str], start: str) -> list[str]:
    """Return the terms of an ordered list with a beginning, `MAX_KIN` at most."""
    first = bisect_left(ordered, start)
    return list(takewhile(lambda term: term.startswith(start), ordered[first : first + MAX_KIN]))


class TextIndex:
    """Texts, numbered from 0 in the order they are added, searched by BM25.

    The score of a text is the sum over the terms of the query of
    idf * tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length)), where
    idf = ln(1 + (N - n + 0.5) / (n + 0.5)) is positive even for terms that most texts contain (Robertson and
    Zaragoza 2009, *The Probabilistic Relevance Framework: BM25 and Beyond*). Stop words of a query are ignored, unless
    it has no other words. A query that is not in English also finds other forms of its words, and compounds.

    Terms are numbered too, from 0 in the order of their first occurrence.
    """

    def __init__(self) -> None:
        self._term_ids: dict[str, int] = {}
        # both directions are stored: per term the texts that contain it, for the search, and per text its terms,
        # for feedback and term embeddings
        self._postings: list[array[int]] = []
        self._document_terms = array("I")  # the terms of all texts, one text after the other
        self._ends = array("q", [0])
        self._lengths = array("I")
        self._total_length = 0
        self._stop_term_ids: list[int] = []
        self._forward: list[str] = []
        self._backward: list[str] = []
        self._cached_length_norms = np.zeros(0, np.float32)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def term_count(self) -> int:
        """The number of distinct terms of all texts."""
        return len(self._postings)

    def add(self, text: str) -> None:
        """Add the next text."""
        number, text_terms = len(self._lengths), terms(text)
        for term, count in Counter(text_terms).items():
            term_id = self._term_ids.get(term)
            if term_id is None:
                term_id = self._new_term(term)
            # more than 63 occurrences do not fit; BM25 is then within 2 % of its limit in a text of mean length
            frequency = min(count, _MAX_TF)
            self._postings[term_id].append(number << _TF_BITS | frequency)
            self._document_terms.append(term_id << _TF_BITS | frequency)
        self._ends.append(len(self._document_terms))
        self._lengths.append(len(text_terms))
        self._total_length += len(text_terms)

    def containing(self, word: str) -> NDArray[np.int64]:
        """Return the numbers of the texts that contain a word, ascending; if there are several words, all of them."""
        matches = [(self._posting(term) >> _TF_BITS).astype(np.int64) for term in set(terms(word))]
        if len(matches) == 1:
            return matches[0]
        # a text occurs once per term, so that the one that holds all terms occurs as often as there are terms
        times = np.bincount(np.concatenate([np.zeros(0, np.int64), *matches]), minlength=1)
        return np.flatnonzero(times == max(1, len(matches)))

    def scores(self, query: Mapping[int, float]) -> NDArray[np.float32]:
        """Return the BM25 score of every text for a query, a mapping of term ids to weights; 0 without a match."""
        scores = np.zeros(len(self), np.float32)
        for term_id, weight in query.items():
            posting = np.frombuffer(self._postings[term_id], np.uint32)
            texts = posting >> _TF_BITS
            # a text occurs once per posting, so fancy-index += loses no addition
            scores[texts] += np.float32(weight * self._idf(len(texts))) * self._tf_weights(posting, texts)
        return scores

    def query_terms(self, text: str) -> dict[int, float]:
        """Return the ids of the query's terms that occur in any text, each with weight 1."""
        # dict.fromkeys removes duplicates and keeps the order, so that the limit below keeps the first terms
        distinct = list(dict.fromkeys(terms(text)))
        tongue = guess_language(text)
        stops = _STOP_TERMS if tongue == "en" else _stop_terms(tongue)
        content_terms = [term for term in distinct if term not in stops] or distinct
        known = (term for term in islice(content_terms, MAX_QUERY_TERMS) if term in self._term_ids)
        query = {self._term_ids[term]: 1.0 for term in known}
        if tongue != "en":
            query |= {term_id: weight for term_id, weight in self._kin(text, tongue).items() if term_id not in query}
        return query

    def _kin(self, text: str, tongue: str) -> dict[int, float]:
        """Return the terms that are other forms of a query's words, or compounds with them.

        So "Schlüssel" finds "Haustürschlüssel", and that one finds "Schlüssel", at the weight of their `kinship`.
        """
        stops = stop_words(tongue, asking=True)
        sought = [word for word in dict.fromkeys(plain_words(text)) if word not in stops and len(word) >= MIN_PART]
        if not sought or not self.term_count:
            return {}
        forward, backward = self._sorted_terms()
        kin: dict[int, float] = {}
        for word in sought[:MAX_KIN_WORDS]:
            # kin share a beginning or an end; of a compound the query may hold the longer one
            near = {*_starting(forward, word[:MIN_PART]), *(_reversed(t) for t in _starting(backward, word[:-5:-1]))}
            for term in near:
                weight = kinship(word, term, tongue)
                if weight:
                    term_id = self._term_ids[term]
                    kin[term_id] = max(weight, kin.get(term_id, 0.0))
        return kin

    def _sorted_terms(self) -> tuple[list[str], list[str]]:
        """Return all terms in order, and all reversed ones in order."""
        if len(self._forward) != self.term_count:
            new = list(islice(self._term_ids, len(self._forward), None))
            # sorting what is mostly in order takes linear time
            self._forward = sorted([*self._forward, *new])
            self._backward = sorted([*self._backward, *map(_reversed, new)])
        return self._forward, self._backward

    def expanded_query(self, query: Mapping[int, float], feedback: Mapping[int, float]) -> dict[int, float]:
        """Return the query with terms added that the feedback texts have in common (pseudo-relevance feedback).

        The `FEEDBACK_TERMS` terms with the highest sum, over the feedback texts, of text weight times BM25 weight are
        added. The weights of the result add up to 1; the original query has the share `QUERY_WEIGHT`. Source:
        Rocchio 1971, with the interpolation of RM3 (Abdul-Jaleel et al. 2004).

        Args:
            query: term ids with their weights.
            feedback: numbers of texts with their weights.
        """
        sums: dict[int, float] = {}
        for number, text_weight in feedback.items():
            _, term_ids, weights = self.document_terms(number, number + 1)
            for term_id, weight in zip(term_ids.tolist(), (text_weight * weights).tolist(), strict=True):
                sums[term_id] = sums.get(term_id, 0.0) + weight
        for term_id in self._stop_term_ids:
            sums.pop(term_id, None)
        ranked = sorted(sums, key=lambda term_id: -sums[term_id] * self._idf(len(self._postings[term_id])))
        added = ranked[:FEEDBACK_TERMS]
        total = sum(sums[term_id] for term_id in added)
        expanded = {term_id: QUERY_WEIGHT * weight / sum(query.values()) for term_id, weight in query.items()}
        for term_id in added:
            expanded[term_id] = expanded.get(term_id, 0.0) + (1 - QUERY_WEIGHT) * sums[term_id] / total
        return expanded

    def idf(self) -> NDArray[np.float32]:
        """Return the inverse document frequency of every term, float32 [terms]; 0 for stop words."""
        frequency = np.fromiter(map(len, self._postings), np.float32, len(self._postings))
        idf: NDArray[np.float32] = np.log(1 + (len(self) - frequency + np.float32(0.5)) / (frequency + np.float32(0.5)))
        idf[self._stop_term_ids] = 0
        return idf

    def document_terms(self, first: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return the terms of the texts from `first` to before `end`, in CSR form.

        Returns:
            `starts` [end - first + 1], the position at which each text begins in the other two arrays, and the end;
            the term ids; and the BM25 weight of each without its idf.
        """
        starts = np.array(self._ends[first : end + 1], np.int64)
        packed = np.array(self._document_terms[starts[0] : starts[-1]], np.uint32)
        texts = np.repeat(np.arange(first, end), np.diff(starts))
        return starts - starts[0], (packed >> _TF_BITS).astype(np.int64), self._tf_weights(packed, texts)

    def term_postings(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return the texts that contain each term, in CSR form: starts, numbers of texts, and BM25 weights."""
        starts = np.zeros(len(self._postings) + 1, np.int64)
        np.cumsum([len(posting) for posting in self._postings], out=starts[1:])
        # joining bytes copies each posting once; numpy would convert every array by itself
        postings = np.frombuffer(b"".join(self._postings), np.uint32)
        texts = (postings >> _TF_BITS).astype(np.int64)
        return starts, texts, self._tf_weights(postings, texts)

    def _tf_weights(self, packed: NDArray[np.uint32], texts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return BM25's saturated term frequency of packed postings, without the idf."""
        frequency = (packed & _MAX_TF).astype(np.float32)
        weights: NDArray[np.float32] = frequency * np.float32(K1 + 1) / (frequency + self._length_norms()[texts])
        return weights

    def _length_norms(self) -> NDArray[np.float32]:
        """Return k1 (1 - b + b length / mean length) of every text."""
        # the mean length changes with every text, so the cache is valid until the next one is added
        if len(self._cached_length_norms) != len(self):
            share = np.array(self._lengths, np.float32) * (B / max(1.0, self._total_length / len(self)))
            self._cached_length_norms = np.float32(K1) * (share + np.float32(1 - B))
        return self._cached_length_norms

    def _idf(self, document_frequency: int) -> float:
        return math.log(1 + (len(self) - document_frequency + 0.5) / (document_frequency + 0.5))

    def _new_term(self, term: str) -> int:
        term_id = self._term_ids[term] = len(self._postings)
        self._postings.append(array("I"))
        if term in _STOP_TERMS:
            self._stop_term_ids.append(term_id)
        return term_id

    def _posting(self, term: str) -> NDArray[np.uint32]:
        term_id = self._term_ids.get(term)
        return np.zeros(0, np.uint32) if term_id is None else np.frombuffer(self._postings[term_id], np.uint32)

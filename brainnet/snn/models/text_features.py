"""Text to hashed features: words, number shapes, punctuation and character n-grams, without a vocabulary file.

Everything is a pure function of the text (NFKC, lower case), equal on every machine and in every
process: hashes are BLAKE2b, never Python's salted `hash`.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HashedVocabulary",
    "SubwordVocabulary",
    "clip_middle",
    "hash32",
    "normalise",
    "route_tokens",
    "words",
]

_T = TypeVar("_T")

CACHED_WORDS = 50_000

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_ROUTE_TOKEN = re.compile(r"[-+−]?(?:\d+\.\d+|\.\d+|\d+)|[^\W\d_]+(?:['’][^\W\d_]+)*|[?!.,:;()\[\]\"“”]")
_NUMBER = re.compile(r"[-+−]?(?:\d+\.\d+|\.\d+|\d+)")


def normalise(text: str) -> str:
    """NFKC-normalised, lower-cased text."""
    return unicodedata.normalize("NFKC", text).lower()


def words(text: str) -> list[str]:
    """The words of a text (letters and digits, inner apostrophes kept), normalised, in order."""
    return _WORD.findall(normalise(text))


def route_tokens(text: str) -> list[str]:
    """Tokens that tell what a prompt asks for: words, punctuation, and numbers reduced to their shape.

    A number becomes `<decimal>` or `<integer>`: where the arm shall go does not change who moves it.
    """
    return [_shape(token) for token in _ROUTE_TOKEN.findall(normalise(text))]


def _shape(token: str) -> str:
    if not _NUMBER.fullmatch(token):
        return token
    return "<decimal>" if "." in token else "<integer>"


def clip_middle(items: Sequence[_T], limit: int) -> list[_T]:
    """At most `limit` items: the first two thirds of the limit and the last third, the middle dropped.

    What a long prompt wants is said at its beginning or at its end.
    """
    if len(items) <= limit:
        return list(items)
    tail = limit // 3
    return [*items[: limit - tail], *items[len(items) - tail :]]


@lru_cache(maxsize=65536)
def hash32(token: str) -> int:
    """A 32-bit hash of a token, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=4).digest(), "little")


class HashedVocabulary:
    """Token -> row of an embedding table, from the sorted hashes of the known tokens.

    Row 0 is padding; rows 1..unknown_rows are shared by unknown tokens (chosen by hash); then one row
    per known token. At 32 bits a collision among a few thousand tokens is unlikely, and `build` refuses it.
    """

    def __init__(self, hashes: NDArray[np.int64], unknown_rows: int) -> None:
        if unknown_rows < 1:
            raise ValueError(f"unknown_rows must be at least 1, got {unknown_rows}")
        if hashes.ndim != 1 or np.any(np.diff(hashes) <= 0):
            raise ValueError("token hashes must be one sorted row without repeats")
        self.hashes = hashes
        self.unknown_rows = unknown_rows

    @classmethod
    def build(cls, tokens: Iterable[str], unknown_rows: int) -> HashedVocabulary:
        """The vocabulary of these tokens. Raises ValueError when two of them share a hash."""
        distinct = sorted(set(tokens))
        hashes = np.unique(np.array([hash32(token) for token in distinct], np.int64))
        if len(hashes) != len(distinct):
            raise ValueError("two tokens share a 32-bit hash; rename one of them")
        return cls(hashes, unknown_rows)

    def __len__(self) -> int:
        return 1 + self.unknown_rows + len(self.hashes)

    def rows(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Rows of the embedding table, shape [len(tokens)]."""
        wanted = np.array([hash32(token) for token in tokens], np.int64)
        unknown = 1 + wanted % self.unknown_rows
        if not len(self.hashes):
            return unknown
        at = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        return np.where(self.hashes[at] == wanted, 1 + self.unknown_rows + at, unknown)


class SubwordVocabulary:
    """Words -> rows of a table: a row of its own for a known word, the rows of its character n-grams for any other.

    Rows 0 to len(hashes) - 1 belong to the known words, by the order of their hashes; `buckets` more are shared by
    n-grams, chosen by hash (Bojanowski et al. 2017, *Enriching word vectors with subword information*).
    """

    def __init__(self, hashes: NDArray[np.int64], buckets: int, ngram_sizes: Sequence[int] = (3, 4, 5)) -> None:
        self.hashes, self.buckets, self.ngram_sizes = hashes, buckets, tuple(ngram_sizes)
        self._row_of = {int(known): row for row, known in enumerate(hashes)}
        self._rows: dict[str, tuple[int, ...]] = {}

    @classmethod
    def build(cls, known: Iterable[str], buckets: int, ngram_sizes: Sequence[int] = (3, 4, 5)) -> SubwordVocabulary:
        """The vocabulary of these words; of words that share a 32-bit hash, all share a row."""
        return cls(np.unique(np.array([hash32(word) for word in known], np.int64)), buckets, ngram_sizes)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.hashes) + self.buckets

    def rows(self, word: str) -> tuple[int, ...]:
        """The rows of a word, one or more."""
        rows = self._rows.get(word)
        if rows is None:
            known = self._row_of.get(hash32(word))
            rows = self.ngram_rows(word) if known is None else (known,)
            if len(self._rows) < CACHED_WORDS:
                self._rows[word] = rows
        return rows

    def ngram_rows(self, word: str) -> tuple[int, ...]:
        """The rows of the n-grams of a word, its boundaries marked, known or not."""
        marked = f"<{word}>"
        grams = [marked[i : i + size] for size in self.ngram_sizes for i in range(len(marked) - size + 1)]
        return tuple(len(self.hashes) + hash32(gram) % self.buckets for gram in grams or [marked])

    def bag(self, text: str) -> tuple[list[int], list[float]]:
        """The rows of a text's words and their weights: the square root of how often a word occurs, over its rows."""
        rows: list[int] = []
        weights: list[float] = []
        for word, count in Counter(words(text)).items():
            found = self.rows(word)
            rows += found
            if len(found) == count == 1:
                weights.append(1.0)
            else:
                weights += [math.sqrt(count) / len(found)] * len(found)
        return rows, weights

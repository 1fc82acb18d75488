"""Text to hashed features: words, number shapes, punctuation and character n-grams, without a vocabulary file.

Everything is a pure function of the text (NFKC, lower case), equal on every machine and in every
process: hashes are BLAKE2b, never Python's salted ``hash``.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HashedVocabulary",
    "bag_of_features",
    "clip_middle",
    "hash32",
    "normalise",
    "route_tokens",
    "words",
]

_T = TypeVar("_T")

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

    A number becomes ``<decimal>`` or ``<integer>``: where the arm shall go does not change who moves it.
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


def bag_of_features(
    text: str, buckets: int, ngram_sizes: Sequence[int] = (3, 4, 5), ngram_weight: float = 0.5
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Hashed word and character n-gram features of a text: (bucket ids [n], weights [n]), ids distinct and sorted.

    Each occurrence of a word weighs 1 for the word itself, plus `ngram_weight` spread evenly over its
    n-grams (word boundaries marked). Repeats count as the square root of their sum, and the weights
    are scaled to unit Euclidean length. An empty text gives empty arrays.
    """
    totals: dict[int, float] = {}
    for word in words(text):
        for bucket, weight in _word_features(word, buckets, tuple(ngram_sizes), ngram_weight):
            totals[bucket] = totals.get(bucket, 0.0) + weight
    ids = np.array(sorted(totals), np.int64)
    weights = np.sqrt(np.array([totals[int(i)] for i in ids], np.float32))
    norm = np.float32(np.linalg.norm(weights))
    return ids, (weights / norm).astype(np.float32) if norm else weights


@lru_cache(maxsize=65536)
def _word_features(
    word: str, buckets: int, ngram_sizes: tuple[int, ...], ngram_weight: float
) -> tuple[tuple[int, float], ...]:
    marked = f"<{word}>"
    ngrams = [marked[i : i + size] for size in ngram_sizes for i in range(len(marked) - size + 1)]
    features = [(hash32(f"w:{word}") % buckets, 1.0)]
    features += [(hash32(f"c:{gram}") % buckets, ngram_weight / len(ngrams)) for gram in ngrams]
    return tuple(features)

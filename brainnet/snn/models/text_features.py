"""Text features by hashing: words, number shapes, punctuation and character n-grams, without a vocabulary file.

All features are pure functions of the text (NFKC, lower case), equal on every machine and in every process: hashes are
BLAKE2b, never Python's salted `hash`.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brainnet.texts import COMBINING_MARKS

__all__ = [
    "WORD_PATTERN",
    "HashedVocabulary",
    "SubwordVocabulary",
    "clip_middle",
    "hash32",
    "limit_marks",
    "normalise",
    "route_tokens",
    "words",
]

_T = TypeVar("_T")

MAX_CACHED_WORDS = 50_000
MAX_WORD = 64
"""Characters of a word of which n-grams are made, and of a word that a cache holds.

Longer ones are hardly words; their n-grams would fill the caches, and take time that no answer is worth."""
MAX_MARKS = 30
"""Combining marks in a row that are read, as in Unicode's Stream-Safe Text Format (UAX #15); further ones are dropped.

Canonical ordering takes time with the square of their number: 100,000 marks took 5 s."""

_LETTERS = rf"[^\W_](?:[^\W_]|[{COMBINING_MARKS}])*"
WORD_PATTERN = rf"{_LETTERS}(?:['’]{_LETTERS})*"
"""A word of any script in a text as it was written, with its vowel signs and accents, at which a plain word ends."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Only tried on texts without an underscore, which \w would take for a letter.
_MARKED_WORD = re.compile(rf"\w[\w{COMBINING_MARKS}]*(?:['’][\w{COMBINING_MARKS}]+)*")
# Scripts that are written without spaces between words, one run of each. The Chinese characters and the two sorts of
# Japanese letters are apart, because most words of Japanese begin where one of them ends.
_RUN = re.compile(
    r"[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]+"  # Chinese characters
    r"|[\u3041-\u309f]+|[\u30a1-\u30ff\u31f0-\u31ff]+"  # Hiragana; Katakana
    r"|[\u0e00-\u0e7f]+|[\u0e80-\u0eff]+|[\u1780-\u17ff]+|[\u1000-\u109f\uaa60-\uaa7f]+"  # Thai, Lao, Khmer, Burmese
    r"|[^\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uaa60-\uaa7f\uf900-\ufaff\U00020000-\U000323af]+"
)
_SPACELESS = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uaa60-\uaa7f\uf900-\ufaff\U00020000-\U000323af]"
)
# A letter with its marks; marks without a letter too.
_CLUSTER = re.compile(rf"[^{COMBINING_MARKS}][{COMBINING_MARKS}]*|[{COMBINING_MARKS}]+")
_MARKED_LETTERS = rf"[^\W\d_](?:[^\W\d_]|[{COMBINING_MARKS}])*"
_ROUTE_TOKEN = re.compile(
    rf"[-+−]?(?:\d+\.\d+|\.\d+|\d+)|{_MARKED_LETTERS}(?:['’]{_MARKED_LETTERS})*|[?!.,:;()\[\]\"“”]"
)
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Letters of scripts in which a run of letters may hold several words: Thai, Lao, Burmese, Khmer, Japanese, Chinese,
and Korean, whose particles follow their noun."""
MAX_PIECE = 8
"""Characters of the longest word that is looked for within such a run."""
_NUMBER = re.compile(r"[-+−]?(?:\d+\.\d+|\.\d+|\d+)")


def normalise(text: str) -> str:
    """Return the text NFKC-normalised and in lower case, with at most `MAX_MARKS` combining marks in a row."""
    return unicodedata.normalize("NFKC", limit_marks(text)).lower()


def limit_marks(text: str) -> str:
    """Return the text with at most `MAX_MARKS` combining marks in a row, so that normalising it takes linear time."""
    if text.isascii():
        return text
    kept, run = [], 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run <= MAX_MARKS:
            kept.append(character)
    return text if len(kept) == len(text) else "".join(kept)


def words(text: str) -> list[str]:
    """Return the words of a text in order, normalised: letters with their marks, and digits, with apostrophes inside.

    Of a script that is written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) the words are the pairs of
    neighbouring characters of each run, and the character of a run of one: "東京駅" is "東京", "京駅". Such pairs find
    about as well as words do (Nie, Gao, Zhang and Zhou 2000, *On the use of words and n-grams for Chinese information
    retrieval*), and need no dictionary. The words of a word are that word.
    """
    normal = normalise(text)
    if normal.isascii():
        return _WORD.findall(normal)
    found: list[str] = _MARKED_WORD.findall(normal.replace("_", " "))
    if not _SPACELESS.search(normal):
        return found
    return [part for word in found for part in _parts(word)]


def _parts(word: str) -> list[str]:
    if not _SPACELESS.search(word):
        return [word]
    parts = []
    for run in _RUN.findall(word):
        if not _SPACELESS.match(run):
            parts += _MARKED_WORD.findall(run)
            continue
        letters = _CLUSTER.findall(run)
        parts += [one + other for one, other in pairwise(letters)] or letters
    return parts


def route_tokens(text: str) -> list[str]:
    """Return the tokens for routing: words, punctuation, and the shapes of numbers.

    A number becomes `<decimal>` or `<integer>`: its value does not change the route.
    """
    return [_shape(token) for token in _ROUTE_TOKEN.findall(normalise(text))]


def _shape(token: str) -> str:
    if not _NUMBER.fullmatch(token):
        return token
    return "<decimal>" if "." in token else "<integer>"


def clip_middle(items: Sequence[_T], limit: int) -> list[_T]:
    """Return at most `limit` items: the middle is dropped, one third of the limit comes from the end.

    The request of a long prompt usually stands at its beginning or at its end.
    """
    if len(items) <= limit:
        return list(items)
    tail = limit // 3
    return [*items[: limit - tail], *items[len(items) - tail :]]


def hash32(token: str) -> int:
    """Return a 32-bit hash of a token, the same on every machine."""
    # only what may come again is kept: the cache is limited in number, and so this limits its bytes, too
    return _cached_hash(token) if len(token) <= MAX_WORD else _hash(token)


def _hash(token: str) -> int:
    # a lone surrogate has no UTF-8
    return int.from_bytes(hashlib.blake2b(token.encode(errors="replace"), digest_size=4).digest(), "little")


_cached_hash = lru_cache(maxsize=65536)(_hash)


class HashedVocabulary:
    """A map from tokens to rows of an embedding table, given by the sorted hashes of the known tokens.

    Row 0 is padding; rows 1 to `unknown_rows` are shared by unknown tokens (chosen by hash); then follows one row per
    known token. With 32 bits a collision among a few thousand tokens is unlikely, and `build` refuses it.

    Raises:
        ValueError: `unknown_rows` is below 1, or the hashes are not sorted and distinct.
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
        """Return the vocabulary of these tokens.

        Raises:
            ValueError: two tokens have the same hash.
        """
        distinct = sorted(set(tokens))
        hashes = np.unique(np.array([hash32(token) for token in distinct], np.int64))
        if len(hashes) != len(distinct):
            raise ValueError("two tokens share a 32-bit hash; rename one of them")
        return cls(hashes, unknown_rows)

    def __len__(self) -> int:
        return 1 + self.unknown_rows + len(self.hashes)

    def rows(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of the embedding table, int64 [len(tokens)]."""
        hashes = np.array([hash32(token) for token in tokens], np.int64)
        unknown = 1 + hashes % self.unknown_rows
        if not len(self.hashes):
            return unknown
        # searchsorted returns len(hashes) for hashes above all known ones
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[at] == hashes, 1 + self.unknown_rows + at, unknown)


class SubwordVocabulary:
    """A map from words to rows of a table: a known word has its own row, others the rows of their n-grams.

    Rows 0 to len(hashes) - 1 belong to the known words, in the order of their hashes. The n-grams share `buckets` more,
    chosen by hash (Bojanowski et al. 2017, *Enriching word vectors with subword information*).
    """

    def __init__(self, hashes: NDArray[np.int64], buckets: int, ngram_sizes: Sequence[int] = (3, 4, 5)) -> None:
        self.hashes, self.buckets, self.ngram_sizes = hashes, buckets, tuple(ngram_sizes)
        # searched by bisection: a dict of them would take ten times the memory, and longer to make
        self._sorted = array("q", hashes.tolist())
        self._rows: dict[str, tuple[int, ...]] = {}

    @classmethod
    def build(cls, known: Iterable[str], buckets: int, ngram_sizes: Sequence[int] = (3, 4, 5)) -> SubwordVocabulary:
        """Return the vocabulary of these words; words with the same 32-bit hash share a row."""
        return cls(np.unique(np.array([hash32(word) for word in known], np.int64)), buckets, ngram_sizes)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.hashes) + self.buckets

    def rows(self, word: str) -> tuple[int, ...]:
        """Return the rows of a word, one or more."""
        rows = self._rows.get(word)
        if rows is None:
            known = self._row(word)
            rows = self.ngram_rows(word) if known is None else (known,)
            # bounded, because any text may come; the first words of a stream are mostly the frequent ones
            if len(self._rows) < MAX_CACHED_WORDS and len(word) <= MAX_WORD:
                self._rows[word] = rows
        return rows

    def _row(self, word: str) -> int | None:
        known = hash32(word)
        at = bisect_left(self._sorted, known)
        return at if at < len(self._sorted) and self._sorted[at] == known else None

    def pieces(self, word: str) -> list[str]:
        """Return the words that a run of letters of a script without spaces between words consists of.

        From left to right the longest known word is taken; what lies between known words is a piece of its own. A word
        that is known, or of another script, or without a known word in it, is returned whole. Of a run of more than
        `MAX_WORD` characters every part of `MAX_WORD` characters is read by itself.
        """
        if word.isascii() or not _UNSPACED.search(word) or self._row(word) is not None:
            return [word]
        found: list[str] = []
        for first in range(0, len(word), MAX_WORD):
            found += self._longest_known(word[first : first + MAX_WORD])
        return found

    def _longest_known(self, run: str) -> list[str]:
        found: list[str] = []
        unknown = at = 0
        while at < len(run):
            lengths = range(min(MAX_PIECE, len(run) - at), 0, -1)
            size = next((size for size in lengths if self._row(run[at : at + size]) is not None), 0)
            if size:
                if unknown < at:
                    found.append(run[unknown:at])
                found.append(run[at : at + size])
                unknown = at + size
            at += size or 1
        if unknown < len(run):
            found.append(run[unknown:])
        return found

    def ngram_rows(self, word: str) -> tuple[int, ...]:
        """Return the rows of the n-grams of a word with its boundaries marked, known or not.

        Of a word of more than `MAX_WORD` characters, those of the first `MAX_WORD`.
        """
        marked = f"<{word[:MAX_WORD]}>"
        grams = [marked[i : i + size] for size in self.ngram_sizes for i in range(len(marked) - size + 1)]
        return tuple(len(self.hashes) + hash32(gram) % self.buckets for gram in grams or [marked])

    def bag(self, text: str) -> tuple[list[int], list[float]]:
        """Return the rows of the words of a text, and their weights.

        The weight of a word is the square root of its count, divided among its rows.
        """
        rows: list[int] = []
        weights: list[float] = []
        found = words(text)
        if not text.isascii():
            found = [piece for word in found for piece in self.pieces(word)]
        for word, count in Counter(found).items():
            word_rows = self.rows(word)
            rows += word_rows
            # the usual case, without the square root and the list
            if len(word_rows) == count == 1:
                weights.append(1.0)
            else:
                weights += [math.sqrt(count) / len(word_rows)] * len(word_rows)
        return rows, weights

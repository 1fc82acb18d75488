"""Cuts pairs of texts into pieces of words, as the model that the cross-encoder begins with was trained on them.

The library `tokenizers` cuts in the same way and as fast, and what is here is tested against it. It keeps a vocabulary
of 82,655 pieces in 62 MB, as a tree with a hash table in each node; in a dictionary it takes 14 MB.
"""

from __future__ import annotations

import math
import re
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache

BEGIN, PADDING, END, UNKNOWN = range(4)
"""Numbers of the pieces that stand for no text."""
WORD = "▁"
"""What a piece at the beginning of a word begins with."""
MAX_TOKENS = 96
"""Tokens of a question and a statement together; of longer ones the longer text is cut first."""
_SIGNS = 3
"""Tokens that are added to a pair: its begin, and an end after each text."""
_UNKNOWN_PENALTY = 10.0
"""How much less probable an unknown letter is than the least probable piece, as in SentencePiece."""
_KEPT_WORDS = 4096
_CAPITALS = re.compile(r"\b[^\W\d_a-z]{4,}\b")


class Pieces:
    """Cuts texts into the most probable pieces (unigram language model; Kudo 2018, *Subword regularization*).

    Args:
        pieces: The vocabulary in the order of the numbers; the first are BEGIN, PADDING, END and UNKNOWN.
        scores: Logarithm of the probability of each.
    """

    def __init__(self, pieces: Sequence[str], scores: Sequence[float]) -> None:
        self._numbers = {piece: number for number, piece in enumerate(pieces) if number > UNKNOWN}
        self._scores = array("f", scores)
        self._longest = max(map(len, pieces), default=1)
        self._unknown = min(scores, default=0.0) - _UNKNOWN_PENALTY
        # Words come again and again: in the statements of a memory, and in the questions about them.
        self._word = lru_cache(_KEPT_WORDS)(self._cut_word)

    def pairs(self, question: str, statements: Sequence[str]) -> list[list[int]]:
        """Return the numbers of the pieces of the question together with each statement, `MAX_TOKENS` at most."""
        asked = self.cut(question)
        pairs = []
        for statement in statements:
            said = self.cut(statement)
            of_asked, of_said = _shares(len(asked), len(said), MAX_TOKENS - _SIGNS)
            pairs.append([BEGIN, *asked[:of_asked], END, *said[:of_said], END])
        return pairs

    def cut(self, text: str) -> list[int]:
        """Return the numbers of the pieces of a text."""
        return [number for word in _words(text) for number in self._word(word)]

    def _cut_word(self, word: str) -> tuple[int, ...]:
        """Find the most probable pieces by dynamic programming over the places between letters (Viterbi 1967)."""
        best = [0.0, *[-math.inf] * len(word)]
        last = [(0, UNKNOWN)] * (len(word) + 1)
        for start in range(len(word)):
            before = best[start]
            known = False
            for end in range(start + 1, min(start + self._longest, len(word)) + 1):
                number = self._numbers.get(word[start:end])
                if number is None:
                    continue
                known = known or end == start + 1
                if before + self._scores[number] > best[end]:
                    best[end], last[end] = before + self._scores[number], (start, number)
            if not known and before + self._unknown > best[start + 1]:
                best[start + 1], last[start + 1] = before + self._unknown, (start, UNKNOWN)
        found: list[int] = []
        end = len(word)
        while end:
            end, number = last[end]
            # Unknown letters in a row are one piece.
            if number != UNKNOWN or found[-1:] != [UNKNOWN]:
                found.append(number)
        return tuple(reversed(found))


def _words(text: str) -> Iterator[str]:
    """Return the words of a text, each with what begins a word in front.

    Words in capital letters and curly apostrophes are written in the usual way: they are rare in what was learned.
    """
    plain = _CAPITALS.sub(_small, text.replace("’", "'"))
    return (f"{WORD}{word}" for word in unicodedata.normalize("NFKC", plain).replace(WORD, " ").split())


def _small(found: re.Match[str]) -> str:
    word = found.group()
    return word.lower() if word.isupper() else word


def _shares(first: int, second: int, most: int) -> tuple[int, int]:
    """Return how many tokens of two texts are kept: all of the shorter one, if it is not more than half."""
    if first + second <= most:
        return first, second
    if min(first, second) <= most // 2:
        return (first, most - first) if first < second else (most - second, second)
    return most // 2 + (most % 2 if first > second else 0), most // 2 + (most % 2 if first <= second else 0)

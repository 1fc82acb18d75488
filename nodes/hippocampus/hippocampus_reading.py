"""Statements and questions as the judge reads them: their content words, names, numbers, and who speaks of whose."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from brainnet.memory import plain_words, terms
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.snn.models.text_features import WORD_PATTERN
from hippocampus_grammar import (
    COPULAS,
    FUNCTION_WORDS,
    I_WORDS,
    MY,
    NEGATIONS,
    NUMBER_WORDS,
    PLACE_WORDS,
    TIME_WORDS,
    YOU_WORDS,
    YOUR,
)
from hippocampus_senses import Lexicon

MAX_WORDS = 64
"""Content words of a text that are compared; more are left out."""
MAX_CHARACTERS = 4000
"""Characters of a text that are read."""
MAX_KEPT_WORDS = 50_000
"""Words whose vectors are kept."""
_PRONOUNS = frozenset("he she it they him her them his its their theirs hers one ones true same must yes no".split())  # noqa: SIM905
_ASKING = frozenset(
    plain_words("""
        tell know remember recall say show find please give remind told weisst weißt kannst sagen sag erinnerst sais
        peux dire sabes puedes decirme decir sai puoi dirmi sabe pode dizer weet kun zeggen
    """)
)
"""Words beside "you" in a question that is put politely."""
_TOKEN = re.compile(rf"{WORD_PATTERN}|[.!?:;]")


@dataclass(frozen=True, slots=True)
class Word:
    """A content word of a text.

    Attributes:
        word: As `plain_words` gives it.
        terms: Its terms; a word of Japanese may have several.
        name: It is written as a name, or may be one.
        number: It holds a digit, or is a word for a number.
        before: It stands before the first verb of the small words: it belongs to what the text is about.
        place: A preposition of place stands before it.
        owner: It has a possessive ending.
        at: Its position among all words.
    """

    word: str
    terms: frozenset[str]
    name: bool
    number: bool
    before: bool
    place: bool
    owner: bool
    at: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says, word by word.

    Attributes:
        words: Its content words.
        my: It speaks of what is the user's, or of the user.
        your: It speaks of what is the brain's, or of the brain.
        negated: It holds a negation.
        place: It names a place by a preposition.
        time: It names a time.
        number: It holds a number.
        terms: The terms of all words.
        length: Number of all words.
        language: Its language, "" if unknown.
        speaker: The user says "I".
    """

    words: tuple[Word, ...]
    my: bool
    your: bool
    negated: bool
    place: bool
    time: bool
    number: bool
    terms: frozenset[str]
    length: int
    language: str = ""
    speaker: bool = False


def read(text: str, lexicon: Lexicon, content: Collection[str] | None = None, language: str = "") -> Reading:
    """Read a text.

    Args:
        text: The text.
        lexicon: Decides what may be a name: a word with a capital that it does not have.
        content: The words that count, as `plain_words` gives them; all but function words by default.
        language: Its language, ISO 639-1, if that is known.
    """
    wanted = None if content is None else set(content)
    words: list[Word] = []
    all_words: list[str] = []
    tokens = _TOKEN.findall(text[:MAX_CHARACTERS])
    met: set[str] = set()
    starts = True  # of a sentence
    before = True
    place = False
    for token in tokens:
        if token in ".!?:;":
            starts = True
            continue
        for plain in plain_words(token):
            all_words.append(plain)
            base = plain.removesuffix("'s")
            if plain in COPULAS and words:
                before = False
            counts = (base not in FUNCTION_WORDS and plain not in FUNCTION_WORDS) or (
                len(all_words) > 1 and token[:1].isupper() and not starts and len(plain) > 2
            )
            if wanted is not None:
                counts = (plain in wanted or base in wanted) and base not in met
            if not counts:
                place = place or plain in PLACE_WORDS
                continue
            number = any(c.isdigit() for c in plain) or plain in NUMBER_WORDS
            capital = token[:1].isupper() and token[1:2].islower()
            name = not number and base not in TIME_WORDS and (capital and (not starts or not lexicon.known(base)))
            found = Word(
                base,
                frozenset(terms(plain)),
                name,
                number,
                before,
                # "on Sunday", "at 9" say when, not where.
                place and not number and base not in TIME_WORDS,
                plain.endswith("'s"),
                len(all_words) - 1,
            )
            if len(words) < MAX_WORDS:
                words.append(found)
                met.add(base)
            place = False
        starts = False
    said = set(all_words)
    return Reading(
        tuple(words),
        bool(said & MY) or bool(said & I_WORDS),
        bool(said & YOUR) or _speaks_of_you(all_words),
        bool(said & NEGATIONS) or any(word.endswith("n't") for word in all_words),
        any(word.place for word in words),
        bool(said & TIME_WORDS) or any(word.number and _may_be_time(word.word) for word in words),
        any(word.number for word in words),
        frozenset(term for word in words for term in word.terms),
        len(all_words),
        language,
        bool(said & I_WORDS),
    )


def _may_be_time(number: str) -> bool:
    """Return whether a number may be of a day, an hour or a year: not "311" or "4711"."""
    digits = "".join(c for c in number if c.isdigit())
    return len(digits) <= 2 or (len(digits) == 4 and digits[:2] in ("18", "19", "20"))


def _speaks_of_you(words: Sequence[str]) -> bool:
    """Return whether "you" is more than who is asked: "do you know where", "can you tell me"."""
    for i, word in enumerate(words):
        around = {*words[max(0, i - 2) : i], *words[i + 1 : i + 3]}
        if word in YOU_WORDS and not around & _ASKING:
            return True
    return False


_DEGREES = frozenset("often much many".split())  # noqa: SIM905
"""What stands after "how": the answer, and not what it is about."""


def content_of(subject: Sequence[str]) -> list[str]:
    """Return the words of a prompt's subject without pronouns and "how often"; all of them if there are no others."""
    return [word for word in subject if word not in _PRONOUNS and word not in _DEGREES] or list(subject)


@lru_cache(maxsize=50_000)
def spelling(asked: str, said: str) -> float:
    """Return how alike two words are spelt, in [0, 1]: an inflection, or a part of a compound; else 0."""
    if asked == said:
        return 1.0
    short, long = (asked, said) if len(asked) <= len(said) else (said, asked)
    # Most words differ in their first letters, and do not hold one another.
    if len(short) < 3 or (short[:3] != long[:3] and short not in long) or any(c.isdigit() for c in long):
        return 0.0
    common = 0
    for left, right in zip(short, long, strict=False):
        if left != right:
            break
        common += 1
    rest = len(long) - common + len(short) - common
    if common >= 3 and rest <= 1:
        return 0.95
    if common >= 5 and rest <= 3:
        return 0.8
    if len(short) >= 5 and len(long) - len(short) >= 3 and (long.endswith(short) or long.startswith(short)):
        return 0.75
    return 0.0


def rarity(held: int, count: int) -> float:
    """Compute the rarity of a word that `held` of `count` statements have: 1 for none of them, 0 for all."""
    return max(0.0, math.log((count + 1) / (held + 0.5)) / math.log((count + 1) / 0.5))


class WordVectors:
    """The embedder's vectors of single words, each computed once."""

    def __init__(self, embedder: SpikingTextEmbedder) -> None:
        self._embedder = embedder
        self._number: dict[str, int] = {}
        self._vectors = np.zeros((256, embedder.width), np.float32)
        self._weights = np.zeros(256, np.float32)
        known = slice(0, len(embedder.vocabulary.hashes) or None, 8)  # an eighth of them is enough for a median
        lengths = np.linalg.norm(embedder.rows[known].astype(np.float32), axis=1) * embedder.scale[known]
        self._middle = float(np.median(lengths)) or 1.0

    def numbers(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Return the numbers of words, int64 [words]; they hold until the next call."""
        if len(self._number) > MAX_KEPT_WORDS:
            self._number.clear()
        new = [word for word in dict.fromkeys(words) if word not in self._number]
        if new:
            first = len(self._number)
            while first + len(new) > len(self._vectors):
                self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
                self._weights = np.concatenate([self._weights, np.zeros_like(self._weights)])
            self._vectors[first : first + len(new)] = self._embedder.word_vectors(new)
            self._weights[first : first + len(new)] = [self._length(word) / self._middle for word in new]
            self._number.update((word, first + i) for i, word in enumerate(new))
        return np.array([self._number[word] for word in words], np.int64)

    def _length(self, word: str) -> float:
        """Return the length of a word's row, which was learned as smaller for words that say little."""
        rows = list(self._embedder.vocabulary.rows(word))
        scaled = self._embedder.rows[rows].astype(np.float32) * self._embedder.scale[rows][:, None]
        return float(np.linalg.norm(scaled.mean(0)))

    def vectors(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of numbered words, float32 [words, D]."""
        return self._vectors[numbers]

    def weights(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return how much each of them counts in a text, 1 for the known word in the middle, float32 [words]."""
        return self._weights[numbers]

"""Words as memory compares them: without case, accents and endings, in any script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final

from brainnet.memory.stemming import stem
from brainnet.snn.models.text_features import MAX_WORD, limit_marks, words

__all__ = ["fold", "kinship", "plain_words", "term_of", "terms"]

# Marks that are often left out in writing: accents, the points of Hebrew and Arabic, the nukta of Hindi. The breve
# makes another letter of the Cyrillic и, and the marks of all other scripts are vowels.
_ACCENTS = re.compile(
    r"(?<![иИ])\u0306"
    r"|[\u0300-\u0305\u0307-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    r"\u093c\u09bc\u0a3c\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe2f]"
)
# Letters that Unicode does not decompose, and characters that do not count: the Arabic tatweel, joiners, direction
_LETTERS: Final = str.maketrans(
    {
        "’": "'", "ʼ": "'", "ı": "i", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D",
        "þ": "th", "Þ": "Th", "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ٱ": "ا", "ى": "ي",
        "ة": "ه", "ک": "ك", "ی": "ي", "ـ": None, "\u200c": None, "\u200d": None, "\u200e": None, "\u200f": None,
    }
)  # fmt: skip
# The snowball stemmer of a script that mostly one of the languages is written in
_SCRIPT_STEMMERS: Final = ((0x0370, 0x03FF, "greek"), (0x0400, 0x04FF, "russian"), (0x0900, 0x097F, "hindi"),
                           (0x0B80, 0x0BFF, "tamil"), (0x0530, 0x058F, "armenian"))  # fmt: skip
_SNOWBALL: Final = {
    "cs": "czech", "da": "danish", "de": "german", "es": "spanish", "fi": "finnish", "fr": "french", "it": "italian",
    "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese", "sv": "swedish", "tr": "turkish",
}  # fmt: skip
"""The stemmers for languages in Latin letters."""
_COMPOUNDING: Final = frozenset({"da", "de", "fi", "nl", "no", "sv"})
"""Languages that write the parts of a compound as one word."""
MIN_PART: Final = 4
"""Letters of the shortest part of a compound that is recognised."""
MIN_REST: Final = 3
"""Letters that a compound has beside such a part."""

_ELIDED = re.compile(
    r"(?:([cdjlmnst]|qu|jusqu|lorsqu|puisqu|presqu|quelqu|un|(?:de|ne|a|da|su|que)ll|quest|quant|gl|degl|anch)'([^']{2,})"
    r"|(dov|com|cos|quand)'([^']{1,}))"
)

_ARABIC_ARTICLE = re.compile(r"[وف]?(?:ال|بال|كال|لل)(?=..)")
_ARABIC_ENDING = re.compile(r"(?:ها|ان|ات|ون|ين|يه|ه|ي)$")
_KOREAN_PARTICLES: Final = (
    "에서", "으로", "까지", "부터", "한테", "에게", "은", "는", "이", "가", "을", "를", "의", "에",
    "로", "와", "과", "도", "만",
)  # fmt: skip


def plain_words(text: str) -> list[str]:
    """Return the words of a text in order, as they are compared: in lower case, without accents.

    A hyphen separates words; an apostrophe within a word stays, as ' whatever its form in the text. Of what is written
    without spaces between words, the words are pairs of characters, as `words` makes them.
    """
    if text.isascii():
        return words(text) if "'" not in text else _split(words(text))
    decomposed = unicodedata.normalize("NFKD", limit_marks(text).translate(_LETTERS))
    # translated again: what decomposition brings to light, such as the letters of Arabic in their forms of display
    return _split(words(_ACCENTS.sub("", decomposed).translate(_LETTERS)))


def _split(found: list[str]) -> list[str]:
    """Separate the words that French and Italian write together with the next one ("l'huile", "dell'auto")."""
    parts = (_ELIDED.fullmatch(word) if "'" in word else None for word in found)
    return [
        part
        for word, two in zip(found, parts, strict=True)
        for part in (filter(None, two.groups()) if two else (word,))
    ]


@lru_cache(maxsize=4096)
def _folded(character: str) -> str:
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", character.translate(_LETTERS)))
    return unicodedata.normalize("NFC", plain.translate(_LETTERS).lower())


def fold(text: str) -> tuple[str, list[int]]:
    """Return a text as phrases are compared with it: in lower case, without accents, with its punctuation.

    Returns:
        The folded text, and for each of its characters the place in `text` of the one that it was made from, with the
        length of `text` at the end.
    """
    if text.isascii():
        return text.lower(), list(range(len(text) + 1))
    parts = [_folded(character) for character in text]
    places = [place for place, part in enumerate(parts) for _ in part]
    return "".join(parts), [*places, len(text)]


def terms(text: str) -> list[str]:
    """Return the terms of a text in order: `term_of` each of its `plain_words`.

    Whether a text holds a word is always decided by its terms: in the index, in a search and in what is made of a hit.
    """
    return [term_of(word) for word in plain_words(text)]


def term_of(word: str) -> str:
    """Return the term of one of the `plain_words`: its stem, without a possessive.

    The stem depends on the word alone, since it is uncertain which of the languages a short text is in: words in Latin
    letters are taken for English, those in Cyrillic for Russian, those in Devanagari for Hindi, Greek and Tamil for
    themselves. Of Arabic and Hebrew words the article and the prefixes are removed, of Korean ones the particles.
    `kinship` compares words by the rules of theirs.
    """
    # texts repeat their words, and stemming one takes microseconds in Python
    return _cached_term(word) if len(word) <= MAX_WORD else _term(word)


def _term(word: str) -> str:
    word = word.removesuffix("'s").replace("'", "")
    if word.isascii() or len(word) > MAX_WORD:
        return stem(word)
    first = ord(word[0])
    if 0x0590 <= first <= 0x05FF:
        return _hebrew_stem(word)
    if 0x0600 <= first <= 0x06FF:
        return _arabic_stem(word)
    if 0xAC00 <= first <= 0xD7A3:
        return _korean_stem(word)
    for start, end, name in _SCRIPT_STEMMERS:
        if start <= first <= end:
            return _snowball(name)(word) or word
    return stem(word)


# limited in number, and by MAX_WORD in bytes
_cached_term = lru_cache(maxsize=65536)(_term)


@cache
def _snowball(name: str) -> Callable[[str], str]:
    import snowballstemmer

    stem_word: Callable[[str], str] = snowballstemmer.stemmer(name).stemWord
    return stem_word


def _arabic_stem(word: str) -> str:
    """Remove the article with what is written together with it, and one ending (Larkey et al. 2007, *light10*)."""
    article = _ARABIC_ARTICLE.match(word)
    rest = word[article.end() :] if article else word
    ending = _ARABIC_ENDING.search(rest[2:])
    return rest[: 2 + ending.start()] if ending else rest


def _hebrew_stem(word: str) -> str:
    """Remove all letters in front that may be prefixes, as long as three letters remain.

    That removes letters of some stems too, but the same ones whether the word has a prefix or not.
    """
    while len(word) > 3 and word[0] in "הבלמשוכ":
        word = word[1:]
    return word


def _korean_stem(word: str) -> str:
    """Remove particles, one after the other, as long as two syllables remain."""
    while True:
        shorter = next((word.removesuffix(p) for p in _KOREAN_PARTICLES if word.endswith(p) and len(word) > 2), word)
        if shorter == word or len(shorter) < 2:
            return word
        word = shorter


def kinship(word: str, other: str, tongue: str) -> float:
    """Return how near two plain words of one of the languages are, in [0, 1]; it does not depend on their order.

    1.0: they have the same term. 0.9: they have the same stem by its rules (Snowball). 0.6: one is the
    first or last part of the other, in languages that write compounds as one word ("schlüssel", "haustürschlüssel").
    0.0: otherwise; so in English and in languages without a stemmer, other terms are other words.
    """
    if term_of(word) == term_of(other):
        return 1.0
    if min(len(word), len(other)) < MIN_REST or max(len(word), len(other)) > MAX_WORD:
        return 0.0
    if tongue in _SNOWBALL and _stem_in(word, tongue) == _stem_in(other, tongue):
        return 0.9
    if tongue in _COMPOUNDING:
        shorter, longer = sorted((word, other), key=len)
        if len(longer) - len(shorter) >= MIN_REST and len(shorter) >= MIN_PART:
            base = _stem_in(shorter, tongue)
            if longer.startswith(shorter) or _stem_in(longer, tongue).endswith(base):
                return 0.6
    return 0.0


@lru_cache(maxsize=16384)
def _stem_in(word: str, tongue: str) -> str:
    return _snowball(_SNOWBALL[tongue])(word) or word

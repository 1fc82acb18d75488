# mypy: allow-untyped-calls, no-warn-return-any
"""Words of many languages with their frequencies, from the PyPI package wordfreq (its data: CC BY-SA 4.0)."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterable
from dataclasses import dataclass

from brainnet.snn.models.text_features import words

LANGUAGES = {
    "de": 9000, "fr": 8000, "es": 8000, "it": 6000, "pt": 5000, "ja": 4000, "nl": 4000, "pl": 4000, "ru": 4000,
    "zh": 3000, "ko": 3000, "ar": 3000, "tr": 2500,
}  # fmt: skip
"""How many words of each language have a row of their own, most frequent first: ISO 639-1 code -> number.

They are languages that the multilingual teacher knows."""
WIDER = 2
"""So many times as many words of each language are used for the fit of the n-grams."""
RAREST = 1.0
"""Zipf value of words that no list holds."""
LEADS = 0.5
"""By so much the Zipf value of a word in another language must exceed that in English to be read as that language."""
COMMON = 4.3
"""English words of at least this Zipf value are read as English in any case."""


@dataclass(frozen=True)
class Lexicon:
    """Words and their frequencies.

    A frequency is given as a Zipf value: the decimal logarithm of the number of occurrences in a billion words (van
    Heuven et al. 2014, *SUBTLEX-UK*).

    Attributes:
        english: English words, most frequent first, with their Zipf values.
        foreign: Words of other languages, the most frequent ones of each, with the highest of their Zipf values.
        wider: The same of more words.
        languages: The language of each of these words, as an ISO 639-1 code.
    """

    english: dict[str, float]
    foreign: dict[str, float]
    wider: dict[str, float]
    languages: dict[str, str]

    def zipf(self, word: str) -> float:
        """Return the Zipf value of a word in the language in which it is most frequent."""
        return max(self.english.get(word, RAREST), self.wider.get(word, RAREST))

    def language(self, word: str) -> str:
        """Return the language to which a word belongs; English where no list says otherwise."""
        english = self.english.get(word, 0.0)
        if english >= COMMON or self.wider.get(word, 0.0) <= english + LEADS:
            return "en"
        return self.languages[word]


def find_lexicon() -> Lexicon | None:
    """Read the word lists; None where wordfreq is not installed."""
    if importlib.util.find_spec("wordfreq") is None:
        return None
    wordfreq = importlib.import_module("wordfreq")

    def zipf(language: str) -> dict[str, float]:
        shares = wordfreq.get_frequency_dict(language, "best")
        return {word: math.log10(share) + 9 for word, share in shares.items() if share > 0}

    foreign: dict[str, float] = {}
    wider: dict[str, float] = {}
    languages: dict[str, str] = {}
    for language, count in LANGUAGES.items():
        values = zipf(language)
        kept = single_words(wordfreq.top_n_list(language, WIDER * count))
        for number, word in enumerate(kept):
            if values[word] > wider.get(word, 0.0):
                wider[word], languages[word] = values[word], language
            if number < count:
                foreign[word] = max(foreign.get(word, 0.0), values[word])
    return Lexicon(dict(sorted(zipf("en").items(), key=lambda entry: (-entry[1], entry[0]))), foreign, wider, languages)


def lexicon_of(ranked: Iterable[str]) -> Lexicon:
    """Make a lexicon of English words alone, which are given most frequent first.

    A word of rank r is taken to have the share 1 / (r ln(1.78 N)), by Zipf's law.
    """
    known = list(ranked)
    scale = math.log(1.78 * len(known))
    return Lexicon({word: 9 - math.log10((rank + 1) * scale) for rank, word in enumerate(known)}, {}, {}, {})


def single_words(candidates: Iterable[str]) -> list[str]:
    """Return those candidates that the embedder reads as one word."""
    return [word for word in candidates if words(word) == [word]]

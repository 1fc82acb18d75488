# mypy: allow-untyped-calls, no-warn-return-any
"""Words of many languages with their frequencies, from the PyPI package wordfreq (its data: CC BY-SA 4.0)."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable
from dataclasses import dataclass

from brainnet.snn.models.text_features import words

LANGUAGES = {
    "de": 12_000, "fr": 10_000, "es": 10_000, "it": 8000, "pt": 6000, "ja": 4500, "nl": 5000, "pl": 5000, "ru": 5000,
    "zh": 3500, "ko": 3500, "ar": 4000, "tr": 3000,
}  # fmt: skip
"""How many words of each language have a row of their own, most frequent first: ISO 639-1 code -> number.

They are languages that the multilingual teacher knows."""
WIDER = 5 / 3
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
    """

    english: dict[str, float]
    foreign: dict[str, float]
    wider: dict[str, float]

    def zipf(self, word: str) -> float:
        """Return the Zipf value of a word in the language in which it is most frequent."""
        return max(self.english.get(word, RAREST), self.wider.get(word, RAREST))

    def is_foreign(self, word: str) -> bool:
        """Say whether a word belongs to another language rather than to English."""
        english = self.english.get(word, 0.0)
        return word in self.foreign and self.foreign[word] > english + LEADS and english < COMMON


def find_lexicon() -> Lexicon | None:
    """Read the word lists; None where wordfreq is not installed."""
    if importlib.util.find_spec("wordfreq") is None:
        return None
    import wordfreq

    def zipf(language: str) -> dict[str, float]:
        shares = wordfreq.get_frequency_dict(language, "best")
        return {word: math.log10(share) + 9 for word, share in shares.items() if share > 0}

    foreign: dict[str, float] = {}
    wider: dict[str, float] = {}
    for language, count in LANGUAGES.items():
        values = zipf(language)
        kept = single_words(wordfreq.top_n_list(language, round(WIDER * count)))
        for number, word in enumerate(kept):
            wider[word] = max(wider.get(word, 0.0), values[word])
            if number < count:
                foreign[word] = max(foreign.get(word, 0.0), values[word])
    return Lexicon(dict(sorted(zipf("en").items(), key=lambda entry: (-entry[1], entry[0]))), foreign, wider)


def lexicon_of(ranked: Iterable[str]) -> Lexicon:
    """Make a lexicon of English words alone, which are given most frequent first.

    A word of rank r is taken to have the share 1 / (r ln(1.78 N)), by Zipf's law.
    """
    known = list(ranked)
    scale = math.log(1.78 * len(known))
    return Lexicon({word: 9 - math.log10((rank + 1) * scale) for rank, word in enumerate(known)}, {}, {})


def single_words(candidates: Iterable[str]) -> list[str]:
    """Return those candidates that the embedder reads as one word."""
    return [word for word in candidates if words(word) == [word]]

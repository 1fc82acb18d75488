"""Which of the languages of people a text is in, guessed from its script and its function words; their stop words."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

import yaml

from brainnet.memory.plain_text import plain_words

__all__ = ["LANGUAGES", "guess_language", "stop_words"]

MAX_GUESSED: Final = 2000
"""Characters of a text that are read for the guess."""
_FILE = Path(__file__).with_name("languages.yaml")
# The first that a text has a letter of decides between languages of one script; so Kana comes before Chinese.
_SCRIPTS: Final = {
    "ja": re.compile(r"[\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d]"),
    "ko": re.compile(r"[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]"),
    "zh": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]"),
    "uk": re.compile(r"[іїєґІЇЄҐ]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "el": re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]"),
    "he": re.compile(r"[\u0590-\u05ff]"),
    "ur": re.compile(r"[ٹڈڑںےھ]"),
    "fa": re.compile(r"[پچژگ]"),
    "ar": re.compile(r"[\u0600-\u06ff\u0750-\u077f]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "bn": re.compile(r"[\u0980-\u09ff]"),
    "pa": re.compile(r"[\u0a00-\u0a7f]"),
    "gu": re.compile(r"[\u0a80-\u0aff]"),
    "ta": re.compile(r"[\u0b80-\u0bff]"),
    "te": re.compile(r"[\u0c00-\u0c7f]"),
    "kn": re.compile(r"[\u0c80-\u0cff]"),
    "ml": re.compile(r"[\u0d00-\u0d7f]"),
    "si": re.compile(r"[\u0d80-\u0dff]"),
    "th": re.compile(r"[\u0e00-\u0e7f]"),
    "lo": re.compile(r"[\u0e80-\u0eff]"),
    "my": re.compile(r"[\u1000-\u109f]"),
    "km": re.compile(r"[\u1780-\u17ff]"),
    "ka": re.compile(r"[\u10a0-\u10ff]"),
    "hy": re.compile(r"[\u0530-\u058f]"),
    "am": re.compile(r"[\u1200-\u137f]"),
}
_ENGLISH_AT_LEAST: Final = 0.42
"""What an ASCII text has for English before its words are counted."""
_ENGLISH_TOO: Final = frozenset(
    """bed bin come den die door dove fast gem han hat her kind man minder not one pot size sole son sin take ten
    van war wit""".split()  # noqa: SIM905
)
"""Function words of other languages that are words of English too, which are no function words there."""
_LONE: Final = frozenset("cdjlmnst")
"""Letters that are words of French and Italian before an apostrophe, and units or initials elsewhere."""
_ENGLISH_TOO_WEIGHT: Final = 0.4
_LATIN = re.compile(r"[a-zA-Z\u00c0-\u024f\u1e00-\u1eff]")
# What else speaks for one of the languages in Latin letters: letters and common pairs of words, with their weight
_SIGNS: Final = (
    ("de", re.compile(r"(?<!\w)(?:der|die|das|mein|meine|unser|unsere) \w{1,30} (?:ist|sind)(?!\w)", re.I), 1.0),
    ("es", re.compile(r"(?<!\w)(?:el|la|los|mi|mis|tu|su) \w{1,30} (?:es|está|esta|son)(?!\w)", re.I), 1.0),
    ("fr", re.compile(r"(?<!\w)(?:le|la|les|mon|ma|mes|ton|ta) \w{1,30} (?:est|sont)(?!\w)", re.I), 1.0),
    ("de", re.compile(r"ß|[Üü](?=[bcdefghklmnrst])"), 1.0),
    ("es", re.compile(r"[ñÑ¿¡]|(?<!\w)no (?:come|bebe|tiene|es|está|vive|le|hay|puede)(?!\w)"), 1.0),
    ("pt", re.compile(r"[ãõÃÕ]|(?<!\w)[oO] (?=\w)"), 1.0),
    ("fr", re.compile(r"[œêûŒÊ]|(?<!\w)[àÀ](?!\w)"), 1.0),
    ("it", re.compile(r"(?<!\w)[èÈ](?!\w)|(?<=\w\w)[àìòù](?!\w)"), 1.0),
    (
        "nl",
        re.compile(
            r"(?<!\w)(?:is|en|of|van|in|aan) (?:de|het|een)(?!\w)|(?<!\w)(?:de|het|een) \w{1,20} is(?!\w)", re.I
        ),
        1.0,
    ),
    ("pl", re.compile(r"[łąęśźżćńŁŚŻ]"), 1.0),
    ("cs", re.compile(r"[řěůŘĚ]"), 1.0),
    ("tr", re.compile(r"[ışğİŞĞ]"), 1.0),
    ("sv", re.compile(r"[åäÅÄ]"), 0.7),
    ("fi", re.compile(r"[äÄ]"), 0.7),
    ("da", re.compile(r"[åÅ]"), 0.7),
    ("no", re.compile(r"[åÅ]"), 0.7),
    ("da", re.compile(r"[æøÆØ]"), 1.0),
    ("no", re.compile(r"[æøÆØ]"), 1.0),
    ("no", re.compile(r"kj|sj[eo]|øy"), 0.3),
)


@cache
def _lists() -> dict[str, dict[str, frozenset[str]]]:
    read: dict[str, dict[str, str]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return {
        tongue: {name: frozenset(plain_words(lines)) for name, lines in lists.items()} for tongue, lists in read.items()
    }


LANGUAGES: Final = (
    "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "fi", "pl", "cs", "ru", "uk", "tr", "el", "ar", "he",
    "hi", "ja", "zh", "ko",
)  # fmt: skip
"""The languages with lists of words, by their codes of ISO 639-1."""


def stop_words(tongue: str, *, asking: bool = False) -> frozenset[str]:
    """Return the function words of one of `LANGUAGES` as `plain_words`; empty for any other.

    Args:
        tongue: the code of ISO 639-1.
        asking: with the words of asking, telling and remembering.
    """
    lists = _lists().get(tongue)
    if lists is None:
        return frozenset()
    return lists["function"] | lists["asking"] if asking else lists["function"]


@cache
def _speaks_for() -> dict[str, dict[str, float]]:
    """Return for each word the languages that have it, with its weight: the fewer languages, the more it says."""
    latin = [tongue for tongue in LANGUAGES if tongue not in _SCRIPTS]
    # words of asking tell which it is as well as function words, but English prompts are full of them anyway
    held = {tongue: stop_words(tongue, asking=True) for tongue in latin}
    counts = Counter(word for words in held.values() for word in words)
    return {
        word: {tongue: _share(word, count) for tongue, words in held.items() if word in words}
        for word, count in counts.items()
    }


def _share(word: str, count: int) -> float:
    return (_ENGLISH_TOO_WEIGHT if word in _ENGLISH_TOO else 1.0) / count


def _is_ukrainian(text: str) -> bool:
    found = set(plain_words(text))
    return len(found & stop_words("uk", asking=True)) > len(found & stop_words("ru", asking=True))


def guess_language(text: str) -> str:
    """Guess which of the languages of people a text is in, from its first `MAX_GUESSED` characters.

    Returns:
        The code of ISO 639-1. Of those in Latin letters it is the one whose function words the text holds most of; a
        word counts the less the more languages have it. English if nothing speaks for another and all is ASCII; empty
        if there is nothing to guess from.
    """
    text = text[:MAX_GUESSED]
    if not text.isascii():
        latin = len(_LATIN.findall(text))
        other = sum(map(str.isalpha, text)) - latin
        # a name or a brand in Latin letters does not make a text of another script English
        if other * 3 > latin:
            guess = next((tongue for tongue, letter in _SCRIPTS.items() if letter.search(text)), "")
            return "uk" if guess == "ru" and _is_ukrainian(text) else guess
    weights = dict.fromkeys(LANGUAGES, 0.0)
    speaks_for = _speaks_for()
    for word in plain_words(text):
        if len(word) == 1 and word in _LONE:
            continue
        for tongue, weight in speaks_for.get(word, {}).items():
            weights[tongue] += weight
    if text.isascii():
        weights["en"] += _ENGLISH_AT_LEAST
    for tongue, sign, weight in _SIGNS:
        weights[tongue] += weight if sign.search(text) else 0.0
    best = max(weights.values())
    if best <= _ENGLISH_AT_LEAST and not any(map(str.isalpha, text)):
        return ""
    # English first among equals, then in the order of the lists
    return next(tongue for tongue in LANGUAGES if weights[tongue] >= best - 1e-9)

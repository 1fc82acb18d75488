"""Porter's stemmer: it reduces an English word to the stem that its inflected forms share.

M. F. Porter 1980, *An algorithm for suffix stripping*, Program 14(3), with the two changes that its author made in
his own programs: "bli" -> "ble" for "abli" -> "able", and "logi" -> "log".
"""

from __future__ import annotations

from itertools import pairwise

__all__ = ["stem"]

_STEP_2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble",
    "logi": "log",
}  # fmt: skip
_STEP_3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_STEP_4 = frozenset(
    "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize".split()  # noqa: SIM905
)
# the length of the longest suffixes, such as "ational" and "fulness"
_MAX_SUFFIX_LENGTH = 7


_MAX_LENGTH = 64
"""Letters of the longest word that is stemmed. The longest word of an English dictionary has 45."""


def stem(word: str) -> str:
    """Return the stem of a lower-case word.

    Words of one or two letters, of more than 64, and with other characters than a to z, are returned unchanged.
    """
    if not 3 <= len(word) <= _MAX_LENGTH or not (word.isascii() and word.isalpha()):
        return word
    # the comments name the steps of the paper: step 1a and 1b
    word = _remove_inflection(word)
    # step 1c
    if word.endswith("y") and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    # steps 2 to 4
    word = _replace_suffix(word, _STEP_2)
    word = _replace_suffix(word, _STEP_3)
    word = _remove_suffix(word)
    # steps 5a and 5b
    if word.endswith("e"):
        rest = word[:-1]
        if _measure(rest) > 1 or (_measure(rest) == 1 and not _ends_short(rest)):
            word = rest
    if word.endswith("ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word


def _remove_inflection(word: str) -> str:
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        rest = word.removesuffix(suffix)
        if rest == word or not _has_vowel(rest):
            continue
        if rest.endswith(("at", "bl", "iz")):
            return rest + "e"
        if len(rest) > 1 and rest[-1] == rest[-2] and _is_consonant(rest, len(rest) - 1) and rest[-1] not in "lsz":
            return rest[:-1]
        return rest + "e" if _measure(rest) == 1 and _ends_short(rest) else rest
    return word


def _replace_suffix(word: str, endings: dict[str, str]) -> str:
    """Return `word` with its longest matching suffix replaced, if the rest has a measure above 0."""
    # the longest suffix first, and only that one: if its condition fails, the paper tries no shorter suffix
    for length in range(min(_MAX_SUFFIX_LENGTH, len(word)), 1, -1):
        ending = word[-length:]
        if ending in endings:
            rest = word[:-length]
            return rest + endings[ending] if _measure(rest) > 0 else word
    return word


def _remove_suffix(word: str) -> str:
    for length in range(min(_MAX_SUFFIX_LENGTH, len(word)), 1, -1):
        if word[-length:] in _STEP_4:
            rest = word[:-length]
            if word[-length:] == "ion" and not rest.endswith(("s", "t")):
                return word
            return rest if _measure(rest) > 1 else word
    return word


def _is_consonant(word: str, position: int) -> bool:
    if word[position] == "y":
        return position == 0 or not _is_consonant(word, position - 1)
    return word[position] not in "aeiou"


def _measure(word: str) -> int:
    """Return Porter's measure m: how often a vowel is followed by a consonant."""
    consonants = [_is_consonant(word, position) for position in range(len(word))]
    return sum(after and not before for before, after in pairwise(consonants))


def _has_vowel(word: str) -> bool:
    return not all(_is_consonant(word, position) for position in range(len(word)))


def _ends_short(word: str) -> bool:
    """Return whether a word ends in consonant, vowel, consonant, where the last is not w, x or y."""
    end = len(word) - 1
    return (
        end >= 2
        and _is_consonant(word, end - 2)
        and not _is_consonant(word, end - 1)
        and _is_consonant(word, end)
        and word[end] not in "wxy"
    )

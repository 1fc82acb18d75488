"""What an answer claims: two candidates that claim the same support each other, whatever their wording."""

from __future__ import annotations

import re
from functools import lru_cache

from brainnet.texts import COMBINING_MARKS

_LETTERS = rf"[^\W_](?:[^\W_]|[{COMBINING_MARKS}])*"
_WORD = re.compile(rf"{_LETTERS}(?:[-'’.]{_LETTERS})*")
_DIGITS = {
    word: str(value)
    for value, word in enumerate(_WORD.findall("zero one two three four five six seven eight nine ten eleven twelve"))
}
_STOP_WORDS = frozenset(
    _WORD.findall("""
        a an the this that these those it its there here i me my we our you your is are was were be been being am has
        have had bears bear shows show carries carry reads read says say shown seen of and now
        digit number numeral picture image photo animal vehicle garment piece clothing item thing object
    """)
)
"""Words that claim nothing by themselves: grammar, and names for the sort of answer rather than the answer."""


@lru_cache(maxsize=8192)
def claim(text: str, question: str = "") -> str:
    """Return what `text` claims in answer to `question`.

    That is its words without the question's words and without stop words. Case and punctuation do not count, and
    number words are numbers. Where nothing is left, all its words are its claim.

    What a candidate claims depends on it and on the question alone, never on other candidates; so an early outcome is
    the outcome of waiting for all.
    """
    words = _words(text)
    content = [word for word in words if word not in _STOP_WORDS]
    asked = set(_words(question))
    return " ".join([word for word in content if word not in asked] or content or words)


def _words(text: str) -> list[str]:
    normalized = (word.replace("’", "'").removesuffix("'s") for word in _WORD.findall(text.casefold()))
    return [_DIGITS.get(word, word) for word in normalized]

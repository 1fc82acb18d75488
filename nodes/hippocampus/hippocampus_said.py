"""A part of a prompt, as it was written and folded for phrases."""

from __future__ import annotations

import re
from typing import Final

from brainnet.memory import fold, plain_words
from hippocampus_phrases import leading

MAX_READ: Final = 4000
"""Characters in which phrases are looked for. A statement may be longer: a request stands at its beginning."""
_SEPARATORS = re.compile(r"[\s,.:;!¡¿!?\"'“”‘’«»()\[\]*—–、。，：！،؛।\-]{0,12}")
_OPENING = re.compile(r"[\s\"'“”‘’«»()\[\]*—–¡¿、,.\-]{0,12}")
_SENTENCES = re.compile(r"(?<=\w\w\w[.!?]) |(?<=[。！？]) ?")


class Said:
    """A part of a prompt, as it was written and folded for phrases."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.folded, self.places = fold(text[:MAX_READ])
        self.complete = len(text) <= MAX_READ

    def after(self, end: int, separators: re.Pattern[str] = _SEPARATORS) -> Said:
        """Return what follows the first `end` folded characters and punctuation."""
        rest = self.text[self.places[end] :]
        skipped = separators.match(rest)
        return Said(rest[skipped.end() if skipped else 0 :])

    def before(self, start: int) -> Said:
        """Return what stands before a place of the folded text."""
        return Said(self.text[: self.places[start]].rstrip(" ,、"))


def without_greeting(text: str, language: str) -> Said:
    """Return a prompt without what stands in front and asks for nothing: "Hey brain, please ..."."""
    said = Said(text).after(0, _OPENING)
    for _ in range(5):
        for tongue in dict.fromkeys((language, "en")):
            pattern = leading(tongue, "polite")
            found = pattern.match(said.folded) if pattern else None
            rest = said.after(found.end()) if found else said
            if found and plain_words(rest.text[:MAX_READ]):
                said = rest
                break
        else:
            return said
    return said


def without_mark(text: str) -> str:
    """Return a sentence without its question mark or full stop."""
    return text.strip().strip("?？؟. !")


def last_question(text: str) -> str:
    """Return the last sentence that ends with a question mark, or else the text."""
    parts = _SENTENCES.split(text[:MAX_READ])
    return next((part for part in reversed(parts) if part.endswith(("?", "？", "؟"))), text)


def capitalised(fact: str) -> str:
    """Return a statement with a capital letter at its beginning."""
    # Only a word in lower case is capitalised: "iPhone" and "McKay" stay as they are.
    fact = fact.strip()
    words = fact[:200].split()
    return fact[0].upper() + fact[1:] if words and words[0].islower() else fact

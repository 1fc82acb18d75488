"""Makes questions that cannot be answered of such that can: a thing, a name, a day or a number of them is another."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

from brainnet.memory import plain_words
from hippocampus_grammar import FUNCTION_WORDS
from hippocampus_senses import NOUN, Lexicon

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SERIES = (
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),  # noqa: SIM905
    "January February March April June July August September October November December".split(),  # noqa: SIM905
    "first second third fourth fifth sixth seventh eighth".split(),  # noqa: SIM905
    "two three four five six seven eight nine ten twelve twenty thirty forty fifty".split(),  # noqa: SIM905
    "morning afternoon evening".split(),  # noqa: SIM905
    "red blue green yellow black white brown grey".split(),  # noqa: SIM905
    "left right".split(),  # noqa: SIM905
    "mother father sister brother uncle aunt daughter son".split(),  # noqa: SIM905
    "north south east west".split(),  # noqa: SIM905
)
"""Words of which one excludes the other."""
_OTHERS = {word.lower(): [other for other in series if other != word] for series in _SERIES for word in series}
_UNSURE = frozenset(("may", "march", "left", "right", "second"))
"""Words of these series that mean other things, too."""
SAID_FROM = 0.4
"""Where in a question what is said of its subject begins, about."""
SISTER = 0.4
"""How surely two words are different things of one kind."""
MAX_SISTERS = 12


class Swaps:
    """Changes a word that a question and a statement share.

    Args:
        lexicon: Knows which words are different things of one kind.
        texts: Texts whose names and things may take the place of others.
    """

    def __init__(self, lexicon: Lexicon, texts: Iterable[str]) -> None:
        self._lexicon = lexicon
        names: dict[str, None] = {}
        things: dict[str, None] = {}
        for text in texts:
            for number, token in enumerate(_WORD.findall(text)):
                word = token.removesuffix("'s")
                if number and _is_name(word) and not lexicon.known(word.lower()):
                    names[word] = None
                elif word.islower() and word not in FUNCTION_WORDS and lexicon.senses(word).part == NOUN:
                    things[word] = None
        self._names, self._things = list(names), list(things)
        self._sisters: dict[str, list[str]] = {}

    def question(self, question: str, statement: str, rng: random.Random) -> str | None:
        """Return the question about something else; None where nothing of it can be exchanged."""
        shared = set(plain_words(statement))
        places = [
            (found, others)
            for found in _WORD.finditer(question)
            if (word := found.group().lower().removesuffix("'s")) in shared
            and word not in FUNCTION_WORDS
            and (others := self._others(found.group().removesuffix("'s"), rng, first=not found.start()))
        ]
        if not places:
            return None
        found, others = rng.choice(places)
        word = found.group().removesuffix("'s")
        other = rng.choice(others)
        other = other[0].upper() + other[1:] if word[0].isupper() else other
        return question[: found.start()] + other + question[found.start() + len(word) :]

    def excluded(self, question: str, statement: str, rng: random.Random) -> str | None:
        """Return a question that a statement answers with yes with another day, number or colour: the answer is no.

        None where the question has no such word.
        """
        said = {word for found in plain_words(statement) for word in (found, found.removesuffix("s"))}
        places = []
        # What is said of a thing stands behind it: of the red sledge nothing is known where the blue one is.
        for found in _WORD.finditer(question, int(len(question) * SAID_FROM)):
            word = found.group()
            plural = "s" if word.lower() not in _OTHERS and word.lower().removesuffix("s") in _OTHERS else ""
            key = word.lower().removesuffix(plural)
            if key in _UNSURE or not (key in _OTHERS or word.isdigit()):
                continue
            others = [other + plural for other in self._others(key, rng, first=False) if other.lower() not in said]
            if others and key in said:
                places.append((found, others))
        if not places:
            return None
        found, others = rng.choice(places)
        return question[: found.start()] + rng.choice(others) + question[found.end() :]

    def _others(self, word: str, rng: random.Random, *, first: bool) -> list[str]:
        if word.lower() in _OTHERS:
            return _OTHERS[word.lower()]
        if word.isdigit():
            changed = str(int(word[:9]) + rng.choice([-3, -2, -1, 1, 2, 3, 7, 10]))
            return [] if changed.startswith("-") else [changed]
        if not first and _is_name(word) and not self._lexicon.known(word.lower()):
            return self._names
        return self._sisters_of(word) if word.islower() else []

    def _sisters_of(self, word: str) -> list[str]:
        if word not in self._sisters:
            found = []
            if self._lexicon.senses(word).part == NOUN:
                for other in self._things:
                    relation = self._lexicon.relation(word, other)
                    if relation.sister >= SISTER and not max(relation.same, relation.kind, relation.general):
                        found.append((relation.sister, other))
            # Singular for singular.
            same = [other for _, other in sorted(found, reverse=True) if other.endswith("s") == word.endswith("s")]
            self._sisters[word] = same[:MAX_SISTERS]
        return self._sisters[word]


def _is_name(word: str) -> bool:
    return word[:1].isupper() and word[1:].islower() and len(word) > 1

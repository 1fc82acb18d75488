"""What the wording of a prompt shows: whether it tells something, and what a correction without a subject is about."""

from __future__ import annotations

import re
from collections.abc import Sequence

from brainnet.memory import plain_words, terms
from hippocampus_grammar import COPULAS, FUNCTION_WORDS, PLACE_WORDS

PRONOUNS = frozenset(plain_words("it he she they him her them its his their this that these those one"))
"""Words that refer to what was said."""
_TOLD_WORDS = range(3, 41)
"""Words of such a sentence."""
_BEGINS_COMMAND = frozenset(
    plain_words(
        "move go turn rotate lift raise lower reach touch stop halt play pause tell show give find list name describe"
        " explain identify classify read write continue complete finish sing draw make let say answer ask open close"
        " start switch set put bring take look see translate calculate predict compute help please do be try wait come"
        " hello hi hey thanks thank good bye goodbye yes no ok okay sorry"
    )
)
_OBJECTS = frozenset(plain_words("my me us the a an your our this that these those it him her them"))
"""What follows a verb of command, and hardly the first word of a statement: "Call my mother."."""
_NOTE = re.compile(r"[^\W_][\w'’ ]{1,40}?(?:: | ?= ?)(?=\S)")
_NOTED_WORDS = range(3, 15)
_LABEL = 4
"""Words of what a note is about."""
_ASKING = frozenset(plain_words("who what which where when why how if whether that please you"))
_FORBIDDEN = 5
"""Words of a sentence from which on "no" is part of what it says."""
_LEADING = FUNCTION_WORDS | frozenset(
    plain_words("when since after before while because during until once although whenever unless btw note both half")
)
"""Words before those that do not make a command of them: "If it rains, ...", "Behind the shed ..."."""
_WHO_AM_I = {tuple(plain_words(asked)): meant for asked, meant in {
    "who am i": "What is my name?",
    "wer bin ich": "Wie ist mein Name?",
    "wie ben ik": "Wat is mijn naam?",
    "qui suis-je": "Quel est mon nom ?",
    "quien soy": "¿Cuál es mi nombre?",
    "quien soy yo": "¿Cuál es mi nombre?",
    "chi sono": "Qual è il mio nome?",
    "chi sono io": "Qual è il mio nome?",
    "quem sou eu": "Qual é o meu nome?",
    "私は誰ですか": "私の名前は何ですか？",
    "私は誰": "私の名前は何ですか？",
    "मैं कौन हूँ": "मेरा नाम क्या है?",
}.items()}  # fmt: skip
"""What somebody wants to know who asks so. The questions have no word that memory could look for."""
FRAGMENT = 6
"""Words up to which a correction may be a mere value: "in the car"."""


def spelled_out(text: str) -> str:
    """Return the question that a text means, if it is one for who is asking; else the text."""
    return _WHO_AM_I.get(tuple(plain_words(text)), text)


def tells(text: str) -> bool:
    """Return whether a text is one finished sentence that says something, and is no command, or a note."""
    words = plain_words(text)
    return _is_note(text, words) or (
        text.rstrip("\"'”’») ").endswith((".", "。", "।"))
        and "?" not in text
        and len(words) in _TOLD_WORDS
        and (words[0] not in _BEGINS_COMMAND or _is_noun(words) or _forbids(text, words))
        and not (words[1] in _OBJECTS and words[0] not in _LEADING and not words[0].endswith("s"))
    )


def _is_note(text: str, words: Sequence[str]) -> bool:
    """Return whether a text says what something is without a verb: "spare key: under the blue pot"."""
    found = _NOTE.match(text)
    return (
        found is not None
        and len(words) in _NOTED_WORDS
        and len(found.group().split()) <= _LABEL
        and words[0] not in _BEGINS_COMMAND | _ASKING
        and "?" not in text
    )


def _is_noun(words: Sequence[str]) -> bool:
    """Return whether a word of command begins a sentence as a noun: "Lift passes are sold at the station."."""
    first = next((i for i, word in enumerate(words[1:5], 1) if word in COPULAS), 0)
    return first > 1 and not _ASKING.union(_OBJECTS).intersection(words[1 : first + 1])


def _forbids(text: str, words: Sequence[str]) -> bool:
    """Return whether a sentence says that there is none of something: "No eggs go into the cake."."""
    return words[0] == "no" and len(words) >= _FORBIDDEN and text[2:3] == " "


def _named_in(text: str, words: Sequence[str]) -> str:
    """Return how a text names the first of some words, with what stands before: "the key" in "I put the key into"."""
    parts = text.split()
    wanted = {term for word in words for term in terms(word)}
    for i, part in enumerate(parts):
        if wanted.intersection(terms(part)):
            first = i
            while first and i - first < 3 and (plain_words(parts[first - 1]) or [""])[0] in FUNCTION_WORDS:
                first -= 1
            named = " ".join(parts[first : i + 1]).strip(".,;!?")
            return named[0].upper() + named[1:]
    return ""


def has_verb(text: str) -> bool:
    """Return whether a text has one of the small verbs ("is", "has")."""
    return bool(set(plain_words(text)) & COPULAS) or any("'s" in word for word in plain_words(text))


def completed(fact: str, old: str, subject: Sequence[str], *, pronoun: bool) -> str:
    """Return a correction as a statement of its own: "it's in the car" gets the subject of what it corrects."""
    parts = old.split()
    verb = next(
        (i for i, part in enumerate(parts) if i and plain_words(part)[:1] and plain_words(part)[0] in COPULAS), 0
    )
    said = fact.split()
    head = " ".join(parts[:verb]) or _named_in(old, subject)
    if pronoun and head and said:
        if "'" in said[0] or "’" in said[0]:
            return f"{head} is {' '.join(said[1:])}"
        return f"{head} {' '.join(said[1:])}"
    if not pronoun and not has_verb(fact) and len(said) <= FRAGMENT:
        place = next((i for i, part in enumerate(parts) if i and part.lower() in PLACE_WORDS), 0)
        if place and said[0].lower() in PLACE_WORDS:
            return f"{' '.join(parts[:place])} {fact[0].lower()}{fact[1:]}"
        if verb:
            return f"{' '.join(parts[: verb + 1])} {fact[0].lower()}{fact[1:]}"
    return fact

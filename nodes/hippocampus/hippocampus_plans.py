"""What is to be done with a prompt to memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from brainnet.memory import Episode, plain_words
from hippocampus_evidence import Evidence
from hippocampus_prompts import Asked
from hippocampus_reading import Word
from hippocampus_recall import Sought

Kind = Literal["store", "correct", "forget", "confirm", "forget_everything", "list", "answer", "unknown", "cannot"]
SURE = 0.95
"""Bid for what only a memory can do: to keep, to correct, to forget."""


@dataclass(slots=True)
class Plan:
    """What is to be done with a prompt.

    Attributes:
        kind: What is done.
        asked: What was understood.
        probability: How sure that is: the bid.
        why: The reason for the bid, for people.
        fact: store, correct: what is to be kept.
        evidence: answer: the statements, the best first.
        episodes: forget, correct: those that are to be deleted. list: those that are listed.
        total: list: how many there are.
        about: What it is about, for people.
        sought: What was looked for.
        together: answer: statements that make one answer together, as two are asked for.
        note: answer: "time" or "told", when it is asked when something was and the statement says so, or does not.
    """

    kind: Kind
    asked: Asked
    probability: float = 0.0
    why: str = ""
    fact: str = ""
    evidence: list[Evidence] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    total: int = 0
    about: str = ""
    sought: Sought | None = None
    together: int = 1
    note: str = ""


def why(found: Sequence[Evidence]) -> str:
    """Return the reason for a bid."""
    if not found:
        return "nothing found"
    first = found[0]
    following = f", next {found[1].probability:.2f}" if len(found) > 1 else ""
    return f"{len(first.matched)} of {len(first.words)} words, best {first.probability:.2f}{following}"


def without_words(text: str, words: Sequence[Word], kept: Sequence[str]) -> str:
    """Return a text without those of some words that are not kept."""
    left = {word.word for word in words} - set(kept)
    return " ".join(part for part in text.split() if not left.intersection(plain_words(part.removesuffix("'s"))))

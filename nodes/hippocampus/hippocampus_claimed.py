"""Makes questions for yes or no about the statements of made worlds: of the same value, of another one, of others."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from hippocampus_cross_encoder import NO, NOTHING, YES
from hippocampus_worlds import Relation, Told, lists, told_as

_FIRST = re.compile(r"\b(is|was|are|were|can|may|must|will|has been|have been)\b")
_THIRD = re.compile(r"^(?P<subject>(?:the|my|our|your|their|his|her|\w+'s?)? ?[\w' -]{1,30}?) (?P<verb>[a-z]{2,12}s) ")
_PLURAL = re.compile(r"(?:we|you|they|these|those|all|two|three|four|some|many|most|both)\b", re.IGNORECASE)
_FIRST_PERSON = re.compile(r"^I (?P<verb>[a-z]+) ")
_PAST = frozenset("put left lent bought paid sold met moved gave got".split())  # noqa: SIM905
_PLAIN = {"has": "have", "goes": "go", "does": "do", "watches": "watch", "teaches": "teach", "studies": "study"}
_PAST_PLAIN = {"left": "leave", "lent": "lend", "bought": "buy", "paid": "pay", "sold": "sell", "met": "meet",
               "moved": "move", "gave": "give", "got": "get", "put": "put"}  # fmt: skip
_NO_VERBS = frozenset("is was has this his its always as us keys things days shoes children kids plus".split())  # noqa: SIM905


def asked_whether(text: str) -> str | None:
    """Turn an English statement into a question for yes or no; None for one whose form is not known.

    "The key is in the car." is "Is the key in the car?", "Tom plays chess." is "Does Tom play chess?".
    """
    said = text.rstrip(".!")
    lowered = (
        said if re.match(r"(?:I\b|[A-Z]\w+(?:'s)? )", said) and not _article(said) else said[:1].lower() + said[1:]
    )
    if found := _FIRST_PERSON.match(lowered):
        verb, rest = found["verb"], lowered[found.end() :]
        if verb in ("am", "was", "can", "must", "will"):
            return f"{verb.capitalize()} I {rest}?"
        if verb in _PAST_PLAIN:
            return f"Did I {_PAST_PLAIN[verb]} {rest}?"
        return None if verb.endswith("ed") else f"Do I {verb} {rest}?"
    if (found := _FIRST.search(lowered)) and 0 < found.start() < 60:
        verb = found[1].split()[0]
        before, after = lowered[: found.start()].strip(), lowered[found.start() + len(verb) :].strip()
        if "," not in before and len(before.split()) <= 7:
            return f"{verb.capitalize()} {before} {after}?"
    if (found := _THIRD.match(lowered)) and found["verb"] not in _NO_VERBS and not _PLURAL.match(lowered):
        verb = found["verb"]
        plain = _PLAIN.get(verb) or (verb[:-3] + "y" if verb.endswith("ies") else verb[:-1])
        return f"Does {found['subject'].strip()} {plain} {lowered[found.end() :]}?"
    return None


def _article(text: str) -> bool:
    return text.split(" ", 1)[0].lower() in {"the", "my", "our", "your", "a", "an", "they", "in", "there", "this"}


def claims(
    told: list[Told], pool: Sequence[Relation], rng: random.Random, share: float
) -> Iterator[tuple[str, str, int]]:
    """Ask whether what some statements say is so: in their words or in others, with their value or another.

    Args:
        told: The statements.
        pool: Relations; of those of the same subjects it is asked, too, and nothing is known.
        rng: Draws everything.
        share: Share of the statements that are asked about.

    Yields:
        The question, the statement, and what it says to it: YES, NO or NOTHING.
    """
    for one in told:
        if rng.random() >= share:
            continue
        relation, subject, value, outcome = one.relation, one.subject, one.value, YES
        chance = rng.random()
        if chance < 0.45:
            others = [other for other in lists()[relation.values] if other != value]
            if not others:
                continue
            value, outcome = rng.choice(others), NO
        elif chance < 0.6 and (others_of := [r for r in pool if r.subject == relation.subject and r is not relation]):
            # Where the car is says nothing of its colour.
            relation, outcome = rng.choice(others_of), NOTHING
            value = rng.choice(lists()[relation.values])
        elif chance < 0.7:
            subject, outcome = rng.choice(lists()[relation.subject]), NOTHING
            if subject.split()[-1] == one.subject.split()[-1]:
                continue
        statement = _form(one, relation, rng, subject, value)
        question = asked_whether(statement)
        if question is not None:
            yield question, one.text, outcome


def _form(one: Told, relation: Relation, rng: random.Random, subject: str, value: str) -> str:
    """Return a statement of a relation in one of its forms, half of the time in that in which it was told."""
    if relation is one.relation and rng.random() < 0.5 and one.subject in one.text and one.value in one.text:
        return one.text.replace(one.subject, subject, 1).replace(one.value, value, 1)
    return told_as(rng.choice(relation.statements), subject, value)

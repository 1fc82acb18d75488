"""Makes the pairs of question and statement that the cross-encoder learns from."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from hippocampus_claimed import asked_whether, claims
from hippocampus_cross_encoder import NO, NOTHING, YES
from hippocampus_swaps import Swaps
from hippocampus_worded import FOLLOWING, VERDICTS, WordedQuestion, WordedWorld
from hippocampus_worlds import make_world, relations

ENGLISH = "en"
MADE_ENGLISH = 0.85
"""Share of the made worlds that are English: what is known of others is little, and would soon repeat itself."""
NEAR = 3
"""Statements of a world that are most similar to a question, and are shown beside the right one."""
CLAIMED = 0.9
"""Share of the statements of a made world that are asked for yes or no."""
MISTYPED = 0.06
"""Share of the texts in which a word is mistyped."""
TYPED = 4
"""Letters of the shortest word that is mistyped: others become other words."""
CLAUSE = 3
"""Words of a clause from which on it is asked about."""
_CLAUSE_END = re.compile(r"[,:;]\s|\s(?:and|but|so|because)\s")
FRAGMENT = 5
"""Words of a correction up to which it may be a mere value: "no, on Friday"."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question, a statement, and the outcome."""

    question: str
    statement: str
    outcome: int


def outcome_of(question: WordedQuestion, statement: int) -> int:
    """Return what a statement of its world says to a question."""
    if statement not in question.answers:
        return NOTHING
    return NO if question.kind == "n" else YES


def text_of(question: WordedQuestion, world: WordedWorld) -> str:
    """Return a question; one that follows another has the last answer before it, as in a conversation."""
    if question.kind not in FOLLOWING:
        return question.text
    return f"{world.statements[question.other]} {question.text}"


def similarities(worlds: Sequence[WordedWorld], embedder: SpikingTextEmbedder) -> list[NDArray[np.float32]]:
    """Return how similar the questions of each world are to its statements, as search finds it: [questions, told]."""
    asked = [[text_of(question, world) for question in world.questions] for world in worlds]
    return [
        embedder.embed(questions) @ embedder.embed(world.statements).T
        for questions, world in zip(asked, worlds, strict=True)
    ]


def worded_pairs(
    worlds: Sequence[WordedWorld],
    similar: Sequence[NDArray[np.float32]],
    rng: random.Random,
    wrong: int,
    verdicts: int,
    others: float = 1.0,
) -> list[Pair]:
    """Return each question with the statement that it stands below, and with others that are like it.

    Args:
        worlds: The worlds.
        similar: `similarities` of each.
        rng: Draws everything.
        wrong: How many others.
        verdicts: How often questions for yes or no come in, each time with others beside: they are fewer than other
            questions, and those that are answered with no are the only ones that teach what no is.
        others: Share of the other questions.
    """
    pairs: list[Pair] = []
    for world, rows in zip(worlds, similar, strict=True):
        for question, near in zip(world.questions, rows, strict=True):
            if not _is_fragment(question):
                for _ in range(verdicts if question.kind in VERDICTS else rng.random() < others):
                    pairs += _pairs_of(question, world, near, rng, wrong)
    return pairs


def _pairs_of(
    question: WordedQuestion, world: WordedWorld, near: NDArray[np.float32], rng: random.Random, wrong: int
) -> Iterator[Pair]:
    shown = [question.statement, *question.answers]
    order = [i for i in np.argsort(-near).tolist() if i not in shown]
    # The nearest are the hardest; any other, too, lest only near ones are known to be wrong.
    shown += rng.sample(order[:NEAR], min(len(order), NEAR, max(1, wrong - 1)))
    if wrong > 1 and order:
        shown.append(rng.choice(order))
    text = text_of(question, world)
    for i in dict.fromkeys(shown):
        yield Pair(text, world.statements[i], outcome_of(question, i))


def swapped_pairs(worlds: Sequence[WordedWorld], swaps: Swaps, rng: random.Random, share: float) -> Iterator[Pair]:
    """Ask some questions about another thing than their statement tells of."""
    for world in worlds:
        for question in world.questions if world.language == ENGLISH else ():
            if question.kind in "qo" and rng.random() < share:
                statement = world.statements[question.statement]
                other = swaps.question(question.text, statement, rng)
                if other is not None:
                    yield Pair(other, statement, NOTHING)


def claimed_pairs(worlds: Sequence[WordedWorld], swaps: Swaps, rng: random.Random, share: float) -> Iterator[Pair]:
    """Ask whether what some statements begin with is so, in the same words, and with another day, number or colour.

    Questions that were worded one by one and have many words of their statement mostly have the answer no: one word is
    another. Without these, that they are alike would be learned as a sign of no.
    """
    for world in worlds:
        for statement in world.statements if world.language == ENGLISH else ():
            clause = _CLAUSE_END.split(statement, maxsplit=1)[0]
            question = asked_whether(clause) if rng.random() < share and len(clause.split()) >= CLAUSE else None
            if question is None:
                continue
            yield Pair(question, statement, YES)
            other = swaps.excluded(question, statement, rng)
            if other is not None:
                yield Pair(other, statement, NO)


def _is_fragment(question: WordedQuestion) -> bool:
    """Return whether a correction says only a value: what it corrects is known from what was said last."""
    return question.kind == "c" and len(question.text.split()) <= FRAGMENT


def made_pairs(count: int, rng: random.Random, wrong: int) -> Iterator[Pair]:
    """Make pairs of the judge's worlds."""
    english = [relation for relation in relations() if relation.language == ENGLISH]
    others = [relation for relation in relations() if relation.language != ENGLISH]
    while count > 0:
        pool = english if rng.random() < MADE_ENGLISH else others
        world = make_world(rng, pool, rng.choice([4, 6, 10]), 8)
        texts = [told.text for told in world.told]
        for question in world.questions:
            words = set(question.text.lower().split())
            rest = [i for i in range(len(texts)) if i not in question.answers and i not in question.unclear]
            rest.sort(key=lambda i: len(words & set(texts[i].lower().split())), reverse=True)
            for i in [*question.answers, *rest[:wrong]]:
                yield Pair(question.text, texts[i], YES if i in question.answers else NOTHING)
                count -= 1
        for claim in claims(world.told, pool, rng, CLAIMED) if pool is english else ():
            yield Pair(*claim)
            count -= 1


def varied(text: str, rng: random.Random) -> str:
    """Write a text as some people do: in lower case, without a mark at the end, with a wrong letter."""
    chance = rng.random()
    if chance < 0.12:
        text = text.lower()
    text = text.rstrip(".?!") if chance < 0.06 or 0.12 < chance < 0.2 else text
    return mistyped(text, rng) if rng.random() < MISTYPED else text


def mistyped(text: str, rng: random.Random) -> str:
    """Mistype one word: two letters change places, or one is left out, or written twice.

    Its first letter stays. Names, numbers and words in capital letters stay, as another name is another thing.
    """
    words = text.split(" ")
    at = [i for i, word in enumerate(words) if len(word) >= TYPED and word.isalpha() and word.islower()]
    if not at:
        return text
    number = rng.choice(at)
    word = words[number]
    i = rng.randrange(1, len(word) - 1)
    letters = rng.choice([word[i + 1] + word[i], word[i + 1], word[i] + word[i : i + 2]])
    words[number] = word[:i] + letters + word[i + 2 :]
    return " ".join(words)

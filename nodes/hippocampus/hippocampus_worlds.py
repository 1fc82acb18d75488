"""Makes small worlds to train the judge on: statements, and questions that they answer or do not answer.

A question is hard when the world holds the same relation of another subject ("Tom's bike"), another relation of the
same subject ("Anna's car"), or a thing of the same kind ("the bicycle" for "the car").
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_THIRD = {"is": "am", "has": "have", "was": "was", "does": "do", "goes": "go", "watches": "watch"}
_LEFT_ALONE = frozenset("this his its always was as us is".split())  # noqa: SIM905
_DETERMINER = re.compile(
    r"^(?:the|my|our|der|die|das|den|mein|meine|la|le|ma|mon|el|mi|il|o|a|de|het)\s", re.IGNORECASE
)
_THING = re.compile(
    r"^(?:the|my|our|\w{2,12}'s) (?:(?:red|blue|green|old|big|spare|last|first|second) )?"
    r"([a-zM]\w{1,20}(?: [a-z]\w{1,20})?)$"
)
QUALITIES = [
    "red",
    "blue",
    "green",
    "yellow",
    "black",
    "white",
    "old",
    "new",
    "small",
    "big",
    "large",
    "heavy",
    "light",
    "wooden",
    "steel",
    "plastic",
    "round",
    "long",
    "short",
    "broken",
    "second",
    "third",
    "left",
    "right",
    "upper",
    "lower",
    "spare",
    "grey",
    "brown",
    "cheap",
    "expensive",
    "tall",
    "thin",
    "thick",
]
FRAMES = ("{q}?",) * 8 + (
    "Tell me, {q}?", "Do you remember {q}?", "Hey, {q}?", "{q} again?", "Can you tell me {q}?", "Please, {q}?",
    "I forgot {q}.", "Do you know {q}?", "{q}", "So {q}?", "I wonder {q}.", "{q}, do you know?",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Relation:
    """What can be said of a subject: see hippocampus_relations.txt."""

    name: str
    subject: str
    answer: str
    values: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]

    @property
    def language(self) -> str:
        """The language that it is told in."""
        first, dot, _ = self.name.partition(".")
        return first if dot else "en"


@dataclass(frozen=True, slots=True)
class Told:
    """A statement of a world."""

    relation: Relation
    subject: str
    value: str
    text: str


@dataclass(slots=True)
class Question:
    """A question, with the numbers of the statements that answer it, and of those that may be taken for an answer."""

    text: str
    answers: set[int]
    unclear: set[int] = field(default_factory=set)
    kind: str = ""
    answer_type: str = ""


@dataclass(slots=True)
class World:
    """Statements, in the order in which they are told, and questions about them."""

    told: list[Told]
    questions: list[Question]


@cache
def relations() -> list[Relation]:
    """Read the relations."""
    found = []
    for line in _lines("hippocampus_relations.txt"):
        name, subject, answer, values, said, asked = (part.strip() for part in line.split(" ; "))
        found.append(Relation(name, subject, answer, values, _parts(said), _parts(asked)))
    return found


@cache
def lists() -> dict[str, tuple[str, ...]]:
    """Read the subjects and values, by their names with @."""
    named = (line.partition(":") for line in _lines("hippocampus_lists.txt") if line.startswith("@"))
    return {name: _parts(values) for name, _, values in named}


@cache
def other_words() -> dict[str, tuple[str, ...]]:
    """Read by which words a question may name the subjects of statements."""
    rows = (_parts(line[1:]) for line in _lines("hippocampus_lists.txt") if line.startswith("~"))
    return {row[0]: row[1:] for row in rows}


def _lines(name: str) -> list[str]:
    return [line for line in (_FOLDER / name).read_text("utf-8").splitlines() if line and not line.startswith("#")]


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


def make_world(rng: random.Random, pool: Sequence[Relation], statements: int, questions: int) -> World:
    """Make a world of relations of a pool.

    Args:
        rng: Draws everything.
        pool: The relations.
        statements: Number of statements.
        questions: Number of questions.
    """
    language = rng.choice([relation.language for relation in pool])
    pool = [relation for relation in pool if relation.language == language]
    # A few relations with several subjects each, and a few subjects of which several things are said.
    chosen = rng.sample(pool, min(len(pool), max(2, statements // rng.choice([2, 3, 4]))))
    favourites: dict[str, list[str]] = {}
    told: dict[tuple[str, str], Told] = {}
    for _ in range(4 * statements):
        if len(told) == statements:
            break
        relation = rng.choice(chosen)
        known = favourites.setdefault(relation.subject, rng.sample(lists()[relation.subject], 3))
        subject = rng.choice(known) if rng.random() < 0.6 else rng.choice(lists()[relation.subject])
        subject = _varied(rng, subject, relation.language)
        if (relation.name, _key(subject)) not in told:
            told[relation.name, _key(subject)] = _tell(rng, relation, subject)
    world = World(list(told.values()), [])
    for _ in range(questions):
        if (question := _ask(rng, world.told, chosen, pool)) is not None:
            world.questions.append(question)
    return world


def _tell(rng: random.Random, relation: Relation, subject: str) -> Told:
    value = rng.choice(lists()[relation.values])
    text = told_as(rng.choice(relation.statements), subject, value)
    return Told(relation, subject, value, text)


def _varied(rng: random.Random, subject: str, language: str, *, always: bool = False) -> str:
    """Give a thing a quality or an owner, or other ones, now and then."""
    found = _THING.match(subject)
    if language != "en" or found is None or (not always and rng.random() < 0.6):
        return subject
    owner = f"{rng.choice(lists()['@name'])}'s" if rng.random() < 0.4 else "the"
    quality = f"{rng.choice(QUALITIES)} " if owner == "the" or rng.random() < 0.2 else ""
    return f"{owner} {quality}{found[1]}"


def _ask(  # noqa: PLR0912
    rng: random.Random, told: list[Told], chosen: list[Relation], pool: Sequence[Relation]
) -> Question | None:
    one = rng.choice(told)
    kind = rng.choices(
        ["same", "other_words", "value", "other_subject", "other_relation", "nothing", "yours"],
        [20, 22, 5, 18, 18, 6, 5],
    )[0]
    relation, subject, shown = one.relation, one.subject, one.subject
    value = one.value
    if kind == "other_words":
        shown = _renamed(rng, subject)
    elif kind == "other_subject":
        subject = rng.choice(lists()[relation.subject]) if rng.random() < 0.5 else one.subject
        subject = shown = _varied(rng, subject, relation.language, always=subject == one.subject)
    elif kind == "other_relation":
        fitting = [other for other in pool if other.subject == relation.subject and other is not relation]
        if not fitting:
            return None
        relation = rng.choice(fitting)
    elif kind == "nothing":
        relation = rng.choice(pool)
        subject = shown = rng.choice(lists()[relation.subject])
    elif kind == "yours" and (relation.language != "en" or subject != "I"):
        return None
    if kind == "value":
        # A question that names the value, too: "Is the key in the drawer?"
        text = _fill(rng.choice(relation.statements), subject, value)
        text = f"{text}, right?" if relation.language == "en" else f"{text}?"
    else:
        text = _fill(rng.choice(relation.questions), shown, value)
        if relation.language == "en":
            text = rng.choice(FRAMES).format(q=text)
        else:
            text += "?"
    if kind == "yours":
        text = re.sub(r"\bmy\b", "your", re.sub(r"\bam I\b", "are you", re.sub(r"\b(?:I|me)\b", "you", text)))
    question = Question(_sentence(text, mark=False), set(), set(), kind, relation.answer if kind != "value" else "")
    if rng.random() < 0.1:
        question.text = question.text.lower().rstrip("?")
    if kind == "yours":
        return question
    for number, each in enumerate(told):
        same = _same(each.subject, subject)
        if each.relation is relation:
            if same == "same" and (kind != "value" or each.value == value):
                question.answers.add(number)
            elif same == "unclear":
                question.unclear.add(number)
        elif same != "other" and _overlap(each.relation, relation):
            question.unclear.add(number)
    return question


def _same(told: str, asked: str) -> str:
    """Return whether two subjects are the "same", "other" ones, or it is "unclear"."""
    left, right = set(_key(told).split()), set(_key(asked).split())
    if left == right:
        return "same"
    # "the car key" may be meant by "the key"; but "the key" is not "Tom's key".
    return "unclear" if right < left and _key(told).split()[-1] == _key(asked).split()[-1] else "other"


def _key(subject: str) -> str:
    return _DETERMINER.sub("", subject.lower())


_GROUPS = (
    {"location", "parked", "plant_place", "sensor_place", "shelf", "shop_place", "file_place"},
    {"called", "pet_name"}, {"owner", "borrowed", "buyer"}, {"breed", "pet"}, {"height", "height_person", "length"},
    {"coffee", "tea", "favourite_drink"}, {"favourite_food", "cooks", "pet_food", "bring", "diet", "allergy"},
    {"lives", "floor", "address", "hotel", "holiday", "nationality", "neighbour"}, {"job", "employer", "operator"},
    {"brand", "drives"}, {"arrival", "departure", "flight"}, {"illness", "mood", "allergy", "medicine"},
    {"room_person", "employer", "bench", "seat"}, {"hobby", "sport", "instrument", "trains"}, {"box", "stock"},
    {"bought_when", "buyer", "price"}, {"bill", "bill_due"}, {"sensor_state", "reading", "broken", "repair"},
    {"wish", "gift_given"}, {"meeting_chair", "meeting_with", "team_lead", "run_by"}, {"colour", "material", "taste"},
    {"user_name", "password", "wifi", "code"}, {"favourite_book", "reads"}, {"assignee", "client"},
    {"favourite_colour", "wears"}, {"owes", "salary", "rent"}, {"deadline", "progress"}, {"breed", "called"},
    {"serial", "plate"}, {"address_ip", "port"}, {"wakes", "sleeps", "lunch"},
)  # fmt: skip
"""Relations of which one may be taken for the other."""


def _overlap(one: Relation, other: Relation) -> bool:
    return any(one.name in group and other.name in group for group in _GROUPS)


def _renamed(rng: random.Random, subject: str) -> str:
    for word, others in other_words().items():
        pattern = rf"\b{re.escape(word)}\b"
        if re.search(pattern, subject):
            return re.sub(pattern, rng.choice(others), subject)
    return subject


def _fill(template: str, subject: str, value: str) -> str:
    if subject == "I":
        return _first_person(template).replace("{v}", value)
    owner = f"{subject}'s" if not subject.endswith("s") else f"{subject}'"
    return template.replace("{x's}", owner).replace("{x}", subject).replace("{v}", value)


def _first_person(template: str) -> str:
    """Put a template into the first person: "{x} lives {v}" becomes "I live {v}"."""
    text = template.replace("{x's}", "my")
    text = re.sub(r"\b(does|is|has|was) \{x\}", lambda m: f"{_THIRD[m[1]]} {{x}}", text)
    text = re.sub(r"\{x\} (\w+)", lambda m: f"{{x}} {_plain_verb(m[1])}", text)
    before = (
        r"\b(to|of|with|for|at|call|teaches|treats|meet|meets|prescribed|lent|gave|know|met|scares|employs|give|lend)"
    )
    text = re.sub(before + r" \{x\}", r"\1 me", text)
    return text.replace("{x}", "I")


def _plain_verb(verb: str) -> str:
    if verb in _THIRD:
        return _THIRD[verb]
    if verb in _LEFT_ALONE or not verb.endswith("s"):
        return verb
    if verb.endswith("ies"):
        return verb[:-3] + "y"
    return verb[:-2] if verb.endswith(("ches", "shes", "sses")) else verb[:-1]


def told_as(template: str, subject: str, value: str) -> str:
    """Return a statement of a relation in one of its forms."""
    return _sentence(_fill(template, subject, value))


def _sentence(text: str, *, mark: bool = True) -> str:
    text = text[0].upper() + text[1:]
    return text + "." if mark and text[-1] not in ".?!" else text

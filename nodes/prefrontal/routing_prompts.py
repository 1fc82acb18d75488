"""Labelled prompts for the router, written by hand for this project.

routing_prompts.yaml holds templates: a template is one way to put a request, `[a|b]` chooses one alternative (an
empty one is allowed), `{slot}` is filled from a list. Every fifth template is kept from training, to choose by.
routing_prompts_written.yaml holds prompts written one by one to learn from; every tenth is kept from training.
routing_prompts_validation.yaml (to choose by), routing_prompts_test.yaml and routing_prompts_test_2.yaml (to report on)
hold prompts written one by one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

_HERE = Path(__file__)


def _read(name: str) -> dict[str, str]:
    wording: dict[str, str] = yaml.safe_load(_HERE.with_name(name).read_text(encoding="utf-8"))
    return wording


_WORDING: dict[str, dict[str, str]] = yaml.safe_load(_HERE.with_suffix(".yaml").read_text(encoding="utf-8"))
TEMPLATES: dict[str, list[str]] = {route: lines.splitlines() for route, lines in _WORDING["templates"].items()}
ROUTES = tuple(route for route in TEMPLATES if "+" not in route)
FOLLOW_UPS: list[str] = str(_WORDING["follow_ups"]).splitlines()
FACTS: list[str] = str(_WORDING["facts"]).splitlines()
SLOTS: dict[str, list[str]] = {name: items.strip().split(", ") for name, items in _WORDING["slots"].items()}

OFTEN = {"language": 2.0, "hippocampus": 1.5}
"""How often a route is drawn, others once: what can be said in the most ways takes the most examples."""
PICTURE = "<image> "
_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([a-z|]+)\}")


@dataclass(frozen=True)
class Example:
    """One labelled prompt.

    Attributes:
        text: what is asked.
        target: route -> probability; equal shares where several routes are right.
        has_image: whether a picture comes with it.
        follows: the prompt before it in the session, if any.
        follow_up: whether it means what that one meant.
    """

    text: str
    target: dict[str, float]
    has_image: bool = False
    follows: Example | None = None
    follow_up: bool = False


def _number(rng: random.Random) -> str:
    value = round(rng.uniform(-0.21, 0.21), rng.choice([1, 2, 2, 2, 3]))
    return f"{value:.2f}" if rng.random() < 0.5 else f"{value}"


def _point(rng: random.Random) -> str:
    x, y = _number(rng), _number(rng)
    shapes = ["({x}, {y})"] * 5 + ["({x},{y})", "{x}, {y}", "{x} {y}", "x={x}, y={y}", "x={x} y={y}", "[{x}, {y}]"]
    shapes += ["x {x} and y {y}", "the point ({x}, {y})", "position ({x}, {y})", "coordinates {x}, {y}", "({x}; {y})"]
    return rng.choice(shapes).format(x=x, y=y)


def _object(rng: random.Random) -> str:
    adjective = rng.choice(SLOTS["adjective"]) + " " if rng.random() < 0.6 else ""
    return adjective + rng.choice(SLOTS["noun"])


_MADE: dict[str, Callable[[random.Random], str]] = {
    "point": _point,
    "decimal": _number,
    "integer": lambda rng: str(rng.randint(2, 9999)),
    "object": _object,
    "objects": lambda rng: _object(rng) + "s",
    "place": lambda rng: f"{rng.choice(SLOTS['preposition'])} the {rng.choice(SLOTS['spot'])}",
    "date": lambda rng: rng.choice([rng.choice(SLOTS["day"]), f"{rng.choice(SLOTS['month'])} {rng.randint(1, 28)}"]),
    "time": lambda rng: rng.choice(
        [f"{rng.randint(1, 12)} o'clock", f"{rng.randint(8, 20)}:{rng.choice(['00', '30'])}"]
    ),
    "fact": lambda rng: fill(rng.choice(FACTS), rng),
}


def fill(template: str, rng: random.Random, **given: str) -> str:
    """One prompt of a template; a slot named in `given` is filled with that."""
    while found := _ALTERNATIVES.search(template):
        # A coordinate in brackets is filled in last, so every bracket here is an alternative.
        template = template[: found.start()] + rng.choice(found[1].split("|")) + template[found.end() :]

    def slot(match: re.Match[str]) -> str:
        name = rng.choice(match[1].split("|"))
        if name in given:
            return given[name]
        return _MADE[name](rng) if name in _MADE else rng.choice(SLOTS[name])

    return re.sub(r"\s+", " ", _SLOT.sub(slot, template)).strip()


_ANY_WORDS = {
    "point": r"(?:(?:x|y|and|the|point|position|coordinates|\d+) )+",
    "decimal": r"(?:\d+ )+",
    "integer": r"\d+ ",
    "object": r"(?:\S+ ){1,3}",
    "objects": r"(?:\S+ ){1,3}",
    "thing": r"(?:\S+ ){1,3}",
    "person": r"\S+ ",
    "place": r"(?:\S+ ){2,6}",
    "date": r"(?:\S+ ){1,3}",
    "time": r"(?:\S+ ){1,3}",
    "fact": r"(?:\S+ )+",
    "opening": r"(?:\S+ )+",
}
_PIECE = re.compile(r"[\[\]|]|\{[a-z|]+\}|[^\W_]+")


def phrasing(template: str) -> re.Pattern[str]:
    """Matches in full the `plain` form of every prompt of a template, other names, numbers and statements included."""
    return re.compile("".join(map(_piece, _PIECE.findall(template.casefold()))))


def plain(text: str) -> str:
    """Only the words of a prompt, each with a space after it."""
    return "".join(f"{word} " for word in re.findall(r"[^\W_]+", text.casefold()))


def _piece(piece: str) -> str:
    if piece in "[]|":
        return {"[": "(?:", "]": ")", "|": "|"}[piece]
    if piece[0] != "{":
        return re.escape(piece) + " "
    options = []
    for name in piece[1:-1].split("|"):
        listed = (re.escape(plain(item)) for item in SLOTS.get(name, []))
        options.append(_ANY_WORDS.get(name) or "|".join(listed))
    return f"(?:{'|'.join(options)})"


def _is_kept(index: int) -> bool:
    """Every fifth template is kept from training."""
    return index % 5 == 4


def bag(text: str) -> frozenset[str]:
    """The words of a prompt, all numbers being one word."""
    return frozenset(re.sub(r"\d+", "0", word) for word in plain(text).split())


def near(mine: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two prompts share all or more than four fifths of their words (Jaccard index), as `bag` gives them."""
    return mine == other or len(mine & other) > 0.8 * len(mine | other)


def target_of(route: str) -> dict[str, float]:
    """`a+b`: equal shares."""
    routes = route.split("+")
    return dict.fromkeys(routes, 1.0 / len(routes))


def written(split: str) -> list[Example]:
    """The prompts written one by one for `validation`, `test` or `test_2`.

    Each follow-up comes once after a prompt of each route, in the order of the file.
    """
    wording = _read(f"routing_prompts_{split}.yaml")
    follow_ups = wording.pop("follow_ups").splitlines()
    found = [_marked(line, route) for route, lines in wording.items() for line in lines.splitlines()]
    for route in ROUTES:
        before = [example for example in found if example.target == {route: 1.0} and not example.follow_up]
        found += [
            Example(text, first.target, first.has_image, first, follow_up=True)
            for text, first in zip(follow_ups, before, strict=False)
        ]
    return found


def _marked(line: str, route: str) -> Example:
    return Example(line.removeprefix(PICTURE), target_of(route), "vision" in route or line.startswith(PICTURE))


@cache
def written_to_learn(*, kept: bool = False) -> dict[str, list[Example]]:
    """The prompts of routing_prompts_written.yaml by route; those for training, or the tenth `kept` from it.

    Under `follow_ups` stand texts that mean what was asked before; their target is empty.
    """
    found = {}
    for route, lines in _read("routing_prompts_written.yaml").items():
        chosen = [line for i, line in enumerate(lines.splitlines()) if (i % 10 == 9) == kept]
        found[route] = [Example(line, {}) if route == "follow_ups" else _marked(line, route) for line in chosen]
    return found


@dataclass(frozen=True)
class FreeText:
    """Text that no template makes: `openings` for language to continue, and general `questions`, for which memory
    and language are equally right.
    """

    openings: list[str]
    questions: list[str]


def examples(
    rng: random.Random, count: int, text: FreeText, *, kept: bool = False, written_share: float = 0.0
) -> Iterator[Example]:
    """`count` examples for training, or of what is `kept` from it, routes as often as in `OFTEN`.

    Of each route `written_share` are prompts written one by one; the rest are made by templates.
    """
    pools = {route: [t for i, t in enumerate(ts) if _is_kept(i) == kept] for route, ts in TEMPLATES.items()}
    follow_ups = [t for i, t in enumerate(FOLLOW_UPS) if _is_kept(i) == kept]
    own = written_to_learn(kept=kept)
    often = [OFTEN.get(route, 1.0) for route in ROUTES]

    def draw(route: str) -> Example:
        if written_share and rng.random() < written_share:
            chosen = rng.choice(own[route])
            return replace(chosen, text=_typed(chosen.text, rng))
        return _example(route, rng.choice(pools[route]), rng, text)

    def again() -> str:
        if written_share and rng.random() < written_share:
            return rng.choice(own["follow_ups"]).text
        return fill(rng.choice(follow_ups), rng)

    for _ in range(count):
        kind = rng.random()
        if kind < 0.05:
            yield Example(rng.choice(text.questions), target_of("hippocampus+language"))
            continue
        if kind < 0.10:
            yield draw("vision+hippocampus")
            continue
        first = draw(rng.choices(ROUTES, often)[0])
        if kind < 0.30:
            yield Example(again(), first.target, first.has_image, first, follow_up=True)
        elif kind < 0.45:
            yield replace(first, follows=draw(rng.choice(ROUTES)))
        else:
            yield first


def _typed(text: str, rng: random.Random) -> str:
    """`text` as people type it: now and then without its last mark, or with a slip."""
    if rng.random() < 0.25:
        text = text.rstrip("?.! ")
    return misspelt(text, rng) if rng.random() < 0.15 else text


def _beginning(text: str, rng: random.Random) -> str:
    """Some first words of a text, mostly cut in the middle of a sentence, as who asks for more would."""
    parts = text.split()
    return " ".join(parts[: rng.randint(min(3, len(parts)), len(parts))])


def _example(route: str, template: str, rng: random.Random, free: FreeText) -> Example:
    opening = _beginning(rng.choice(free.openings), rng)
    whole = route == "language" and rng.random() < 0.4
    text = _typed(opening if whole else fill(template, rng, opening=opening), rng)
    if route == "vision":
        # A picture may come without a word, and a word about a picture without the picture.
        text = "" if rng.random() < 0.05 else text
        return Example(text, target_of(route), has_image=not text or rng.random() < 0.95)
    if "vision" in route:
        return Example(text, target_of(route), has_image=True)
    # A question to memory that comes with a picture is one to both; what is told may show what it speaks of.
    with_picture = (route != "hippocampus" or "{fact}" in template) and rng.random() < 0.08
    return Example(text, target_of(route), has_image=with_picture)


def misspelt(text: str, rng: random.Random) -> str:
    """`text` with one word's letters swapped, doubled, or one left out, as fingers do it."""
    parts = text.split(" ")
    where = [i for i, part in enumerate(parts) if len(part) > 3 and part.isalpha()]
    if not where:
        return text
    at = rng.choice(where)
    word = parts[at]
    i = rng.randrange(len(word) - 1)
    parts[at] = rng.choice(
        [word[:i] + word[i + 1] + word[i] + word[i + 2 :], word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:]]
    )
    return " ".join(parts)

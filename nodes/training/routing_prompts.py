"""Labelled prompts for the router: templates with alternatives and slots, written by hand for this project.

A template is one way to put a request. ``[a|b]`` chooses one alternative (an empty one is allowed), ``{slot}`` is
filled from a list. Train and test never share a template, so the test asks with phrasings that training
has not seen. The wording is in routing_prompts.yaml; `examples` turns it into prompts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

_WORDING = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
TEMPLATES: dict[str, list[str]] = {route: lines.splitlines() for route, lines in _WORDING["templates"].items()}
HELD_OUT: dict[str, list[str]] = {route: lines.splitlines() for route, lines in _WORDING["held_out"].items()}
FOLLOW_UPS: list[str] = _WORDING["follow_ups"].splitlines()
FACTS: list[str] = _WORDING["facts"].splitlines()
SLOTS: dict[str, list[str]] = {name: items.strip().split(", ") for name, items in _WORDING["slots"].items()}

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([a-z|]+)\}")


@dataclass(frozen=True)
class Example:
    """One labelled prompt. `target` route -> probability (soft where two routes are both right);
    `follows` is the prompt before it in the session, if any; a `follow_up` means
    what that one meant."""

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


def fill(template: str, rng: random.Random) -> str:
    """One prompt of a template."""
    while found := _ALTERNATIVES.search(template):
        # A coordinate in brackets is filled in last, so every bracket here is an alternative.
        template = template[: found.start()] + rng.choice(found[1].split("|")) + template[found.end() :]

    def slot(match: re.Match[str]) -> str:
        name = rng.choice(match[1].split("|"))
        return _MADE[name](rng) if name in _MADE else rng.choice(SLOTS[name])

    return re.sub(r"\s+", " ", _SLOT.sub(slot, template)).strip()


def is_test(index: int) -> bool:
    """Every fifth template is kept for the test."""
    return index % 5 == 4


def written() -> list[Example]:
    """The prompts written one by one for the test; those about a picture come with one."""
    return [Example(text, {route: 1.0}, route == "vision") for route, texts in HELD_OUT.items() for text in texts]


def examples(
    rng: random.Random, *, test: bool, count: int, openings: list[str], questions: list[str]
) -> Iterator[Example]:
    """`count` examples of one split, routes equally often.

    `openings`: sentences of free text (language continues them); `questions`: general questions, for which
    memory and language are equally right. Both must already belong to the split.
    """
    pools = {
        route: [t for i, t in enumerate(templates) if is_test(i) == test] for route, templates in TEMPLATES.items()
    }
    follow_ups = [t for i, t in enumerate(FOLLOW_UPS) if is_test(i) == test]
    SLOTS["opening"] = openings
    routes = list(pools)
    for _ in range(count):
        kind = rng.random()
        if kind < 0.06:
            yield Example(rng.choice(questions), {"hippocampus": 0.5, "language": 0.5})
            continue
        route = rng.choice(routes)
        first = _example(route, pools[route], rng, openings)
        if kind < 0.2:
            yield Example(fill(rng.choice(follow_ups), rng), first.target, first.has_image, first, follow_up=True)
        elif kind < 0.45:
            other = rng.choice(routes)
            yield Example(first.text, first.target, first.has_image, _example(other, pools[other], rng, openings))
        else:
            yield first


def _beginning(text: str, rng: random.Random) -> str:
    """Some first words of a text, mostly cut in the middle of a sentence, as who asks for more would."""
    parts = text.split()
    return " ".join(parts[: rng.randint(min(3, len(parts)), len(parts))])


def _example(route: str, pool: list[str], rng: random.Random, openings: list[str]) -> Example:
    free = route == "language" and rng.random() < 0.5
    text = _beginning(rng.choice(openings), rng) if free else fill(rng.choice(pool), rng)
    if rng.random() < 0.25:
        text = text.rstrip("?.! ")
    if route == "vision":
        # A picture may come without a word, and a word about a picture without the picture.
        text = "" if rng.random() < 0.05 else text
        return Example(text, {route: 1.0}, has_image=not text or rng.random() < 0.95)
    return Example(text, {route: 1.0}, has_image=rng.random() < 0.08)

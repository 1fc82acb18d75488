"""Labelled prompts for the router, written by hand for this project.

routing_prompts.yaml holds templates. A template is one wording of a request: `[a|b]` chooses one alternative (which may
be empty), `{slot}` is filled from a list. Every fifth template is held out from training, for choosing settings.
routing_prompts_written.yaml holds training prompts that were written one by one; every tenth is held out.
routing_prompts_validation.yaml (for choosing settings), routing_prompts_test.yaml and routing_prompts_test_2.yaml (for
the reported figures) hold prompts that were written one by one.
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

ROUTE_WEIGHTS = {"language": 2.0, "hippocampus": 1.5}
"""Relative frequency of a route in training, 1 for the others: routes with more different wordings get more."""
PICTURE = "<image> "
"""Marks, at the beginning of a line of a file, a prompt with a picture."""
# The innermost brackets, so that alternatives can be nested.
_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([a-z|]+)\}")


@dataclass(frozen=True)
class Example:
    """One labelled prompt.

    Attributes:
        text: The prompt.
        target: Probability of each right route; equal shares when several are right.
        has_image: Whether it has a picture.
        follows: The prompt before it in the session, if any.
        follow_up: Whether it repeats the request of that prompt ("once more"), and so has the same route.
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
    # The first form is repeated because it is the most usual one.
    shapes += ["x {x} and y {y}", "the point ({x}, {y})", "position ({x}, {y})", "coordinates {x}, {y}", "({x}; {y})"]
    return rng.choice(shapes).format(x=x, y=y)


def _object(rng: random.Random) -> str:
    adjective = rng.choice(SLOTS["adjective"]) + " " if rng.random() < 0.6 else ""
    return adjective + rng.choice(SLOTS["noun"])


_GENERATED: dict[str, Callable[[random.Random], str]] = {
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
    """Make one prompt of a template.

    Args:
        template: The template.
        rng: Source of all random draws.
        **given: Texts for some of the slots.
    """
    while match := _ALTERNATIVES.search(template):
        # Slots are filled after this loop, and may contain brackets; so every bracket here is an alternative.
        template = template[: match.start()] + rng.choice(match[1].split("|")) + template[match.end() :]

    def slot(match: re.Match[str]) -> str:
        name = rng.choice(match[1].split("|"))
        if name in given:
            return given[name]
        return _GENERATED[name](rng) if name in _GENERATED else rng.choice(SLOTS[name])

    return re.sub(r"\s+", " ", _SLOT.sub(slot, template)).strip()


# For slots with open content: what `plain` makes of any text that may stand there.
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
    """Compile a pattern for the `plain` form of every prompt of a template, whatever fills its slots.

    With it a test checks that no template can make a prompt of the validation or of a test.
    """
    return re.compile("".join(map(_piece, _PIECE.findall(template.casefold()))))


def plain(text: str) -> str:
    """Reduce a prompt to its words, each followed by a space."""
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


def _is_held_out(index: int) -> bool:
    """Return whether a template is held out from training: every fifth is."""
    return index % 5 == 4


def bag(text: str) -> frozenset[str]:
    """Return the set of words of a prompt, in which all numbers are one word."""
    return frozenset(re.sub(r"\d+", "0", word) for word in plain(text).split())


def is_similar(one: frozenset[str], other: frozenset[str]) -> bool:
    """Return whether two prompts, given as `bag`, share more than four fifths of their words (Jaccard index)."""
    return one == other or len(one & other) > 0.8 * len(one | other)


def target_of(route: str) -> dict[str, float]:
    """Return the target of a route; `a+b` means two right routes with equal shares."""
    routes = route.split("+")
    return dict.fromkeys(routes, 1.0 / len(routes))


def written(split: str) -> list[Example]:
    """Read the prompts written one by one for `validation`, `test` or `test_2`.

    Each follow-up is used once after a prompt of each route, in the order of the file.
    """
    wording = _read(f"routing_prompts_{split}.yaml")
    follow_ups = wording.pop("follow_ups").splitlines()
    prompts = [_labelled(line, route) for route, lines in wording.items() for line in lines.splitlines()]
    for route in ROUTES:
        before = [example for example in prompts if example.target == {route: 1.0} and not example.follow_up]
        prompts += [
            Example(text, first.target, first.has_image, first, follow_up=True)
            for text, first in zip(follow_ups, before, strict=False)
        ]
    return prompts


def _labelled(line: str, route: str) -> Example:
    return Example(line.removeprefix(PICTURE), target_of(route), "vision" in route or line.startswith(PICTURE))


@cache
def written_training(*, held_out: bool = False) -> dict[str, list[Example]]:
    """Read the prompts of routing_prompts_written.yaml by route: those for training, or the tenth that is held out.

    Under `follow_ups` are texts that repeat the request before them; their target is empty.
    """
    prompts = {}
    for route, lines in _read("routing_prompts_written.yaml").items():
        chosen = [line for i, line in enumerate(lines.splitlines()) if (i % 10 == 9) == held_out]
        prompts[route] = [Example(line, {}) if route == "follow_ups" else _labelled(line, route) for line in chosen]
    return prompts


@dataclass(frozen=True)
class FreeText:
    """Text that no template makes.

    Attributes:
        openings: Beginnings of texts, for language to continue.
        questions: General questions, for which memory and language are equally right.
    """

    openings: list[str]
    questions: list[str]


def examples(
    rng: random.Random, count: int, text: FreeText, *, held_out: bool = False, written_share: float = 0.0
) -> Iterator[Example]:
    """Draw labelled examples, with routes as often as in `ROUTE_WEIGHTS`.

    Args:
        rng: Source of all random draws.
        count: Number of examples.
        text: Free text.
        held_out: Whether to use the held-out templates and prompts instead of those for training.
        written_share: Share of each route that are prompts written one by one; the rest are made by templates.
    """
    pools = {
        route: [t for i, t in enumerate(templates) if _is_held_out(i) == held_out]
        for route, templates in TEMPLATES.items()
    }
    follow_ups = [t for i, t in enumerate(FOLLOW_UPS) if _is_held_out(i) == held_out]
    prompts = written_training(held_out=held_out)
    weights = [ROUTE_WEIGHTS.get(route, 1.0) for route in ROUTES]

    def draw(route: str) -> Example:
        if written_share and rng.random() < written_share:
            chosen = rng.choice(prompts[route])
            return replace(chosen, text=_with_typing_errors(chosen.text, rng))
        return _example(route, rng.choice(pools[route]), rng, text)

    def follow_up() -> str:
        if written_share and rng.random() < written_share:
            return rng.choice(prompts["follow_ups"]).text
        return fill(rng.choice(follow_ups), rng)

    for _ in range(count):
        # 5 % general questions, 5 % pictures of remembered things, 20 % follow-ups, 15 % prompts after an unrelated
        # one (which must not change their route), the rest without a session.
        kind = rng.random()
        if kind < 0.05:
            yield Example(rng.choice(text.questions), target_of("hippocampus+language"))
            continue
        if kind < 0.10:
            yield draw("vision+hippocampus")
            continue
        first = draw(rng.choices(ROUTES, weights)[0])
        if kind < 0.30:
            yield Example(follow_up(), first.target, first.has_image, first, follow_up=True)
        elif kind < 0.45:
            yield replace(first, follows=draw(rng.choice(ROUTES)))
        else:
            yield first


def _with_typing_errors(text: str, rng: random.Random) -> str:
    """Drop the last punctuation mark of a quarter of the texts, and misspell a word in 15 % of them."""
    if rng.random() < 0.25:
        text = text.rstrip("?.! ")
    return misspelt(text, rng) if rng.random() < 0.15 else text


def _beginning(text: str, rng: random.Random) -> str:
    """Take some first words of a text; most cuts are in the middle of a sentence, as in texts to continue."""
    parts = text.split()
    return " ".join(parts[: rng.randint(min(3, len(parts)), len(parts))])


def _example(route: str, template: str, rng: random.Random, free: FreeText) -> Example:
    opening = _beginning(rng.choice(free.openings), rng)
    # Many texts to continue come without an instruction.
    bare = route == "language" and rng.random() < 0.4
    text = _with_typing_errors(opening if bare else fill(template, rng, opening=opening), rng)
    if route == "vision":
        # Some pictures come without text, and some texts about a picture without the picture.
        text = "" if rng.random() < 0.05 else text
        return Example(text, target_of(route), has_image=not text or rng.random() < 0.95)
    if "vision" in route:
        return Example(text, target_of(route), has_image=True)
    # Other routes get a picture now and then. A question to memory with a picture has two right routes, so of the
    # prompts to memory only statements get one.
    with_picture = (route != "hippocampus" or "{fact}" in template) and rng.random() < 0.08
    return Example(text, target_of(route), has_image=with_picture)


def misspelt(text: str, rng: random.Random) -> str:
    """Misspell one word: two letters swapped, one left out, or one doubled."""
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

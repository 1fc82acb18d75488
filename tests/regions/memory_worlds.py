"""Reads the small worlds of memory_worlds.yaml, and asks memory about them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import yaml

from brainnet import Partial
from brainnet.testing import MemoryBrain
from tests.regions.asking_memory import ask


@dataclass(frozen=True)
class Case:
    """A question, after those that it refers to, and what its answer must hold."""

    kind: str
    prompts: tuple[str, ...]
    wanted: str


@dataclass(frozen=True)
class Small:
    """A world: what is told, and what is asked."""

    tell: list[str]
    cases: list[Case]


def small_worlds() -> dict[str, Small]:
    found = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    return {name: Small(world["tell"], [_case(line) for line in world["ask"]]) for name, world in found.items()}


def _case(line: str) -> Case:
    asked, _, wanted = line.partition(" => ")
    kind, _, prompts = asked.partition(": ")
    return Case(kind, tuple(prompt.strip() for prompt in prompts.split(" | ")), wanted)


def text_of(partial: Partial) -> str:
    return "unknown" if partial.code == "unknown" else partial.best.text if partial.best else f"error: {partial.error}"


def is_right(wanted: str, answer: str) -> bool:
    if wanted in ("unknown", "Yes", "No", "Ja", "Nein", "Sí", "Non", "Oui"):
        return answer.partition(":")[0] == wanted
    return wanted in answer


async def ask_world(brain: MemoryBrain, world: Small) -> dict[str, list[tuple[Case, str]]]:
    """Tell a world, ask everything, and return by kind the cases with their answers."""
    for text in world.tell:
        await ask(brain, text)
    found: dict[str, list[tuple[Case, str]]] = defaultdict(list)
    for number, case in enumerate(world.cases):
        for prompt in case.prompts:
            answer = await ask(brain, prompt, session_id=f"s{number}")
        found[case.kind].append((case, text_of(answer)))
    return found


def tally(found: dict[str, list[tuple[Case, str]]]) -> Counter[str]:
    """Count: asserted, wrong (asserted), answerable, right, unanswerable and refused."""
    count: Counter[str] = Counter()
    for cases in found.values():
        for case, answer in cases:
            right, asserted = is_right(case.wanted, answer), answer != "unknown"
            count["asserted"] += asserted
            count["wrong"] += asserted and not right
            count["unanswerable" if case.wanted == "unknown" else "answerable"] += 1
            count["right" if case.wanted != "unknown" else "refused"] += right
    return count

"""Measures a whole brain with what it was never told how to answer. Nothing is trained; about 10 minutes of two cores.

Three sets, each with a half for choosing (`validation`) and one for reporting (`test`), are asked through the public
client. Small worlds: each is told to a default brain with an empty memory, then it is asked in the same words, in
others, for yes or no, in follow-ups, for two things at once, for what was corrected, for what was forgotten, and for
what nobody told it. Regions of a user's own, beside those of the default brain: are they asked? And conversation.

An answer is refused when it is `unsure` or has an error, and asserts something otherwise. An answer is right when it
contains what was asked for; yes or no is its first word.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field

from brainnet.client import Client
from brainnet.errors import BrainnetError, TrainingError
from brainnet.paths import share_dir
from brainnet.testing.own_brain import OwnBrain
from brainnet.training import Row, Run, TrainingSettings, compare
from brainnet.wire.keys import key
from brainnet.wire.messages import Answer, Health, StatusQuery, new_id
from whole_brain_judging import Verdict, is_refused, judge, judge_talk
from whole_brain_launching import ask, client_of, empty_memory
from whole_brain_sets import Kind, OwnRegion, Part, Step, World, conversation, own_regions, regions_program, worlds

Limit = tuple[Literal["value"], Literal[">=", "<=", "=="], float]
_RIGHT, _WRONG, _REFUSED, _OWN, _TALK = 85.0, 5.0, 90.0, 85.0, 90.0
"""The bars, in percent: right of the answerable, wrong of the asserted (at most), refused of the unanswerable, own
regions asked, conversation."""


class Settings(TrainingSettings):
    """What is measured."""

    part: Part = Field("validation", description="which half: validation, or test (to report on, never to choose by)")
    only: Literal["all", "worlds", "regions", "conversation"] = Field("all", description="which of the sets")
    world: str = Field("", description="only the worlds whose names contain this")
    fresh: Literal["brain", "memory"] = Field(
        "brain", description="for each world a new brain, or quicker, the same one with its memory emptied"
    )
    failures: Path | None = Field(None, description="file for what went wrong, JSON Lines")


@dataclass
class Counts:
    """How many questions of one kind were answered, and how."""

    asked: int = 0
    right: int = 0
    asserted: int = 0
    wrong: int = 0
    refused: int = 0

    def add(self, verdict: Verdict) -> None:
        """Count one answer."""
        self.asked += 1
        self.right += verdict.right
        self.asserted += verdict.asserted
        self.wrong += verdict.asserted and not verdict.right
        self.refused += verdict.refused


@dataclass
class Figures:
    """What was measured, and what went wrong."""

    kinds: dict[str, Counts] = field(default_factory=dict)
    languages: dict[str, Counts] = field(default_factory=dict)
    answerable: Counts = field(default_factory=Counts)
    unanswerable: Counts = field(default_factory=Counts)
    all: Counts = field(default_factory=Counts)
    told: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, why: str, prompt: str, expected: Any, answer: Answer, **more: Any) -> None:
        """Note an answer that is not what it has to be."""
        said = answer.model_dump(include={"text", "error", "code", "confidence", "contributing", "unsure", "reason"})
        decision = None if answer.decision is None else answer.decision.model_dump(include={"route_probs", "chosen"})
        noted = {"prompt": prompt, "why": why, "expected": expected, "answer": said, "decision": decision}
        self.failures.append(more | noted)


def train(run: Run[Settings]) -> None:
    """Refuse: there is nothing to train.

    Raises:
        TrainingError: Always.
    """
    raise TrainingError(f"{run.name} measures what other programs train: brainnet eval {run.name}")


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Launch brains of real processes, one after the other, ask them, and yield the figures by kind and in all."""
    wanted, part = run.settings.only, run.settings.part
    failures: list[dict[str, Any]] = []
    if wanted in ("all", "worlds"):
        figures = _ask_worlds(run, [w for w in worlds(part) if run.settings.world in w.id])
        failures += figures.failures
        yield from _rows_of_worlds(figures)
    if wanted in ("all", "regions"):
        figures = _with_brain(run, own_regions(part))
        failures += figures.failures
        yield from _rows_of_regions(figures)
    if wanted in ("all", "conversation"):
        figures = _with_brain(run, ())
        failures += figures.failures
        yield from _rows_of_talk(figures)
    if run.settings.failures is not None:
        lines = (json.dumps(failure, ensure_ascii=False, default=str) for failure in failures)
        run.settings.failures.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


# -- asking ----------------------------------------------------------------------------------------------------------


def _ask_worlds(run: Run[Settings], chosen: Sequence[World]) -> Figures:
    """Tell each world to an empty memory, and ask it."""
    figures = Figures()
    progress = run.track(chosen, f"worlds ({run.settings.part})", len(chosen))
    if run.settings.fresh == "memory":
        with OwnBrain() as brain:
            brain.launch()
            asyncio.run(_one_after_the_other(brain, progress, figures))
        return figures
    for world in progress:
        with OwnBrain() as brain:
            brain.launch()
            asyncio.run(_one_after_the_other(brain, [world], figures))
    return figures


async def _one_after_the_other(brain: OwnBrain, chosen: Iterable[World], figures: Figures) -> None:
    async with client_of(brain) as client:
        for number, world in enumerate(chosen):
            if number:
                await empty_memory(brain, client)
            await _tell_and_ask(client, world, figures)


async def _tell_and_ask(client: Client, world: World, figures: Figures) -> None:
    session = new_id()
    for step in world.steps:
        if step.session == "new":
            session = new_id()
        answer = await ask(client, step.say or step.ask, session)
        if step.say:
            _count_told(step, answer, world, figures)
        else:
            _count_asked(step, answer, world, figures)


def _count_told(step: Step, answer: Answer, world: World, figures: Figures) -> None:
    figures.told["said"] += 1
    if is_refused(answer):
        figures.told["refused"] += 1
        figures.fail("statement refused", step.say, [], answer, kind="told", world=world.id)


def _count_asked(step: Step, answer: Answer, world: World, figures: Figures) -> None:
    verdict = judge(step, answer, world.language)
    kind = f"{step.kind}_unknown" if step.unknown else step.kind
    figures.kinds.setdefault(kind, Counts()).add(verdict)
    figures.all.add(verdict)
    if step.answerable:
        figures.answerable.add(verdict)
        figures.languages.setdefault(world.language, Counts()).add(verdict)
    elif step.kind != "forgotten":
        figures.unanswerable.add(verdict)
        if step.kind == "unanswerable":
            figures.kinds.setdefault(f"unanswerable_{'hard' if step.hard else 'easy'}", Counts()).add(verdict)
    if not verdict.right:
        expected = {"expect": [*step.expect], "also": [*step.also], "not": [*step.excluded]}
        figures.fail(verdict.why, step.ask, expected, answer, kind=kind, world=world.id, language=world.language)


def _with_brain(run: Run[Settings], own: Sequence[OwnRegion]) -> Figures:
    """Ask about regions of a user's own, or else converse."""
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        allocation = _allocation(Path(folder), own, run.settings.part) if own else None
        with OwnBrain(allocation) as brain:
            brain.launch()
            if own:
                asyncio.run(_ask_regions(brain, own, figures))
            else:
                asyncio.run(_converse(brain, run.settings.part, figures))
    return figures


def _allocation(folder: Path, own: Sequence[OwnRegion], part: Part) -> Path:
    """Write the default allocation with the regions of a user's own."""
    text = (share_dir() / "config" / "node_allocation.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)
    entries["nodes"] += [{"id": one.id, "program": f"{regions_program(part)}:{one.program}"} for one in own]
    path = folder / "own_regions.yaml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return path


async def _ask_regions(brain: OwnBrain, own: Sequence[OwnRegion], figures: Figures) -> None:
    async with client_of(brain) as client:
        for region in own:
            for text in region.prompts:
                answer = await ask(client, text, new_id())
                chosen = [] if answer.decision is None else answer.decision.chosen
                asked = region.id in chosen
                counted = figures.kinds.setdefault(region.id, Counts())
                counted.add(Verdict(refused=not chosen, right=asked))
                figures.all.add(Verdict(refused=not chosen, right=asked))
                figures.told["asked"] += len(chosen)
                figures.told["answered"] += asked and region.id in answer.contributing
                if not asked:
                    figures.fail("not asked", text, region.id, answer, kind="own_region")


async def _converse(brain: OwnBrain, part: Part, figures: Figures) -> None:
    async with client_of(brain) as client:
        replies = await client.bus.call_all(key("node_status"), StatusQuery())
        live = sorted(r.message.node_id for r in replies if isinstance(r.message, Health) and r.message.answers)
        if not live:
            raise BrainnetError("no region of the brain answers prompts")
        for talk in conversation(part):
            answer = await ask(client, talk.ask, new_id())
            verdict = judge_talk(talk, answer, live)
            figures.kinds.setdefault(talk.kind, Counts()).add(verdict)
            figures.all.add(verdict)
            if not verdict.right:
                figures.fail(verdict.why, talk.ask, [*talk.holds], answer, kind=talk.kind)


# -- figures ---------------------------------------------------------------------------------------------------------


def _percent(count: int, of: int) -> float:
    return 100.0 * count / max(of, 1)


def _rows_of_worlds(figures: Figures) -> Iterator[Row]:
    yield compare("statements", figures.told["said"], "prompts")
    yield compare("statements_refused", figures.told["refused"], "prompts")
    kinds = [*get_args(Kind), "yes_no_unknown", "unanswerable_easy", "unanswerable_hard"]
    for kind in kinds:
        counts = figures.kinds.get(kind, Counts())
        if not counts.asked:
            continue
        limit: Limit | None = ("value", "==", 100.0) if kind in ("corrected", "forgotten") else None
        yield compare(f"{kind}_right", _percent(counts.right, counts.asked), f"% of {counts.asked}", limit=limit)
        yield compare(f"{kind}_asserted", _percent(counts.asserted, counts.asked), f"% of {counts.asked}")
        yield compare(f"{kind}_refused", _percent(counts.refused, counts.asked), f"% of {counts.asked}")
    for language, counts in sorted(figures.languages.items()):
        yield compare(f"right_in_{language}", _percent(counts.right, counts.asked), f"% of {counts.asked}")
    right, refused, said = figures.answerable, figures.unanswerable, figures.all
    yield compare(
        "right_of_answerable",
        _percent(right.right, right.asked),
        f"% of {right.asked}",
        limit=("value", ">=", _RIGHT),
    )
    yield compare(
        "wrong_of_asserted", _percent(said.wrong, said.asserted), f"% of {said.asserted}", limit=("value", "<=", _WRONG)
    )
    yield compare(
        "refused_of_unanswerable",
        _percent(refused.right, refused.asked),
        f"% of {refused.asked}",
        limit=("value", ">=", _REFUSED),
    )


def _rows_of_regions(figures: Figures) -> Iterator[Row]:
    for name, counts in figures.kinds.items():
        yield compare(f"asked_{name}", _percent(counts.right, counts.asked), f"% of {counts.asked}")
    count = figures.all.asked
    yield compare("regions_asked_per_prompt", figures.told["asked"] / max(count, 1), "regions")
    yield compare("own_regions_answered", _percent(figures.told["answered"], count), f"% of {count}")
    yield compare("own_regions_asked", _percent(figures.all.right, count), f"% of {count}", limit=("value", ">=", _OWN))


def _rows_of_talk(figures: Figures) -> Iterator[Row]:
    for name, counts in figures.kinds.items():
        yield compare(f"talk_{name}", _percent(counts.right, counts.asked), f"% of {counts.asked}")
    count = figures.all.asked
    yield compare("conversation", _percent(figures.all.right, count), f"% of {count}", limit=("value", ">=", _TALK))

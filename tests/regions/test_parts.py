"""Prompts that ask for several things: done in order, each by its region, and what could not be done is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from brainnet import Answer, Candidate, Partial, Prompt, Query, Region, RegionError
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.snn.models.router import RouterConfig
from brainnet.snn.models.router_network import RouterNet
from brainnet.snn.models.text_features import HashedVocabulary
from brainnet.testing import MemoryBrain, until
from brainnet.wire.keys import key

TWO = "Move to (0.1, 0.2) and tell me where the rover is."


class Hand(Region):
    """Does what it is told, but nothing with the rover."""

    async def setup(self) -> None:
        self.asked: list[str] = []

    async def answer(self, query: Query) -> Partial:
        text = query.prompt.text
        self.asked.append(text)
        if "rover" in text and not self.knows:
            raise RegionError("no idea where it is", code="unknown")
        return Partial(candidates=[Candidate(text=f"done: {text}", probability=1.0)], confidence=0.8)

    knows = True


class Ignorant(Hand):
    """As the hand; does not know where the rover is."""

    knows = False


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    vocabulary = HashedVocabulary.build(["move"], unknown_rows=16)
    config = RouterConfig(routes=("hand",), unknown_rows=vocabulary.unknown_rows)
    path = tmp_path_factory.mktemp("weights") / "router.safetensors"
    RouterNet(config, len(vocabulary)).to_router(vocabulary).save(path)
    return path


class Brain(MemoryBrain):
    """A prefrontal cortex, a memory integrator and one region."""

    async def begin(self, weights: Path, kind: type[Hand]) -> Hand:
        hand = await self.start(kind, "hand")
        await self.start(load_program(str(region_file("memory_integrator"))), "memory_integrator")
        await self.start_router(weights)
        return hand

    async def start_router(self, weights: Path) -> None:
        program = load_program(str(region_file("prefrontal")))
        await self.start(program, "prefrontal", checkpoint=weights, parameters={"bid_ms": 0.0})

    async def ask(self, prompt: Prompt) -> Answer:
        answer: Answer = await self.bus().call(key("prompt"), prompt, timeout=60.0)
        return answer


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[Brain]:
    async with Brain(tmp_path) as started:
        yield started


async def test_both_are_done_in_order_and_the_answer_holds_both(brain: Brain, weights: Path) -> None:
    hand = await brain.begin(weights, Hand)
    answer = await brain.ask(Prompt(text=TWO, session_id="mine", prompt_id="x" * 128))
    assert answer.error is None
    assert hand.asked == ["Move to (0.1, 0.2)", "tell me where the rover is."]
    assert answer.text.splitlines() == [f"done: {text}" for text in hand.asked]
    assert (answer.prompt, answer.session_id, answer.prompt_id) == (TWO, "mine", "x" * 128)
    assert (answer.unsure, answer.reason, answer.contributing) == (False, "", ["hand"])
    assert [part["text"] for part in answer.content["parts"]] == answer.text.splitlines()


async def test_what_could_not_be_done_is_named(brain: Brain, weights: Path) -> None:
    await brain.begin(weights, Ignorant)
    answer = await brain.ask(Prompt(text=TWO))
    first, second = answer.text.splitlines()
    assert first == "done: Move to (0.1, 0.2)"
    assert "no idea where it is" in second
    assert (answer.unsure, answer.reason) == (False, "partly")


async def test_a_prompt_for_a_named_region_is_not_taken_apart(brain: Brain, weights: Path) -> None:
    hand = await brain.begin(weights, Hand)
    await brain.ask(Prompt(text=TWO, regions=["hand"]))
    assert hand.asked == [TWO]


class Slow(Hand):
    """Holds its second answer back until it may go on."""

    async def answer(self, query: Query) -> Partial:
        partial = await super().answer(query)
        if len(self.asked) == 1:
            await until("it may go on", lambda: self.go_on)
        return partial

    go_on = False


async def test_a_router_that_is_started_again_goes_on_with_the_parts(brain: Brain, weights: Path) -> None:
    hand = await brain.begin(weights, Slow)
    waiting = asyncio.create_task(brain.ask(Prompt(text=TWO, deadline_ms=60_000)))
    await until("the first part to be asked", lambda: len(hand.asked) == 1)
    await brain.stop("prefrontal")
    await brain.start_router(weights)
    hand.go_on = True
    answer = await waiting
    assert answer.text.splitlines() == [
        f"done: {text}" for text in ("Move to (0.1, 0.2)", "tell me where the rover is.")
    ]
    assert len(hand.asked) == 2

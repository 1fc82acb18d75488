"""The shipped router with regions that its weights do not know: asked by their examples, described as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from brainnet import Answer, Candidate, Partial, Prompt, Query, Region
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.testing import MemoryBrain, until
from brainnet.wire.keys import key


class Lights(Region):
    """Switches the lights of the house on and off."""

    examples = (
        "Turn on the kitchen light",
        "Switch off the lamp in the hall",
        "Is the light in the bathroom on?",
        "Dim the bedroom lights",
        "Make it brighter in the living room",
    )

    async def answer(self, query: Query) -> Partial:
        return Partial(candidates=[Candidate(text="The lights were asked.", probability=1.0)], confidence=1.0)


class Weather(Region):
    """Forecasts the weather."""

    examples = (
        "What is the weather in Paris?",
        "Will it rain tomorrow?",
        "How warm will it be at the weekend?",
        "Do I need an umbrella today?",
        "Is there a storm coming?",
    )

    async def answer(self, query: Query) -> Partial:
        return Partial(candidates=[Candidate(text="The weather was asked.", probability=1.0)], confidence=1.0)


class Brain(MemoryBrain):
    """The shipped router, a memory integrator and two regions of a user's own."""

    async def ask(self, text: str) -> Answer:
        answer: Answer = await self.bus().call(key("prompt"), Prompt(text=text, deadline_ms=60_000), timeout=60.0)
        return answer


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[Brain]:
    async with Brain(tmp_path) as started:
        await started.start(Lights, "lights")
        await started.start(Weather, "weather")
        await started.start(load_program(str(region_file("memory_integrator"))), "memory_integrator")
        node = await started.start(load_program(str(region_file("prefrontal"))), "prefrontal")
        regions = node._regions  # type: ignore[attr-defined]
        await until("both regions to be known", lambda: "lights" in regions and "weather" in regions)
        yield started


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("Please switch the lamp in the bathroom on.", "lights"),
        ("turn off all the lights", "lights"),
        ("What will the weather be like in Rome on Sunday?", "weather"),
        ("Is it going to rain this evening?", "weather"),
    ],
)
async def test_a_region_of_ones_own_is_asked_for_what_is_like_its_examples(
    brain: Brain, text: str, region: str
) -> None:
    answer = await brain.ask(text)
    assert answer.contributing == [region]
    assert answer.decision is not None
    assert answer.decision.bids[region] > 0.3
    assert "like its example" in answer.decision.bid_reasons[region]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Hello!", "greeting"),
        ("Thank you very much.", "thanks"),
        ("Who are you?", "identity"),
        ("What can you do?", "ability"),
        ("Which regions are there?", "regions"),
        ("How are you?", "state"),
    ],
)
async def test_what_is_asked_of_the_brain_itself_is_answered_from_who_is_alive(
    brain: Brain, text: str, reason: str
) -> None:
    answer = await brain.ask(text)
    assert (answer.contributing, answer.reason, answer.unsure) == (["prefrontal"], reason, False)
    assert set(answer.content["regions"]["prefrontal"]["nodes"]) == {
        "lights",
        "weather",
        "memory_integrator",
        "prefrontal",
    }
    if reason in ("ability", "regions"):
        assert "Switches the lights of the house on and off." in answer.text
    await brain.stop("weather")
    again = await brain.ask(text)
    assert "weather" not in again.content["regions"]["prefrontal"]["nodes"]
    assert "weather" not in again.text


async def test_what_nobody_can_do_is_said_with_what_those_who_are_there_can(brain: Brain) -> None:
    answer = await brain.ask("Who invented the telephone?")
    assert (answer.error, answer.unsure, answer.reason, answer.contributing) == (None, True, "cannot", [])
    assert "Turn on the kitchen light" in answer.text

"""The language region: what it takes for the text to continue, streaming, and where it stops."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from brainnet import Partial, Prompt
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.testing import MemoryBrain
from brainnet.wire.messages import ParamsQuery

PROGRAM = load_program(str(region_file("language")))
MODULE = sys.modules[PROGRAM.__module__]
OPENING = "It was a dark night, and"


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[MemoryBrain]:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "words")
        yield brain


async def set_to(brain: MemoryBrain, **values: object) -> None:
    bus = brain.bus()
    for name, value in values.items():
        await bus.call("node/words/params", ParamsQuery(name=name, value=value, set=True))


async def test_streams_what_it_finally_says(brain: MemoryBrain) -> None:
    interim: list[Partial] = []
    await set_to(brain, seed=5)  # a drawn text may also be short
    partial = await brain.query("words", Prompt(text=OPENING), interim=interim.append)
    assert partial.best is not None
    assert len(interim) > 5
    assert "".join(p.content["chunk"] for p in interim).strip() == partial.best.text
    assert interim[0].best is not None
    assert partial.best.text.startswith(interim[0].best.text)
    assert 0 < partial.confidence < partial.best.probability == 1
    neurons, steps = partial.spikes.shape
    assert steps == partial.content["tokens"]
    assert neurons > 1000
    assert set(np.unique(partial.spikes)) == {0, 1}
    assert partial.content["tokens_per_s"] > 0


async def test_parameters_say_how_much_and_how(brain: MemoryBrain) -> None:
    await set_to(brain, max_tokens=7, sentences=0, seed=5)
    first = await brain.query("words", Prompt(text=OPENING))
    second = await brain.query("words", Prompt(text=OPENING))
    assert first.content["tokens"] == 7
    assert first.content["stopped_by"] == "max_tokens"
    assert first.best == second.best
    await set_to(brain, seed=6)
    assert (await brain.query("words", Prompt(text=OPENING))).best != first.best


async def test_stops_after_the_sentences_asked_for(brain: MemoryBrain) -> None:
    await set_to(brain, max_tokens=2000, sentences=1, seed=5)
    partial = await brain.query("words", Prompt(text=OPENING))
    assert partial.content["stopped_by"] == "sentence"
    assert partial.best is not None
    assert partial.best.text.rstrip("\"')]")[-1] in ".!?"


async def test_stops_before_the_deadline(brain: MemoryBrain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "REPLY_MARGIN_S", 1000.0)
    await set_to(brain, max_tokens=4096, sentences=0, seed=5)
    partial = await brain.query("words", Prompt(text=OPENING, deadline_ms=600_000))
    assert (partial.content["stopped_by"], partial.content["tokens"]) == ("deadline", 1)
    assert partial.best is not None


async def test_without_a_text_it_says_so(brain: MemoryBrain) -> None:
    partial = await brain.query("words", Prompt(text="Continue: ", image=b"a picture"))
    assert partial.error is not None
    assert "send one with the prompt" in partial.error


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Continue: It was a", "It was a"),
        ("continue the text:  It was a", "It was a"),
        ("Please continue this story: 'It was a'", "It was a"),
        ('Complete the sentence "It was a"', "It was a"),
        ("Finish the following text:\nIt was a\n", "It was a"),
        ("Continue with the text: It was a", "It was a"),
        ("It was a", "It was a"),
        ("Continued rain: It was a", "Continued rain: It was a"),
        ("'Continue,' he said", "'Continue,' he said"),
        ("Continue to the bridge, she said: it was a", "Continue to the bridge, she said: it was a"),
    ],
)
def test_an_instruction_in_front_is_not_part_of_the_text(prompt: str, text: str) -> None:
    assert MODULE.text_to_continue(prompt) == text


@pytest.mark.parametrize(
    ("text", "count", "end"),
    [
        ("He went. She", 1, 8),
        ("He went.", 1, None),
        ('He said "no." She', 1, 13),
        ("Mr. Bennet was here! So", 1, 20),
        ("One. Two? Three", 2, 9),
        ("One. Two? Three", 0, None),
        ("About 3.5 miles", 1, None),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, count: int, end: int | None) -> None:
    assert MODULE.sentence_end(text, count) == end

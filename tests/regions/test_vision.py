"""The vision region: pictures in, classes and spikes out, and a reason where there is no picture."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from brainnet import Prompt
from brainnet.node import load_program
from brainnet.paths import region_file, share_dir
from brainnet.testing import MemoryBrain

SAMPLES = share_dir() / "scripts" / "samples"


def drawn(digit: int) -> bytes:
    picture = Image.new("RGB", (120, 160), "white")
    font = ImageFont.load_default(110)
    ImageDraw.Draw(picture).text((60, 80), str(digit), "navy", font, anchor="mm", stroke_width=3, stroke_fill="navy")
    return encoded(picture)


def encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[MemoryBrain]:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(load_program(str(region_file("vision"))), "eye")
        yield brain


async def test_a_drawn_digit_gets_every_class_with_its_probability(brain: MemoryBrain) -> None:
    partial = await brain.query("eye", Prompt(text="which digit is this?", image=drawn(3)))
    assert partial.best is not None
    assert partial.best.text == "3"
    assert len({c.text for c in partial.candidates}) == len(partial.candidates) == 30
    assert {"3", "ankle boot", "airplane"} <= {c.text for c in partial.candidates}
    assert sum(c.probability for c in partial.candidates) == pytest.approx(1, abs=1e-4)
    assert partial.confidence == partial.best.probability
    assert partial.spikes.dtype == np.uint8
    assert partial.spikes.sum() == partial.content["spikes"] > 0


async def test_the_answer_carries_what_it_rests_on(brain: MemoryBrain) -> None:
    partial = await brain.query("eye", Prompt(text="which digit is this?", image=drawn(3)))
    content = partial.content
    assert content["kind"] == "digit"
    assert sum(content["kinds"].values()) == pytest.approx(1, abs=1e-4)
    assert list(content["probabilities"]) == [c.text for c in partial.candidates[:5]]
    assert partial.spikes.shape[1] == content["steps"] <= content["most_steps"]


@pytest.mark.parametrize(
    ("file", "kind", "name"),
    [
        ("digit_7.png", "digit", "7"),
        ("clothing_ankle_boot.png", "clothing", "ankle boot"),
    ],
)
async def test_the_samples_are_told_apart_and_named(brain: MemoryBrain, file: str, kind: str, name: str) -> None:
    partial = await brain.query("eye", Prompt(text="what is this?", image=(SAMPLES / file).read_bytes()))
    assert partial.best is not None
    assert (partial.content["kind"], partial.best.text) == (kind, name)


@pytest.mark.parametrize("size", [(32, 32), (320, 240)])
async def test_coloured_pictures_of_any_size_are_photos(brain: MemoryBrain, size: tuple[int, int]) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    photo = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    partial = await brain.query("eye", Prompt(text="what is this?", image=encoded(photo)))
    assert partial.content["kind"] == "photo"


async def test_a_picture_is_named_as_it_is_shown(brain: MemoryBrain) -> None:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(drawn(7))).transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", exif=exif)
    turned = await brain.query("eye", Prompt(text="which digit is this?", image=buffer.getvalue()))
    upright = await brain.query("eye", Prompt(text="which digit is this?", image=drawn(7)))
    assert turned.best is not None
    assert upright.best is not None
    assert turned.best.text == upright.best.text == "7"
    assert turned.confidence == pytest.approx(upright.confidence, abs=0.1)


async def test_pictures_that_wait_together_each_get_their_own_answer(brain: MemoryBrain) -> None:
    prompts = [Prompt(text="?", image=drawn(d)) for d in (0, 2)]
    prompts.insert(1, Prompt(text="?", image=b"no picture"))
    first, broken, last = await asyncio.gather(*(brain.query("eye", prompt) for prompt in prompts))
    assert first.error is last.error is None
    assert broken.confidence == 0
    assert broken.error is not None
    assert "10 bytes" in broken.error
    assert first.best is not None
    assert first.best.text == "0"
    assert last.best is not None
    assert last.best.text == "2"


async def test_without_a_picture_it_says_so(brain: MemoryBrain) -> None:
    partial = await brain.query("eye", Prompt(text="which digit is this?"))
    assert partial.error == "eye needs a picture: send one with the prompt"
    assert partial.confidence == 0

"""`program: sensor`: recordings and signals on the topics of sensors, as nodes and as processes."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brainnet.errors import BrainnetError
from brainnet.node import Node, load_program
from brainnet.sensors.synthetic import MovingBar, MovingEdge, RandomWalk, RotatingPoints, ToneSweep
from brainnet.testing import PATIENCE_S, MemoryBrain
from brainnet.wire.messages import SensorSample
from tests.support import MakeBrain, write_allocation


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[MemoryBrain]:
    async with MemoryBrain(tmp_path / "state") as brain:
        yield brain


async def samples(brain: MemoryBrain, count: int, program: str = "sensor", **parameters: Any) -> list[SensorSample]:
    """Start a sensor, and return its first samples."""
    box = brain.bus("region", "listener").subscribe("input/**", capacity=4096)
    await brain.start(load_program(program), "eye", parameters={"speed": 100.0, "modality": "vision"} | parameters)
    async with asyncio.timeout(PATIENCE_S):
        received = [await box.get() for _ in range(count)]
    assert all(r.message.source == r.key.rpartition("/")[2] for r in received)
    return [r.message for r in received]


@pytest.mark.parametrize("signal", [MovingBar, ToneSweep, RandomWalk, RotatingPoints])
async def test_signals_are_sent_as_they_are_computed_and_begin_again(brain: MemoryBrain, signal: Any) -> None:
    expected = list(signal(seconds=0.5, seed=3))
    got = await samples(brain, len(expected) + 2, kind=signal.__name__, options={"seconds": 0.5, "seed": 3})
    assert [sample.sequence for sample in got] == list(range(1, len(got) + 1))
    for sample, block in zip(got, expected + expected[:2], strict=True):
        np.testing.assert_array_equal(sample.array(), block.payload)
        assert sample.array().dtype == block.dtype
        assert sample.rate_hz == block.rate_hz


async def test_events_have_a_format_of_their_own(brain: MemoryBrain) -> None:
    first = next(iter(MovingEdge(20, 30, seed=1)))
    (sample,) = await samples(
        brain, 1, modality="events", kind="MovingEdge", options={"height": 20, "width": 30, "seed": 1}
    )
    assert (sample.format, sample.shape) == ("events", list(first.shape))
    assert sample.metadata == {"width": 30, "height": 20}
    np.testing.assert_array_equal(np.frombuffer(sample.data, first.dtype), first.payload)


async def test_a_folder_of_pictures(brain: MemoryBrain, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (8, 6), (number, 100, 200)).save(folder / f"frame_{number}.png")
    got = await samples(brain, 4, f"sensor:{folder}", options={"fps": 15.0})
    assert [sample.array().shape for sample in got] == [(6, 8, 3)] * 4
    assert [int(sample.array()[0, 0, 0]) for sample in got] == [0, 1, 2, 0]


async def test_sound_from_a_file(brain: MemoryBrain, tmp_path: Path) -> None:
    wave_form = np.arange(3000, dtype=np.int16)
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(wave_form.tobytes())
    got = await samples(brain, 3, f"sensor:{tmp_path / 'tone.wav'}", modality="audio", source="microphone")
    np.testing.assert_array_equal(np.concatenate([s.array()[:, 0] for s in got])[:3000], wave_form)
    assert {(s.rate_hz, s.source) for s in got} == {(8000.0, "microphone")}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({}, "no signal is named; it is one of MovingBar, "),
        ({"kind": "MovingBr"}, "there is no signal 'MovingBr', did you mean MovingBar"),
        ({"kind": "MovingBar", "options": {"fsp": 3}}, "there is no 'fsp', did you mean fps"),
        ({"kind": "MovingBar", "options": {"fps": -3}}, "rate|fps|frames"),
        ({"kind": "MovingBar", "options": {"fps": "x"}}, "options|fps"),
    ],
)
async def test_a_mistake_is_one_clear_error(brain: MemoryBrain, parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(BrainnetError, match=says) as caught:
        await brain.start(load_program("sensor"), "eye", parameters={"modality": "vision", **parameters})
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_says_not_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(BrainnetError, match="there is no such file or folder"):
        load_program(f"sensor:{tmp_path / 'none.wav'}")
    (tmp_path / "table.csv").write_text("t_us,x\n0,1\n")
    program: Any = load_program(f"sensor:{tmp_path / 'table.csv'}")
    assert issubclass(program, Node)


async def test_a_table_needs_its_kind(brain: MemoryBrain, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("t_us,x\n0,1\n1000,2\n")
    with pytest.raises(
        BrainnetError, match=r"table.csv does not say what it holds; it is one of images, audio, samples"
    ):
        await brain.start(load_program(f"sensor:{tmp_path / 'table.csv'}"), "eye", parameters={"modality": "force"})
    got = await samples(brain, 2, f"sensor:{tmp_path / 'table.csv'}", kind="samples", modality="force")
    assert [sample.array().ravel()[0] for sample in got] == [1, 2]


def test_in_an_allocation_a_folder_is_relative_to_it(make_brain: MakeBrain, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    Image.new("L", (4, 4), 7).save(tmp_path / "frames" / "one.png")
    eye = {"id": "eye", "program": "sensor:frames", "parameters": {"modality": "vision", "options": {"fps": 20.0}}}
    path = write_allocation(tmp_path / "a.yaml", eye)
    with make_brain() as brain:
        assert "is valid" in brain.run("validate", str(path)).stderr
        brain.launch(path)
        shown = brain.run("topic", "echo", "input/vision/eye", "--count", "2").stdout
        assert shown.count("SensorSample") == 2
        assert "shape: [4, 4" in shown
        brain.run("stop")
        missing = write_allocation(tmp_path / "b.yaml", {"id": "eye", "program": "sensor:nothing"})
        refused = brain.run("validate", str(missing), check=False)
        assert refused.returncode == 1
        assert "nothing does not exist" in refused.stderr

"""The vision region watches cameras: percepts for frames, and prompts answered from them."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brainnet import Node, Prompt
from brainnet.bus import Bus, Mailbox, Received
from brainnet.node import load_program
from brainnet.paths import region_file, share_dir
from brainnet.testing import MemoryBrain, until
from brainnet.wire.messages import Percept, SensorSample

SEVEN = (share_dir() / "scripts" / "samples" / "digit_7.png").read_bytes()


def what() -> Prompt:
    return Prompt(text="what do you see?")


class Camera:
    """Sends frames to a vision region, and reads its percepts."""

    def __init__(self, brain: MemoryBrain, eye: Node) -> None:
        self.brain, self.eye = brain, eye
        self.bus: Bus = brain.bus("sensor", "camera")
        self.percepts: Mailbox[Received] = brain.bus().subscribe("percept/eye", capacity=1000)
        self.sent = 0

    def send(self, source: str = "front", **fields: Any) -> None:
        self.sent += 1
        if "dtype" not in fields and "format" not in fields:
            fields |= {"format": "png", "data": SEVEN}
        self.bus.publish(f"input/vision/{source}", SensorSample(source=source, sequence=self.sent, **fields))

    async def percept(self) -> Percept:
        message = (await self.percepts.get()).message
        assert isinstance(message, Percept)
        return message


async def start(brain: MemoryBrain, **parameters: Any) -> Camera:
    return Camera(brain, await brain.start(load_program(str(region_file("vision"))), "eye", parameters=parameters))


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[MemoryBrain]:
    async with MemoryBrain(tmp_path) as brain:
        yield brain


async def test_every_frame_gets_a_percept_and_a_prompt_the_newest_with_its_age(brain: MemoryBrain) -> None:
    camera = await start(brain, watch="*", watch_s=60.0)
    before = await brain.query("eye", what())
    assert "no frame has come on input/vision/*" in str(before.error)
    for _ in range(3):
        camera.send()
        percept = await camera.percept()
        assert (percept.region, percept.source, percept.sequence) == ("eye", "input/vision/front", camera.sent)
        assert percept.candidates[0].text == "7"
        assert percept.confidence == percept.candidates[0].probability > 0.5
        assert percept.error is None
    answer = await brain.query("eye", what())
    assert answer.best is not None
    content = answer.content
    assert answer.best.text == f"7, seen on front {content['age_s']:.2f} s ago"
    assert 0.0 <= content["age_s"] < 60.0
    assert content["percepts"] == {"front": "7"}


async def test_arrays_are_frames_too_and_a_picture_in_a_prompt_comes_first(brain: MemoryBrain) -> None:
    camera = await start(brain, watch="front", watch_s=60.0)

    pixels = np.asarray(Image.open(io.BytesIO(SEVEN)).convert("RGB"))
    for array in (
        pixels,
        pixels[..., 0],
        pixels[..., :1],
        np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),
    ):
        fields = SensorSample.of(array).model_dump(include={"dtype", "shape", "data"})
        camera.send(**fields)
        assert (await camera.percept()).candidates[0].text == "7"
    for path in (share_dir() / "scripts" / "samples").glob("*.png"):
        answer = await brain.query("eye", Prompt(text="what is this?", image=path.read_bytes()))
        assert answer.best is not None
        assert "seen on" not in answer.best.text


async def test_cameras_are_kept_apart_and_others_left_alone(brain: MemoryBrain) -> None:
    camera = await start(brain, watch="front", watch_s=60.0)
    camera.send("rear")
    camera.send("front")
    percept = await camera.percept()
    assert (percept.source, percept.sequence) == ("input/vision/front", 2)
    assert camera.percepts.get_nowait() is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"format": "jpeg", "data": b"no picture"}, "picture"),
        ({"format": "png", "data": SEVEN[:100]}, "picture"),
        ({"format": "h264", "data": b"\0" * 100}, "picture"),
        ({"dtype": "float32", "shape": [1], "data": b"\0\0\0\0"}, "a frame is uint8"),
        ({"dtype": "uint8", "shape": [0, 0, 3], "data": b""}, "a frame is uint8"),
        ({"dtype": "uint8", "shape": [2, 2, 2], "data": b"12345678"}, "a frame is uint8"),
        ({"dtype": "uint8", "shape": [8, 8], "data": bytes(64)}, "all of one shade"),
    ],
)
async def test_a_frame_that_is_no_picture_is_seen_in_percept_and_state(
    brain: MemoryBrain, fields: dict[str, Any], reason: str
) -> None:
    camera = await start(brain, watch="*", watch_s=60.0)
    camera.send(**fields)
    percept = await camera.percept()
    assert reason in str(percept.error)
    assert (percept.candidates, percept.confidence) == ([], 0.0)
    await until("it says so", lambda: camera.eye.state == "degraded")
    assert str(camera.eye.last_error).startswith("input/vision/front: ")
    camera.send()
    assert (await camera.percept()).error is None
    await until("it is well again", lambda: camera.eye.state == "ready")


async def test_of_a_flood_the_newest_frames_are_seen(brain: MemoryBrain) -> None:
    camera = await start(brain, watch="*", watch_s=60.0)
    for _ in range(200):
        camera.send()
    while (await camera.percept()).sequence < 200:
        pass
    counters = camera.eye.health().counters
    (row,) = [t for t in camera.eye.health().topics if t.key == "input/vision/*"]
    assert counters["frames"] + counters.get("frames_skipped", 0) + row.dropped == 200


async def test_a_camera_that_stops_degrades_it_until_it_sends_again(brain: MemoryBrain) -> None:
    camera = await start(brain, watch="*", watch_s=0.1)
    camera.send()
    await camera.percept()
    await until("it is missed", lambda: camera.eye.state == "degraded")
    assert str(camera.eye.last_error) == "input/vision/front: no frame for more than 0.1 s"
    assert "nothing is seen now: the last frame on input/vision/front" in str((await brain.query("eye", what())).error)
    camera.send()
    await camera.percept()
    await until("it is well again", lambda: camera.eye.state == "ready")


def rows(folder: Path) -> dict[str, int]:
    """Return how many rows each table has, of journal and memory."""
    counts: dict[str, int] = {}
    for path in sorted(folder.rglob("*.sqlite")):
        with contextlib.closing(sqlite3.connect(path)) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            counts |= {f"{path.name} {n}": database.execute(f'SELECT count(*) FROM "{n}"').fetchone()[0] for n in names}
    return counts


async def test_frames_leave_journal_and_memory_alone(brain: MemoryBrain, tmp_path: Path) -> None:
    await brain.start(load_program(str(region_file("hippocampus"))), "hippocampus")
    camera = await start(brain, watch="*", watch_s=60.0)
    before = rows(tmp_path)
    assert {name.split()[0] for name in before} >= {"journal.sqlite"}
    for _ in range(5):
        camera.send()
        await camera.percept()
    assert rows(tmp_path) == before
    # what is kept shows there
    stored = await brain.query("hippocampus", Prompt(text="Remember that the gate is green."))
    assert stored.error is None
    assert sum(rows(tmp_path).values()) > sum(before.values())

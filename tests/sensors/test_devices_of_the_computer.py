"""Cameras and microphones: what is around the library that reads them, which an object of the tests replaces."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from brainnet.errors import BrainnetError, SensorError
from brainnet.node import load_program
from brainnet.sensors.camera import Camera
from brainnet.sensors.microphone import Microphone
from brainnet.testing import PATIENCE_S, MemoryBrain, until
from brainnet.wire.messages import SensorSample

JPEG = np.frombuffer(b"\xff\xd8picture\xff\xd9", np.uint8)
A_DEVICE = "/dev/null"
"""A character device, as a camera is one."""


class Capture:
    """What OpenCV gives for a camera: settings, and frames until there is none."""

    def __init__(self, opens: bool, frames: list[Any]) -> None:
        self.opens, self.frames, self.released = opens, iter(frames), 0
        self.settings: list[tuple[str, Any]] = []

    def isOpened(self) -> bool:
        return self.opens

    def set(self, name: str, value: Any) -> None:
        self.settings.append((name, value))

    def read(self) -> tuple[bool, Any]:
        frame = next(self.frames, None)
        return frame is not None, frame

    def release(self) -> None:
        self.released += 1


Cameras = Callable[..., list[Capture]]


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> Cameras:
    def put(frames: list[Any], opens: bool = True) -> list[Capture]:
        made: list[Capture] = []

        def capture(path: str, backend: str) -> Capture:
            assert (path, backend) == (A_DEVICE, "v4l2")
            made.append(Capture(opens, frames))
            return made[-1]

        names = ("FOURCC", "FRAME_WIDTH", "FRAME_HEIGHT", "FPS", "CONVERT_RGB")
        library: Any = SimpleNamespace(VideoCapture=capture, CAP_V4L2="v4l2", **{f"CAP_PROP_{n}": n for n in names})
        library.VideoWriter_fourcc = lambda *letters: "".join(letters)
        monkeypatch.setitem(sys.modules, "cv2", library)
        return made

    return put


def test_pictures_of_a_camera_are_passed_on_as_they_come(cameras: Cameras) -> None:
    made = cameras([JPEG[None], JPEG[None]])
    blocks = iter(Camera(A_DEVICE, width=640, height=480, fps=15.0))
    first, second = next(blocks), next(blocks)
    assert (first.encoding, first.payload.tobytes(), first.sequence) == ("jpeg", JPEG.tobytes(), 0)
    assert (second.sequence, second.t_us >= first.t_us >= 0) == (1, True)
    asked = [("FOURCC", "MJPG"), ("FRAME_WIDTH", 640), ("FRAME_HEIGHT", 480), ("FPS", 15.0), ("CONVERT_RGB", 0)]
    assert made[1].settings == asked
    with pytest.raises(SensorError, match=f"{A_DEVICE} sends no frame any more; is the camera still connected"):
        next(blocks)
    assert [capture.released for capture in made] == [1, 1]


def test_frames_have_red_first(cameras: Cameras) -> None:
    made = cameras([np.tile(np.array([1, 2, 3], np.uint8), (4, 5, 1))])
    block = next(iter(Camera(A_DEVICE, jpeg=False)))
    assert (block.encoding, block.shape, block.payload[0, 0].tolist()) == (None, (4, 5, 3), [3, 2, 1])
    assert made[1].settings == []


def test_a_camera_without_motion_jpeg(cameras: Cameras) -> None:
    cameras([np.zeros((4, 5, 2), np.uint8)])
    with pytest.raises(SensorError, match="sends no Motion JPEG; write `jpeg: false`"):
        next(iter(Camera(A_DEVICE)))


def test_a_camera_that_is_none_or_in_use(cameras: Cameras, tmp_path: Path) -> None:
    (made,) = [cameras([], opens=False)]
    with pytest.raises(SensorError, match=f"{A_DEVICE} cannot be opened as a camera: it is none, or another"):
        Camera(A_DEVICE)
    assert made[0].released == 1
    with pytest.raises(SensorError, match=r"there is no camera .*/none; this computer has"):
        Camera(str(tmp_path / "none"))
    with pytest.raises(SensorError, match="/dev/video4242; this computer has"):
        Camera(4242)
    (tmp_path / "recording.mp4").write_bytes(b"film")
    with pytest.raises(SensorError, match=r"recording\.mp4 is no device; a recording is published by"):
        Camera(str(tmp_path / "recording.mp4"))
    with pytest.raises(SensorError, match="width must be 1 to 16,384 pixels, not 0"):
        Camera(A_DEVICE, width=0)
    with pytest.raises(SensorError, match="per second"):
        Camera(A_DEVICE, fps=0.0)


class Stream:
    """What sounddevice gives for a microphone."""

    def __init__(self, blocks: list[tuple[Any, bool]], problem: type[Exception], **asked: Any) -> None:
        self.blocks, self.problem, self.asked = iter(blocks), problem, asked

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.asked["closed"] = True

    def read(self, rows: int) -> tuple[Any, bool]:
        found = next(self.blocks, None)
        if found is None:
            raise self.problem("Device unavailable [PaErrorCode -9985]")
        assert len(found[0]) == rows
        return found


@pytest.fixture
def microphones(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Stream]]:
    def put(blocks: list[tuple[Any, bool]], refused: str = "") -> list[Stream]:
        made: list[Stream] = []
        library: Any = ModuleType("sounddevice")
        library.PortAudioError = type("PortAudioError", (Exception,), {})

        def check(**_: Any) -> None:
            if refused:
                raise ValueError(refused)

        def stream(**asked: Any) -> Stream:
            made.append(Stream(blocks, library.PortAudioError, **asked))
            return made[-1]

        library.check_input_settings, library.InputStream = check, stream
        monkeypatch.setitem(sys.modules, "sounddevice", library)
        return made

    return put


def test_sound_of_a_microphone_is_counted_by_samples(microphones: Callable[..., list[Stream]]) -> None:
    sounds = [np.full((160, 2), n, np.int16) for n in range(3)]
    made = microphones([(sounds[0], False), (sounds[1], True), (sounds[2], False)])
    blocks = iter(Microphone("USB", rate_hz=16_000, channels=2, rows=160))
    found = [next(blocks) for _ in range(3)]
    assert [(b.t_us, b.sequence, b.rate_hz) for b in found] == [(0, 0, 16e3), (10_000, 2, 16e3), (20_000, 3, 16e3)]
    assert all(np.array_equal(block.payload, sound) for block, sound in zip(found, sounds, strict=True))
    with pytest.raises(SensorError, match=r"the microphone 'USB' cannot be used: Device unavailable"):
        next(blocks)
    (stream,) = made
    asked = {"device": "USB", "samplerate": 16_000, "channels": 2, "dtype": "int16", "blocksize": 160, "closed": True}
    assert stream.asked == asked


def test_a_microphone_that_is_not_there(microphones: Callable[..., list[Stream]]) -> None:
    microphones([], refused="No input device matching 'none'")
    with pytest.raises(SensorError, match=r"'none' cannot be used: No input device .* `python -m sounddevice` lists"):
        Microphone("none")
    with pytest.raises(SensorError, match="1 to 256 channels"):
        Microphone(channels=0)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cv2", "sounddevice"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    ("kind", "says"),
    [("camera", r"pip install 'brainnet\[camera\]'"), ("microphone", r"pip install 'brainnet\[microphone\]'")],
)
async def test_a_package_that_is_missing(without: None, kind: str, says: str, tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        with pytest.raises(BrainnetError, match=says) as caught:
            await brain.start(load_program("sensor"), "eye", parameters={"modality": "any", "kind": kind})
    assert "\n" not in str(caught.value)


async def test_the_program_publishes_what_a_camera_sends(cameras: Cameras, tmp_path: Path) -> None:
    cameras([JPEG[None]] * 3)
    async with MemoryBrain(tmp_path) as brain:
        box = brain.bus("region", "listener").subscribe("input/**", capacity=64)
        parameters = {"modality": "vision", "kind": "camera", "options": {"device": A_DEVICE}}
        node = await brain.start(load_program("sensor"), "eye", parameters=parameters)
        async with asyncio.timeout(PATIENCE_S):
            messages = [(await box.get()).message for _ in range(3)]
        for number, message in enumerate(messages, 1):
            assert isinstance(message, SensorSample)
            assert (message.format, message.data, message.sequence) == ("jpeg", JPEG.tobytes(), number)
        # then it is unplugged
        await until("the failure", lambda: node.state == "failed")
        with pytest.raises(BrainnetError, match=r"eye failed: .*sends no frame any more"):
            await brain.stop("eye")

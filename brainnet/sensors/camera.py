"""A camera of the computer (V4L2: `/dev/video0`), read by OpenCV, which the extra `camera` installs.

OpenCV was chosen because its licence is that of this project; linuxpy is smaller, and GPL. It is written after OpenCV's
documentation, and was tried without a camera: the tests put an object in the place of the library.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block, check_rate
from brainnet.sensors.columns import unreadable

_JPEG: Final = b"\xff\xd8"
"""The first bytes of every JPEG."""
_NUMBERED: Final = re.compile(r"/dev/video(\d+)$")


class Camera:
    """Frames of a camera as they come, a source of images that does not end.

    Args:
        device: Its file, or its number N for `/dev/videoN`.
        width: Columns that are asked for; the camera takes the nearest that it has. None for its default.
        height: Rows that are asked for.
        fps: Frames per second that are asked for.
        jpeg: Ask for Motion JPEG, and pass the pictures on as they come: uint8 [bytes] with the encoding "jpeg". That
            costs no time here, and a tenth of the bytes. Otherwise frames are uint8 [H, W, 3], in the order R, G, B.

    Raises:
        SensorError: The device is missing, is no camera, may not be read or is in use; a value is not accepted; or
            OpenCV is not installed.
    """

    modality = "image"
    live = True

    def __init__(
        self,
        device: str | int = "/dev/video0",
        *,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        jpeg: bool = True,
    ) -> None:
        self.path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
        for name, edge in (("width", width), ("height", height)):
            if edge is not None and not 1 <= edge <= 1 << 14:
                raise SensorError(f"{self.path}: {name} must be 1 to 16,384 pixels, not {edge}")
        if fps is not None:
            check_rate(str(self.path), fps)
        self._asked = {"WIDTH": width, "HEIGHT": height}
        self._fps, self._jpeg = fps, jpeg
        try:
            import cv2
        except ImportError:
            raise SensorError(
                f"{self.path}: cameras are read by OpenCV, which is not installed: pip install 'brainnet[camera]'"
            ) from None
        self._cv2: Any = cv2
        with self._opened():  # for its errors
            pass

    def __iter__(self) -> Iterator[Block]:
        """Yield the frames; `t_us` counts from the opening of the camera.

        Raises:
            SensorError: The camera sends nothing any more, or no Motion JPEG.
        """
        with self._opened() as capture:
            start, number = time.monotonic(), 0
            while True:
                there, frame = capture.read()
                t_us = round((time.monotonic() - start) * 1e6)
                if not there or frame is None:
                    raise SensorError(f"{self.path} sends no frame any more; is the camera still connected?")
                if self._jpeg:
                    data = np.ascontiguousarray(frame, np.uint8).reshape(-1)
                    if data[:2].tobytes() != _JPEG:
                        raise SensorError(f"{self.path} sends no Motion JPEG; write `jpeg: false` in its options")
                    yield Block(t_us, data, number, encoding="jpeg")
                else:
                    yield Block(t_us, np.ascontiguousarray(frame[..., ::-1]), number)  # OpenCV has B, G, R
                number += 1

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open the camera, and release it at the end."""
        self._check_file()
        cv2 = self._cv2
        # by its number where it has one, which OpenCV takes more readily than a name; /dev/v4l/by-id/ has links to it
        numbered = _NUMBERED.match(str(self.path.resolve()))
        capture = cv2.VideoCapture(int(numbered[1]) if numbered else str(self.path), cv2.CAP_V4L2)
        try:
            if not capture.isOpened():
                raise SensorError(f"{self.path} cannot be opened as a camera: it is none, or another program uses it")
            if self._jpeg:
                capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG"))
            for name, edge in self._asked.items():
                if edge is not None:
                    capture.set(getattr(cv2, f"CAP_PROP_FRAME_{name}"), edge)
            if self._fps is not None:
                capture.set(cv2.CAP_PROP_FPS, self._fps)
            if self._jpeg:  # last: the other settings begin the stream anew
                capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
            yield capture
        finally:
            capture.release()

    def _check_file(self) -> None:
        """Say what OpenCV does not: why a camera cannot be opened."""
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            there = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
            raise SensorError(f"there is no camera {self.path}; this computer has {there}") from None
        except (OSError, ValueError) as error:
            raise unreadable(self.path, error) from None
        if not stat.S_ISCHR(mode):
            raise SensorError(f"{self.path} is no device; a recording is published by the program sensor:FILE")
        if not os.access(self.path, os.R_OK | os.W_OK):
            raise SensorError(f"{self.path} may not be read; as a rule the user has to be in the group video")

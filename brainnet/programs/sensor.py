"""A recording, a signal that is computed, a camera or a microphone as a sensor of the brain.

`program: sensor:FILE` publishes a file or a folder of pictures, `program: sensor` one of `brainnet.sensors.synthetic`,
or a device of the computer: `kind: camera` and `kind: microphone`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import Field

from brainnet.bus import Bus
from brainnet.errors import SensorError
from brainnet.node import Node, NodeParameters, NodeSpec
from brainnet.sensors.blocks import Block, Source
from brainnet.sensors.opening import open_source
from brainnet.wire.keys import key
from brainnet.wire.messages import SensorSample

_LATE_S: Final = 0.5
"""Delay beyond which blocks are dropped instead of made up for, seconds."""


class Sensor(Node):
    """Publishes a recording as a sensor does, each block at its time, or what a device measures."""

    role = "sensor"
    file: ClassVar[Path | None] = None
    """What is published; None for a signal that is computed."""

    class Parameters(NodeParameters):
        """What is published, and how fast."""

        modality: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="what it senses: the first chunk after input/")
        source: str = Field(
            "", pattern=r"^[A-Za-z0-9_-]*$", description="its name: the last chunk; the node's id by default"
        )
        kind: str = Field(
            "",
            description="of a file, what it holds where its name does not say it: images, audio, samples, points or "
            "events; without a file, which signal: MovingBar, ToneSweep, RandomWalk, RotatingPoints or MovingEdge, or "
            "which device: camera or microphone",
        )
        options: dict[str, Any] = Field(
            default_factory=dict, description="further arguments of the source, such as fps for pictures"
        )
        speed: float = Field(1.0, gt=0.0, le=100.0, description="time of the recording per time on the wall")
        loop: bool = Field(True, description="begin again at the end")

    params: Parameters

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._key = key("input", modality=self.params.modality, source=self.params.source or self.id)
        self._sequence = 0
        self._before = -1
        """Number of the block before, as its source counts."""
        self._live = False
        self._open: Callable[[], Source]
        self._extra: dict[str, Any] = {}

    def load(self) -> None:
        """Open the recording once, for its errors."""
        self._open = partial(open_source, self.file, self.params.kind, self.params.options, devices=True)
        source = self._open()
        self._live = getattr(source, "live", False)
        if source.modality == "events":
            self._extra = {"metadata": {"width": source.width, "height": source.height}}  # type: ignore[attr-defined]

    async def setup(self) -> None:
        """Declare the topic."""
        self.bus.declare(self._key)

    async def run(self) -> None:
        """Publish the recording, each block at its time, on a grid that does not drift; of a device, as it comes."""
        start = time.monotonic()
        while True:
            start = await self._play(start)
            if not self.params.loop:
                self.log.info("the recording is over", blocks=self._sequence)
                return

    async def _play(self, start: float) -> float:
        """Publish all blocks, and return when the next one would be due.

        Args:
            start: When time 0 of the recording is due, on the clock of `time.monotonic`.
        """
        blocks, end_us, before_us = iter(self._open()), 0.0, 0
        while (block := await self.in_model_thread(next, blocks, None)) is not None:
            if self._live:
                self._publish(block)
                continue
            late = time.monotonic() - (start + block.t_us / 1e6 / self.params.speed)
            if late > _LATE_S:
                self.count("late_blocks")
                start += late
            await asyncio.sleep(max(0.0, -late))
            self._publish(block)
            # A block of samples lasts as long as they do, one of a moment as long as the one before it.
            lasts = 1e6 * block.shape[0] / block.rate_hz if block.rate_hz else block.t_us - before_us
            end_us, before_us = block.t_us + max(1.0, lasts), block.t_us
        if not end_us:
            raise SensorError(f"{self.file or self.params.kind} holds nothing to send")
        return start + end_us / 1e6 / self.params.speed

    def _publish(self, block: Block) -> None:
        # a source that has lost something leaves a number out; one that begins anew counts from 0
        self._sequence += max(1, block.sequence - self._before)
        self._before = block.sequence
        named = {"source": self.params.source or self.id, "sequence": self._sequence, "rate_hz": block.rate_hz}
        if block.encoding is not None:
            sample = SensorSample(format=block.encoding, data=block.payload.tobytes(), **named)
        elif block.payload.dtype.names:  # events: a structure has no name on the wire, so they are bytes of this format
            count = list(block.payload.shape)
            sample = SensorSample(format="events", shape=count, data=block.payload.tobytes(), **named, **self._extra)
        else:
            sample = SensorSample.of(np.asarray(block.payload), **named, **self._extra)
        self.publish(self._key, sample)


def program(file: Path) -> type[Sensor]:
    """Make the sensor that publishes a file, or a folder of pictures.

    Raises:
        SensorError: It does not exist.
    """
    if not file.exists():
        raise SensorError(f"program sensor:{file}: there is no such file or folder")
    return type(
        "FileSensor", (Sensor,), {"__doc__": f"Publishes {file.name} as a sensor does.", "file": file.absolute()}
    )

"""An encoder as a population of a network: `model: encoder`, or `program: encoder` in an allocation.

It is a source, to which no projection goes: what a sensor measures becomes spikes, and these go where the projections
from it lead, as those of any other population. So a sensor needs no code, no new kind of node and no new topic, and
`brainnet topic echo stream/{population}`, `brainnet simulate` and saved states work with it.

```yaml
- id: ear
  program: encoder
  parameters: {encoder: cochlea, options: {bands: 24}, source: {file: tone.wav}}
```

What is encoded comes from one of two places:

- A file, or a signal that is computed, is read by the process of the population itself, and not sent to it: step s gets
  what the recording has from s dt to (s + 1) dt. So the spikes are those of the recording, the same each time, however
  the network is divided, in lock-step as in real time.
- A topic, `input/{modality}/{source}`, in real time only: in lock-step the spikes would depend on when the samples
  come, which nobody could repeat.

What comes on a topic belongs to the window that is computed next, because a step cannot be taken back, and to wait for
what may come would delay everything behind. Blocks of samples with a rate are put one behind the other, sample by
sample, and so are lists of events: they never overlap, and a block that comes too late leaves a gap, which is silence.
So does one that does not fit the encoder. A block that comes too early waits. What is older than `oldest_ms` when its
turn comes is left out, and of more than `MAX_WAITING` samples the oldest; both are counted, as is what was lost on the
way, or did not fit.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from brainnet.errors import BrainnetError, ModelError, SensorError
from brainnet.limits import Line
from brainnet.sensors.blocks import Block, Source, sample_times
from brainnet.sensors.encoders.base import Encoder
from brainnet.sensors.encoders.registry import encoder_class, make_encoder
from brainnet.sensors.encoders.rows import first_sample
from brainnet.sensors.opening import open_source
from brainnet.sensors.playback import Playback
from brainnet.simulation.models.base import Model, ModelParameters, Setting, Window, described
from brainnet.simulation.spikes import Spikes

MAX_WAITING: Final = 256
"""Samples that have come and are not encoded yet."""
TOPIC_PATTERN: Final = r"^input/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+$"
Edge = Annotated[int, Field(ge=1, le=1 << 14)]


class EncoderSource(BaseModel):
    """Where that which is encoded comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    topic: str | None = Field(
        None, pattern=TOPIC_PATTERN, description="of a sensor, input/MODALITY/SOURCE; in real time only"
    )
    file: Line | None = Field(None, description="a recording, or a folder of pictures; relative to the description")
    signal: Line | None = Field(
        None, description="one that is computed: MovingBar, ToneSweep, RandomWalk, RotatingPoints or MovingEdge"
    )
    kind: str = Field(
        "", description="what a file holds where its name does not say it: images, audio, samples, points or events"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the file's reader, or the signal")
    loop: bool = Field(False, description="whether a recording begins again at its end; else silence follows")
    grey: bool = Field(False, description="of frames on a topic: make one channel of three")
    size: tuple[Edge, Edge] | None = Field(None, description="of frames on a topic: rows and columns to scale them to")
    oldest_ms: float = Field(
        500.0, gt=0, le=60_000, allow_inf_nan=False, description="of a topic: what is older is left out, and counted"
    )
    silent_s: float = Field(
        2.0, ge=0, le=3600, allow_inf_nan=False, description="of a topic: after so long without a sample the node is "
        "degraded; 0: never"
    )  # fmt: skip

    @model_validator(mode="after")
    def _check(self) -> EncoderSource:
        named = [name for name in ("topic", "file", "signal") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"name one of topic, file and signal, not {' and '.join(named) or 'none'}")
        return self


class EncoderParameters(ModelParameters):
    """The encoder, and what it encodes."""

    encoder: Line = Field(
        description="rate, latency, frame_change, sample_change, addresses, cochlea, voxels, or a class of your own: "
        "FILE.py:Class, package.module:Class, an entry point"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the encoder; what the source says may be left out"
    )
    source: EncoderSource = Field(description="{topic: input/MODALITY/SOURCE}, {file: FILE} or {signal: NAME}")


@dataclass(slots=True)
class _Counts:
    """What came on a topic."""

    samples: int = 0
    lost: int = 0
    dropped: int = 0
    late: int = 0
    bad: int = 0


class EncoderModel(Model):
    """Neurons that fire what an encoder makes of a sensor."""

    Parameters: ClassVar[type[ModelParameters]] = EncoderParameters
    parameters: EncoderParameters
    ports: ClassVar[tuple[str, ...]] = ()

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        self._encoder, source = _made(self.parameters, setting)
        if setting.size != self._encoder.size:
            raise ModelError(
                f"{described(self)}: {self.parameters.encoder} has {self._encoder.size} neurons, and the size is "
                f"{setting.size}"
            )
        self._playback = None if source is None else Playback(source, loop=self.parameters.source.loop)
        self._next_step = 0
        # what comes on a topic
        self._lock = threading.Lock()
        self._waiting: deque[Block] = deque()
        self._counts = _Counts()
        self._sequence: int | None = None
        self._place = _Place()
        self._problem = ""
        self._heard = time.monotonic()

    @classmethod
    def shape(cls, parameters: ModelParameters, setting: Setting) -> tuple[int, int] | None:
        """Return the neurons of the encoder, as inputs too.

        Raises:
            ModelError: The encoder cannot be made, or the source cannot be opened.
        """
        assert isinstance(parameters, EncoderParameters)
        size = _made(parameters, setting)[0].size
        return size, size

    @property
    def topic(self) -> str | None:
        """The topic of the sensor; None for a recording or a signal."""
        return self.parameters.source.topic

    def prepare(self) -> list[str]:
        """Begin to expect samples."""
        self._heard = time.monotonic()
        return []

    def advance(self, window: Window) -> Spikes:
        """Encode what belongs to the steps of one window, and return what fired.

        Raises:
            ModelError: The recording is damaged, or does not fit the encoder.
        """
        first, steps = window.first_step, window.steps
        begin_us, end_us = (step * self._encoder.dt_us for step in (first, first + steps))
        if self._playback is None:
            return self._encoded(first, steps, self._due(begin_us, end_us))
        try:
            if first != self._next_step:
                self._playback.seek(begin_us)
            fired = self._encoder.window(first, steps, self._playback.until(end_us))
        except SensorError as error:
            raise ModelError(f"{described(self)}: {error}") from error
        self._next_step = first + steps
        return fired

    # -- a topic -----------------------------------------------------------------------------------------------------

    def sense(self, block: Block) -> None:
        """Take a sample of the sensor; `t_us` of the block are microseconds since 1970."""
        source = self.parameters.source
        if source.grey or source.size is not None:
            from brainnet.sensors.image_files import scaled

            if block.payload.dtype != np.uint8 or block.payload.ndim not in (2, 3) or not block.payload.size:
                self.refuse(f"a frame is uint8 [rows, columns] or with 3 channels, not {block.dtype} {block.shape}")
                return
            block = replace(block, payload=scaled(block.payload, source.grey, source.size))
        with self._lock:
            counts = self._counts
            counts.samples += 1
            if self._sequence is not None and block.sequence > self._sequence + 1:
                counts.lost += block.sequence - self._sequence - 1
            self._sequence = block.sequence
            self._heard = time.monotonic()
            self._waiting.append(block)
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                counts.dropped += 1

    def refuse(self, problem: str) -> None:
        """Take note of a sample that could not be read."""
        with self._lock:
            self._heard = time.monotonic()
        self._refuse(problem)

    def trouble(self) -> str:
        """Return why nothing is encoded now, or an empty text."""
        source = self.parameters.source
        if source.topic is None:
            return ""
        silent_s = time.monotonic() - self._heard
        if source.silent_s and silent_s > source.silent_s:
            return f"{self.setting.name}: no sample on {source.topic} for more than {source.silent_s:g} s"
        return f"{self.setting.name}: {source.topic}: {self._problem}" if self._problem else ""

    def counts(self) -> dict[str, int]:
        """Return how many samples came, were lost on the way, were left out as late or too many, or do not fit."""
        if self.parameters.source.topic is None:
            return {}
        with self._lock:
            counts = self._counts
            return {
                "samples": counts.samples,
                "samples_lost": counts.lost,
                "samples_dropped": counts.dropped,
                "samples_late": counts.late,
                "samples_bad": counts.bad,
            }

    def _due(self, begin_us: int, end_us: int) -> list[Block]:
        """Take what waits and belongs to this window, with times in it."""
        now_us, oldest_us = time.time_ns() // 1000, round(self.parameters.source.oldest_ms * 1000)
        found = []
        with self._lock:
            while self._waiting:
                block = self._waiting[0]
                if now_us - block.t_us > oldest_us:
                    self._counts.late += 1
                elif (t_us := self._place.of(block, begin_us)) < end_us:
                    self._place = self._place.after(block, t_us)
                    found.append(replace(block, t_us=t_us))
                else:
                    break
                self._waiting.popleft()
        return found

    def _encoded(self, first: int, steps: int, blocks: list[Block]) -> Spikes:
        try:
            fired = self._encoder.window(first, steps, blocks)
        except SensorError as error:
            if not blocks:
                raise ModelError(f"{described(self)}: {error}") from error
            return self._encoder.window(first, steps, self._fitting(first, steps, blocks))
        if blocks:
            self._problem = ""
        return fired

    def _fitting(self, first: int, steps: int, blocks: list[Block]) -> list[Block]:
        """Return those blocks that the encoder takes: each is tried behind those before it, and taken back."""
        before, fitting = self._encoder.save(), list[Block]()
        for block in blocks:
            try:
                self._encoder.window(first, steps, [*fitting, block])
            except SensorError as error:
                self._refuse(str(error))
            else:
                fitting.append(block)
                self._encoder.load(before)
        return fitting

    def _refuse(self, problem: str) -> None:
        with self._lock:
            self._counts.bad += 1
        self._problem = problem

    # -- saved states ------------------------------------------------------------------------------------------------

    def save(self) -> dict[str, NDArray[Any]]:
        """Return the state of the encoder, and where in the source it is."""
        place = np.array([self._next_step, self._place.sample, self._place.reached_us], np.int64)
        return {"place": place} | {f"encoder/{name}": array for name, array in self._encoder.save().items()}

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `save` of the same model returned; on an error nothing has changed.

        Raises:
            ModelError: It is the state of another model.
        """
        if "place" not in saved or saved["place"].shape != (3,):
            raise ModelError(f"{described(self)}: the saved state has no 'place'; it is of another model")
        state = {name.removeprefix("encoder/"): array for name, array in saved.items() if name != "place"}
        try:
            self._encoder.load(state)
        except SensorError as error:
            raise ModelError(f"{described(self)}: {error}") from None
        self._next_step, sample, reached_us = saved["place"].tolist()
        self._place = _Place(sample, reached_us)
        if self._playback is not None:
            self._playback.seek(self._next_step * self._encoder.dt_us)


class _Place(NamedTuple):
    """Where the next block of a topic may begin.

    Attributes:
        sample: Of blocks with a rate, the number of the first sample.
        reached_us: Of lists of events, the time of the last one.
    """

    sample: int = 0
    reached_us: int = 0

    def of(self, block: Block, begin_us: int) -> int:
        """Return the time of a block: that at which the window begins, or the end of the block before it."""
        if block.rate_hz is not None:
            return int(sample_times(max(self.sample, first_sample(begin_us, block.rate_hz)), block.rate_hz))
        return max(self.reached_us, begin_us) if block.dtype.names else begin_us

    def after(self, block: Block, t_us: int) -> _Place:
        """Return the place after a block that begins at a time."""
        if block.rate_hz is not None:
            return self._replace(sample=first_sample(t_us, block.rate_hz) + len(block.payload))
        if block.dtype.names and block.payload.size:
            times = block.payload["t_us"]
            return self._replace(reached_us=t_us + int(times[-1] - times[0]))
        return self


def _made(parameters: EncoderParameters, setting: Setting) -> tuple[Encoder, Source | None]:
    """Return the encoder and the source, None for a topic.

    Raises:
        ModelError: One of the two cannot be made; `field` names the parameter.
    """
    where = f"population {setting.name}"
    if parameters.source.topic is not None and not setting.realtime:
        raise ModelError(
            f"{where}: what comes on a topic cannot be encoded in lock-step, where the spikes would depend on when it "
            "comes; write `mode: realtime` in the clock, or name a file as source",
            field="source.topic",
        )
    dt_us = round(setting.dt_ms * 1000)
    if dt_us < 1 or abs(dt_us - setting.dt_ms * 1000) > 1e-6:
        raise ModelError(f"{where}: an encoder needs steps of whole microseconds, not {setting.dt_ms:g} ms")
    try:
        kind = encoder_class(parameters.encoder, setting.folder)
    except BrainnetError as error:
        raise ModelError(f"{where}: {error}", field="encoder") from error
    known: dict[str, Any] = {"seed": setting.seed, "name": setting.name}
    source = None
    if parameters.source.topic is None:
        source, said = _opened(parameters.source, setting.folder, where)
        known |= said
    try:
        return make_encoder(kind, dt_us, parameters.options, known), source
    except BrainnetError as error:
        field = "options" if parameters.options else "encoder"
        raise ModelError(f"{where}: {error}", field=field) from error


def _opened(wanted: EncoderSource, folder: Path, where: str) -> tuple[Source, dict[str, Any]]:
    """Return a source that is no topic, and what it says of its blocks, by the names of an encoder's arguments."""
    field = "source.file" if wanted.file is not None else "source.signal"
    try:
        if wanted.file is None:
            source = open_source(None, wanted.signal or "", wanted.options)
        else:
            source = open_source(folder / wanted.file, wanted.kind, wanted.options)
        first = next(iter(source), None)
    except BrainnetError as error:
        raise ModelError(f"{where}: {error}", field=field) from error
    if first is None:
        raise ModelError(f"{where}: {wanted.file or wanted.signal} holds nothing to encode", field=field)
    said: dict[str, Any] = {name: getattr(source, name) for name in ("width", "height") if hasattr(source, name)}
    said["shape"] = first.shape
    if first.payload.ndim:
        said["channels"] = first.shape[-1]
    if first.rate_hz is not None:
        said["rate_hz"] = first.rate_hz
    return source, said

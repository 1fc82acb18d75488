"""Address-event streams as frames: the events of an event camera, binned into the time steps of a spiking network.

An event camera reports for each pixel when the brightness rises (polarity 1, ON) or falls (polarity 0, OFF)
(Gallego et al. 2022, IEEE TPAMI 44(1), 154-180). Step k of the frames holds the events with
start + k dt <= time < start + (k + 1) dt, in microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError

_MAX_COUNT = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True)
class EventStream:
    """Events in order of time, as four integer arrays [E].

    Attributes:
        times_us: time in microseconds.
        x: column.
        y: row.
        polarity: 0 (OFF) or 1 (ON).

    Raises:
        ModelError: arrays of other types or lengths, decreasing times, or another polarity.
    """

    times_us: NDArray[np.integer[Any]]
    x: NDArray[np.integer[Any]]
    y: NDArray[np.integer[Any]]
    polarity: NDArray[np.integer[Any]]

    def __post_init__(self) -> None:
        events = np.size(self.times_us)
        for name in ("times_us", "x", "y", "polarity"):
            values = getattr(self, name)
            if values.shape != (events,) or not np.issubdtype(values.dtype, np.integer):
                raise ModelError(
                    f"{name} must be integers [{events}], one an event, not {values.dtype} {list(values.shape)}"
                )
        # int64, because differences of unsigned times would wrap around
        if (np.diff(self.times_us.astype(np.int64)) < 0).any():
            raise ModelError("times_us must not go back; sort the events by time")
        if ((self.polarity != 0) & (self.polarity != 1)).any():
            raise ModelError("polarity must be 0 (OFF) or 1 (ON) for every event")

    def __len__(self) -> int:
        return len(self.times_us)

    def between(self, start_us: int, stop_us: int) -> EventStream:
        """Return the events with start <= time < stop, as views."""
        # one integer type on both sides: numpy would compare uint64 with int64 as float64, which rounds
        first, last = np.searchsorted(self.times_us.astype(np.int64, copy=False), [start_us, stop_us])
        return EventStream(*(part[first:last] for part in (self.times_us, self.x, self.y, self.polarity)))


def event_frames(
    events: EventStream,
    height: int,
    width: int,
    *,
    dt_us: int,
    steps: int,
    start_us: int = 0,
    counts: bool = False,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the frames [T, 2, H, W] of events; channel 1 is ON, channel 0 OFF.

    Every event must lie in the time window and on the sensor: choose the window with `EventStream.between`.

    Args:
        events: the events.
        height: H.
        width: W.
        dt_us: the length of a step in microseconds.
        steps: T.
        start_us: the start of the window.
        counts: count the events of each pixel and step (uint16) instead of 0/1 spikes (uint8).

    Raises:
        ModelError: events outside window or sensor, sizes that are not positive, or more than 65535 events on one pixel
            in one step.
    """
    for name, size in (("height", height), ("width", width), ("dt_us", dt_us), ("steps", steps)):
        if size < 1:
            raise ModelError(f"{name} must be at least 1, not {size}")
    step = (events.times_us.astype(np.int64) - start_us) // dt_us
    for name, index, size in (("times_us", step, steps), ("x", events.x, width), ("y", events.y, height)):
        outside = (index < 0) | (index >= size)
        if outside.any():
            first = int(np.argmax(outside))
            limit = f"{start_us} to {start_us + steps * dt_us - 1}" if name == "times_us" else f"0 to {size - 1}"
            raise ModelError(f"{name} of event {first} is {getattr(events, name)[first]}; expected {limit}")
    shape = (steps, 2, height, width)
    # flat indices: one assignment or one bincount is much faster than np.add.at on four index arrays
    at = np.ravel_multi_index([step, *(axis.astype(np.int64) for axis in (events.polarity, events.y, events.x))], shape)
    if not counts:
        frames = np.zeros(shape, np.uint8)
        frames.reshape(-1)[at] = 1
        return frames
    totals = np.bincount(at, minlength=int(np.prod(shape)))
    if totals.max() > _MAX_COUNT:
        raise ModelError(f"events hold {totals.max()} of one pixel in one step, more than {_MAX_COUNT}; shorten dt_us")
    return totals.astype(np.uint16).reshape(shape)


def frame_events(frames: NDArray[np.integer[Any]], *, dt_us: int, start_us: int = 0) -> EventStream:
    """Return the events of frames [T, 2, H, W], each at the start of its step, as often as the frame counts it.

    Encoding them again gives the same frames (use `counts` for frames that count). Within a step they are in order of
    polarity, row, column.

    Raises:
        ModelError: frames of another shape or with negative counts, or a step that is not positive.
    """
    if frames.ndim != 4 or frames.shape[1] != 2 or not np.issubdtype(frames.dtype, np.integer):
        raise ModelError(f"frames must be integers [T, 2, H, W], not {frames.dtype} {list(frames.shape)}")
    if dt_us < 1:
        raise ModelError(f"dt_us must be at least 1, not {dt_us}")
    if (frames < 0).any():
        raise ModelError("frames must hold counts of 0 or more")
    active = np.nonzero(frames)
    step, polarity, y, x = (np.repeat(index, frames[active].astype(np.int64)) for index in active)
    return EventStream(start_us + step * dt_us, x, y, polarity)

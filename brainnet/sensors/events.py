"""Lists of events of an event camera: where, when and in which direction the brightness has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.snn.codes.event_frames import EventStream

EVENT: Final = np.dtype([("t_us", "<i8"), ("x", "<u2"), ("y", "<u2"), ("polarity", "?")])
"""One event as it stands in the payload of a block."""
_TYPES: Final = {name: EVENT[name] for name in ("t_us", "x", "y", "polarity")}


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Events in order of time.

    Attributes:
        t_us: int64 [E], microseconds, not decreasing.
        x: uint16 [E], column, below `width`.
        y: uint16 [E], row, below `height`.
        polarity: bool [E], true (ON) where the brightness rose.
        width: Columns of the sensor.
        height: Rows of the sensor.

    Raises:
        SensorError: Arrays of other types or lengths, times that go back, or events beside the sensor.
    """

    t_us: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    polarity: NDArray[np.bool_]
    width: int
    height: int

    def __post_init__(self) -> None:
        count = np.size(self.t_us)
        for name, kind in _TYPES.items():
            values = getattr(self, name)
            if not isinstance(values, np.ndarray) or values.shape != (count,) or values.dtype != kind:
                shown = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else type(values)
                raise SensorError(f"{name} of events must be {kind} [{count}], one an event, not {shown}")
        check_size(self.width, self.height)
        back = self.t_us[1:] < self.t_us[:-1]
        if back.any():
            at = int(np.argmax(back)) + 1
            raise SensorError(
                f"event {at} is of {self.t_us[at]} us and the one before it of {self.t_us[at - 1]} us; sort the events "
                "by time"
            )
        for name, size in (("x", self.width), ("y", self.height)):
            outside = getattr(self, name) >= size
            if outside.any():
                at = int(np.argmax(outside))
                raise SensorError(
                    f"{name} of event {at} is {getattr(self, name)[at]}, and the sensor has {self.width} x "
                    f"{self.height} pixels; give its true size"
                )

    def __len__(self) -> int:
        return self.t_us.size

    def between(self, start_us: int, stop_us: int) -> Events:
        """Return the events with start <= time < stop, as views."""
        low, high = np.searchsorted(self.t_us, [start_us, stop_us])
        part = slice(low, high)
        return Events(self.t_us[part], self.x[part], self.y[part], self.polarity[part], self.width, self.height)

    def packed(self) -> NDArray[Any]:
        """Return the events as a structured array of `EVENT` [E], the payload of a block."""
        array = np.empty(len(self), EVENT)
        for name in _TYPES:
            array[name] = getattr(self, name)
        return array

    @classmethod
    def of_packed(cls, array: NDArray[Any], width: int, height: int) -> Events:
        """Return the events of a structured array of `EVENT` [E].

        Raises:
            SensorError: An array of another type, or as for `Events`.
        """
        if array.dtype != EVENT or array.ndim != 1:
            raise SensorError(f"events must be [E] of {EVENT}, not {array.dtype} {list(array.shape)}")
        # The fields of an event lie side by side, so each is copied into an array of its own.
        t_us, x, y, polarity = (np.ascontiguousarray(array[name]) for name in _TYPES)
        return cls(t_us, x, y, polarity, width, height)

    def stream(self) -> EventStream:
        """Return the same events as `brainnet.snn.codes.event_frames` takes them."""
        return EventStream(self.t_us, self.x, self.y, self.polarity.view(np.uint8))


def check_size(width: int, height: int) -> None:
    """Check the size of a sensor.

    Raises:
        SensorError: It has no pixels, or more than coordinates of 16 bits can name.
    """
    if not (1 <= width <= 1 << 16 and 1 <= height <= 1 << 16):
        raise SensorError(f"a sensor has 1 to 65,536 columns and rows, not {width} x {height}")

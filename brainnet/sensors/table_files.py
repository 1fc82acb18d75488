"""Values of sensors in npz and CSV files: forces, EEG, and clouds of points."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block, check_rate, sample_times
from brainnet.sensors.columns import ROWS, Arrays, check_file, csv_chunks, csv_names

TIME: Final = "t_us"
MAX_CLOUD: Final = 1 << 22
"""Points of one cloud."""
_POINT: Final = ("x", "y", "z")
_EXACT: Final = 2.0**53


class SampleFile:
    """Values of some channels over time, a source of samples.

    A CSV file has a first line with a name for each column. A column `t_us` holds the time of each line in
    microseconds, not decreasing; the others are channels. An npz file has `values`, numbers [samples, channels],
    and may have `t_us`, whole numbers [samples].

    With times, each sample is a block float64 [channels]. Without, `rate_hz` says how many there are in a second, and
    blocks are float64 [samples, channels].

    Args:
        path: The file; its suffix says the format.
        rate_hz: Samples per second, where the file has no times.
        rows: Samples of a block, at most, where the file has no times.

    Attributes:
        channels: Names of the channels; those of an npz are numbers.
        rate_hz: Samples per second; None where the file has times.

    Raises:
        SensorError: The file cannot be read, or has neither times nor a rate, or both.
    """

    modality = "samples"

    def __init__(self, path: Path, rate_hz: float | None = None, rows: int = 256) -> None:
        self.path = path = Path(path)
        if not 1 <= rows <= ROWS:
            raise SensorError(f"a block has 1 to {ROWS} samples, not {rows}")
        if rate_hz is not None:
            check_rate(str(path), rate_hz)
        self._arrays = _npz_or_csv(path)
        if self._arrays is not None:
            _, count = self._arrays.check("values", "fiub", 2, "numbers [samples, channels]")
            timed = TIME in self._arrays.shapes
            if timed:
                self._arrays.check(TIME, "iu", 1, "whole numbers [samples], microseconds")
            self.channels = [str(number) for number in range(count)]
        else:
            names = csv_names(path)
            timed = TIME in names
            self.channels = [name for name in names if name != TIME]
        if not self.channels:
            raise SensorError(f"{path}: there is no channel beside the times")
        if timed == (rate_hz is not None):
            what = f"has times, {TIME}; give no rate" if timed else f"has no times, {TIME}; give a rate"
            raise SensorError(f"{path} {what}")
        self.rate_hz, self._rows, self._timed = rate_hz, rows, timed

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks.

        Raises:
            SensorError: A line or an array cannot be read, or the times go back.
        """
        return self._with_times() if self._timed else self._with_rate()

    def _with_times(self) -> Iterator[Block]:
        number, before = 0, None
        for times, values in self._columns(ROWS, TIME):
            before = _check_times(self.path, times, number, before)
            for t_us, row in zip(times.tolist(), values, strict=True):
                yield Block(t_us, row, number)
                number += 1

    def _with_rate(self) -> Iterator[Block]:
        assert self.rate_hz is not None
        read = 0
        for number, (values,) in enumerate(self._columns(self._rows)):
            yield Block(int(sample_times(read, self.rate_hz)), values, number, self.rate_hz)
            read += len(values)

    def _columns(self, rows: int, *time: str) -> Iterator[list[NDArray[Any]]]:
        if self._arrays is not None:
            for *times, values in self._arrays.chunks([*time, "values"], rows):
                yield [*times, values.astype(np.float64)]
        else:
            for values in csv_chunks(self.path, [*time, *self.channels], np.float64, rows):
                yield [_whole(self.path, values[:, 0]), values[:, 1:]] if time else [values]


class PointFile:
    """Clouds of points, such as those of a lidar or a depth camera, a source of points.

    A CSV file has the columns `t_us` (whole microseconds, not decreasing), `x`, `y` and `z`, and a line for each point.
    An npz file has `t_us`, whole numbers [points], and `points`, numbers [points, 3]. Points of one time are one block,
    float32 [N, 3].

    Args:
        path: The file; its suffix says the format.
        rows: Points that are read at once; the clouds do not depend on it.

    Raises:
        SensorError: The file cannot be read, or lacks a column.
    """

    modality = "points"

    def __init__(self, path: Path, rows: int = ROWS) -> None:
        if not 1 <= rows <= ROWS:
            raise SensorError(f"1 to {ROWS} points can be read at once, not {rows}")
        self.path = path = Path(path)
        self._at_once = rows
        self._arrays = _npz_or_csv(path)
        if self._arrays is not None:
            self._arrays.check(TIME, "iu", 1, "whole numbers [points], microseconds")
            shape = self._arrays.check("points", "fiu", 2, "numbers [points, 3]")
            if shape[1] != len(_POINT):
                raise SensorError(f"{path}: the array points is {list(shape)}; it must be [points, 3]")
        elif missing := {TIME, *_POINT} - set(csv_names(path)):
            raise SensorError(f"{path}: there is no column {', '.join(sorted(missing))}; t_us,x,y,z are needed")

    def __iter__(self) -> Iterator[Block]:
        """Yield the clouds.

        Raises:
            SensorError: A line or an array cannot be read, the times go back, or a cloud has more than `MAX_CLOUD`
                points.
        """
        number, read, before = 0, 0, None
        held_times, held = np.zeros(0, np.int64), np.zeros((0, len(_POINT)), np.float32)
        for some_times, some in self._columns():
            before = _check_times(self.path, some_times, read, before)
            read += len(some)
            times, points = np.concatenate([held_times, some_times]), np.concatenate([held, some])
            # The last cloud may go on in the next rows.
            begins = [0, *(np.flatnonzero(np.diff(times)) + 1).tolist()]
            for low, high in pairwise(begins):
                yield Block(int(times[low]), points[low:high], number)
                number += 1
            held_times, held = times[begins[-1] :], points[begins[-1] :]
            if len(held) > MAX_CLOUD:
                raise SensorError(f"{self.path}: cloud {number} has more than {MAX_CLOUD} points; thin it out")
        if len(held):
            yield Block(int(held_times[0]), held, number)

    def _columns(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        if self._arrays is not None:
            for times, points in self._arrays.chunks([TIME, "points"], self._at_once):
                yield times, points.astype(np.float32)
        else:
            for values in csv_chunks(self.path, [TIME, *_POINT], np.float64, self._at_once):
                yield _whole(self.path, values[:, 0]), values[:, 1:].astype(np.float32)


def _npz_or_csv(path: Path) -> Arrays | None:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return Arrays(path)
    if suffix != ".csv":
        raise SensorError(f"{path}: such files end in .npz or .csv, and this one does not")
    check_file(path)
    return None


def _whole(path: Path, times: NDArray[Any]) -> NDArray[np.int64]:
    wrong = ~((times == np.floor(times)) & (np.abs(times) < _EXACT))
    if wrong.any():
        raise SensorError(f"{path}: {TIME} must be whole microseconds below 2^53, not {times[wrong][0]}")
    return times.astype(np.int64)


def _check_times(path: Path, times: NDArray[Any], read: int, before: int | None) -> int | None:
    """Check the times of some rows, of which there is at least one, and return the last one."""
    times = times.astype(np.int64)
    # compared, not subtracted: a difference of two numbers of 64 bits may not fit into 64 bits
    back = times < np.concatenate([[before or 0], times[:-1]])
    if back.any():
        at = int(np.argmax(back))
        raise SensorError(f"{path}: the time of row {read + at}, {times[at]} us, goes back; times start at 0 and rise")
    return int(times[-1])

"""Recordings of event cameras: npz and CSV, and what the package faery reads.

An npz file has the arrays `t_us` (microseconds, not decreasing), `x`, `y` and `polarity` (0 or 1), whole numbers [E],
and may have `width` and `height`, one whole number each; `write_events` writes such files. A CSV file has a first line
with these names, `t_us,x,y,polarity`, and a line for each event.

`.raw` (EVT2, EVT2.1 and EVT3 of Prophesee), `.dat`, `.aedat4` (inivation) and `.es` (Event Stream) are read by faery
(https://github.com/neuromorphicsystems/faery), which the extra `events` installs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block
from brainnet.sensors.columns import ROWS, Arrays, check_file, csv_chunks, unreadable
from brainnet.sensors.events import Events, check_size

FAERY_SUFFIXES: Final = (".raw", ".dat", ".aedat", ".aedat4", ".es")
_COLUMNS: Final = ("t_us", "x", "y", "polarity")
_UNKNOWN: Final = (65535, 65535)
"""What faery is told to take for the size where a file does not say it: no sensor has it."""
_VERSION: Final = re.compile(rb"% (?:evt |format EVT)([0-9.]+)")
_WORD_BYTES: Final = {b"2": 4, b"2.0": 4, b"2.1": 8, b"21": 8, b"3": 2, b"3.0": 2}
"""Bytes of a word in a file of Prophesee, by version: docs.prophesee.ai, "Data encoding formats"."""
_MAX_HEADER: Final = 1 << 16

Columns = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


class _Opened(NamedTuple):
    """A file that can be read: the size that it says its sensor has, and its columns, some rows at a time."""

    size: tuple[int, int] | None
    chunks: Callable[[], Iterator[Columns]]


class EventFile:
    """A recording of an event camera, a source of blocks of events.

    It is read some events at a time, so the memory it needs does not grow with the file.

    Args:
        path: The file; its suffix says the format.
        width: Columns of the sensor, where the file does not say it.
        height: Rows of the sensor, where the file does not say it.
        rows: Events that are read at once, at most, from npz and CSV files. faery chooses by itself, some 10,000.

    Attributes:
        width: Columns of the sensor.
        height: Rows of the sensor.

    Raises:
        SensorError: The file cannot be read, is of an unknown format, or says another size than `width` and `height`;
            nobody says the size; or faery is needed and is not installed.
    """

    modality = "events"

    def __init__(self, path: Path, width: int | None = None, height: int | None = None, rows: int = ROWS) -> None:
        if rows < 1:
            raise SensorError(f"at least one event must be read at once, not {rows}")
        if (width is None) != (height is None):
            raise SensorError(f"{path}: give both width and height of the sensor, or none")
        self.path = path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".npz":
            self._opened = _of_npz(path, rows)
        elif suffix == ".csv":
            check_file(path)
            self._opened = _Opened(None, lambda: _csv_columns(path, rows))
        elif suffix in FAERY_SUFFIXES:
            self._opened = _of_faery(path)
        else:
            known = ", ".join((".npz", ".csv", *FAERY_SUFFIXES))
            raise SensorError(f"{path}: files of events end in one of {known}, and this one does not")
        given = None if width is None or height is None else (width, height)
        if given is not None:
            check_size(*given)
        size = self._opened.size or given
        if size is None:
            raise SensorError(f"{path} does not say the size of its sensor; give width and height")
        if given is not None and given != size:
            raise SensorError(
                f"{path} is of a sensor of {size[0]} x {size[1]} pixels, not {given[0]} x {given[1]}; leave width and "
                "height out"
            )
        self.width, self.height = size

    def events(self) -> Iterator[Events]:
        """Yield the events, some at a time, in order.

        Raises:
            SensorError: The file is damaged, or its times go back; names the file.
        """
        read, last = 0, -(1 << 63)
        for columns in self._opened.chunks():
            try:
                events = Events(*_typed(columns), self.width, self.height)
                if len(events) and events.t_us[0] < last:
                    raise SensorError(f"event 0 is of {events.t_us[0]} us and the one before it of {last} us")
            except SensorError as error:
                raise SensorError(f"{self.path}, of the events from number {read} on: {error}") from None
            if len(events):
                read, last = read + len(events), int(events.t_us[-1])
                yield events

    def __iter__(self) -> Iterator[Block]:
        """Yield the events as blocks with a payload of `brainnet.sensors.events.EVENT`.

        Raises:
            SensorError: As for `events`.
        """
        for number, events in enumerate(self.events()):
            yield Block(int(events.t_us[0]), events.packed(), number)


def write_events(path: Path, events: Events) -> None:
    """Write events as an npz file that `EventFile` reads.

    Raises:
        SensorError: The file cannot be written, or is not named .npz.
    """
    if path.suffix != ".npz":
        raise SensorError(f"{path}: events are written as npz; name the file so")
    try:
        np.savez_compressed(
            path,
            t_us=events.t_us,
            x=events.x,
            y=events.y,
            polarity=events.polarity,
            width=np.int64(events.width),
            height=np.int64(events.height),
        )
    except OSError as error:
        raise SensorError(f"{path} cannot be written: {error.strerror or error}") from None


def _typed(columns: Columns) -> Columns:
    """Return columns in the types of `Events`.

    Raises:
        SensorError: A value does not fit.
    """
    t_us, x, y, polarity = columns
    if t_us.dtype.kind == "u" and t_us.size and int(t_us.max()) >= 1 << 63:
        raise SensorError("a time exceeds 2^63 us")
    for name, values, top in (("x", x, 65535), ("y", y, 65535), ("polarity", polarity, 1)):
        if values.size and values.dtype != bool and not 0 <= int(values.min()) <= int(values.max()) <= top:
            raise SensorError(f"{name} must be 0 to {top}, and is {values.min()} to {values.max()}")
    return (
        t_us.astype(np.int64, copy=False),
        x.astype(np.uint16, copy=False),
        y.astype(np.uint16, copy=False),
        polarity.astype(np.bool_, copy=False),
    )


def _of_npz(path: Path, rows: int) -> _Opened:
    arrays = Arrays(path)
    for name in _COLUMNS:
        kinds = "iub" if name == "polarity" else "iu"
        arrays.check(name, kinds, 1, "whole numbers [E], one an event")
    width, height = arrays.scalar("width"), arrays.scalar("height")
    if width is None or height is None:
        size = None
    else:
        size = width, height
        try:
            check_size(*size)
        except SensorError as error:
            raise SensorError(f"{path}: {error}") from None

    return _Opened(size, lambda: ((t, x, y, on) for t, x, y, on in arrays.chunks(_COLUMNS, rows)))


def _csv_columns(path: Path, rows: int) -> Iterator[Columns]:
    for values in csv_chunks(path, _COLUMNS, np.int64, rows):
        yield values[:, 0].copy(), values[:, 1], values[:, 2], values[:, 3]


def _of_faery(path: Path) -> _Opened:
    check_file(path)
    if path.suffix.lower() == ".raw":
        _check_words(path)
    try:
        import faery
    except ImportError:
        raise SensorError(
            f"{path}: files {path.suffix} are read by faery, which is not installed: pip install 'brainnet[events]'"
        ) from None

    def opened() -> Any:
        return _asked_of_faery(path, lambda: faery.events_stream_from_file(path, dimensions_fallback=_UNKNOWN))

    width, height = _asked_of_faery(path, opened().dimensions)

    def chunks() -> Iterator[Columns]:
        packets = _asked_of_faery(path, opened().__iter__)
        while (packet := _asked_of_faery(path, lambda: next(packets, None))) is not None:
            yield packet["t"], packet["x"], packet["y"], packet["on"]

    return _Opened(None if (width, height) == _UNKNOWN else (width, height), chunks)


def _asked_of_faery(path: Path, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # faery is written in Rust, whose panics are BaseExceptions in Python
        raise unreadable(path, error) from None


def _check_words(path: Path) -> None:
    """Check the header of a file of Prophesee, and that its last word is whole: faery guesses, and leaves out, these.

    Raises:
        SensorError: There is no header, it names no version, or the file is cut off.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(_MAX_HEADER)
    except OSError as error:
        raise unreadable(path, error) from None
    at, version = 0, None
    while begin.startswith(b"% ", at) and (end := begin.find(b"\n", at)) >= 0:
        line, at = begin[at:end].rstrip(), end + 1
        if found := _VERSION.match(line):
            version = found[1]
        if line == b"% end":
            break
    if version not in _WORD_BYTES:
        raise SensorError(f"{path} has no header that names EVT 2.0, 2.1 or 3.0; is it a recording of Prophesee?")
    if (path.stat().st_size - at) % _WORD_BYTES[version]:
        raise SensorError(f"{path} ends within a word of {_WORD_BYTES[version]} bytes: it is cut off; copy it again")

"""Columns of npz and CSV files, read some rows at a time, so that a file may be larger than the memory."""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from brainnet.array_files import UNREADABLE
from brainnet.errors import SensorError
from brainnet.texts import printable, shorten

ROWS: Final = 1 << 16
"""Rows that are read at once."""
MAX_LINE: Final = 1 << 16
"""Characters of one line of a CSV file."""
MAX_CHUNK: Final = 1 << 22
"""Bytes, or characters, that are read at once: where rows are long, fewer of them are."""
_MAX_ROW_BYTES: Final = 1 << 16


def check_file(path: Path) -> Path:
    """Return the path of a file that is there and is not empty.

    Raises:
        SensorError: There is no such file, it is empty, or it is no file: reading a pipe would never end.
    """
    try:
        if not path.is_file():
            raise SensorError(f"{path}: {'it is no file' if path.exists() else 'there is no such file'}")
        if not path.stat().st_size:
            raise SensorError(f"{path}: the file is empty; record it again")
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    return path


def unreadable(path: Path, error: BaseException) -> SensorError:
    """Return the error for a file that a library could not read."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return SensorError(f"{path} cannot be read: {shorten(printable(' '.join(str(reason).split())), 200)}")


class Arrays:
    """The arrays of an npz file with their shapes; their values are read by `chunks`.

    Args:
        path: The file.

    Attributes:
        shapes: Shape and type by name.

    Raises:
        SensorError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = check_file(path)
        self.shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if member.endswith(".npy"):
                        with archive.open(member) as opened:
                            self.shapes[member.removesuffix(".npy")] = _header(opened)
        except UNREADABLE as error:
            raise unreadable(path, error) from None

    def check(self, name: str, kinds: str, axes: int, what: str) -> tuple[int, ...]:
        """Return the shape of an array.

        Args:
            name: Of the array.
            kinds: The kinds of numbers that are accepted, such as "iu".
            axes: How many it must have.
            what: What it must be, for the error.

        Raises:
            SensorError: The array is missing, or has another type or number of axes.
        """
        if name not in self.shapes:
            known = ", ".join(sorted(self.shapes)) or "none"
            raise SensorError(f"{self._path}: there is no array {name}, {what}; it has {known}")
        shape, kind = self.shapes[name]
        if kind.kind not in kinds or kind.names or len(shape) != axes:
            raise SensorError(f"{self._path}: the array {name} is {kind} {list(shape)}; it must be {what}")
        return shape

    def scalar(self, name: str) -> int | None:
        """Return an array that holds one whole number, or None where there is none of that name.

        Raises:
            SensorError: It holds something else.
        """
        if name not in self.shapes:
            return None
        self.check(name, "iu", 0, "one whole number")
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(f"{name}.npy") as opened:
                _, kind = _header(opened)
                return int(_read(opened, 1, (), kind)[0])
        except UNREADABLE as error:
            raise unreadable(self._path, error) from None

    def chunks(self, names: Sequence[str], rows: int = ROWS) -> Iterator[list[NDArray[Any]]]:
        """Yield at most `rows` rows of several arrays at a time, in the order of the names, until all have ended.

        Raises:
            SensorError: The arrays differ in their rows, or the file ends too early or is damaged.
        """
        counts = {name: self.shapes[name][0][0] for name in names}
        first, row_bytes = names[0], 1
        for name, count in counts.items():
            if count != counts[first]:
                raise SensorError(
                    f"{self._path}: the array {name} has {count} rows and {first} has {counts[first]}; all must have "
                    "the same number"
                )
            shape, kind = self.shapes[name]
            row_bytes += int(np.prod(shape[1:], dtype=object)) * kind.itemsize
            if row_bytes > _MAX_ROW_BYTES:
                raise SensorError(f"{self._path}: a row of {name} {list(shape)} exceeds {_MAX_ROW_BYTES} bytes")
        rows = min(rows, max(1, MAX_CHUNK // row_bytes))
        with ExitStack() as stack:
            try:
                archive = stack.enter_context(zipfile.ZipFile(self._path))
                opened = [stack.enter_context(archive.open(f"{name}.npy")) for name in names]
                kinds = [_header(file) for file in opened]
            except UNREADABLE as error:
                raise unreadable(self._path, error) from None
            for low in range(0, counts[first], rows):
                count = min(rows, counts[first] - low)
                try:
                    parts = [
                        _read(file, count, shape[1:], kind) for file, (shape, kind) in zip(opened, kinds, strict=True)
                    ]
                except UNREADABLE as error:
                    raise unreadable(self._path, error) from None
                yield parts


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    try:
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, in_columns, kind = read(file)
    except (SyntaxError, TypeError, tokenize.TokenError) as error:  # it is read as Python's text
        raise ValueError(f"the header of an array is damaged: {error}") from None
    if kind.hasobject:
        raise ValueError("an array holds objects, and must hold numbers")
    if in_columns and len(shape) > 1:
        raise ValueError("an array is stored by columns; save np.ascontiguousarray(array)")
    return shape, kind


def _read(file: IO[bytes], rows: int, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
    size = rows * int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    data = file.read(size)
    if len(data) < size:
        raise EOFError("an array ends too early; the file is cut off")
    return np.frombuffer(data, kind).reshape(rows, *shape).astype(kind.newbyteorder("="), copy=False)


def csv_names(path: Path) -> list[str]:
    """Return the names in the first line of a CSV file.

    Raises:
        SensorError: The file cannot be read, or its first line does not hold names.
    """
    try:
        with check_file(path).open(encoding="utf-8-sig") as file:
            line = next(_lines(path, file), (0, ""))[1]
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    names = [name.strip().strip('"') for name in line.split(",")]
    if not all(names) or len(set(names)) < len(names) or any(_is_number(name) for name in names):
        shown = printable(shorten(line, 80))
        raise SensorError(f"{path}: the first line must name each column, as in t_us,x,y,z; it is {shown!r}")
    return names


def csv_chunks(path: Path, names: Sequence[str], kind: type[np.generic], rows: int = ROWS) -> Iterator[NDArray[Any]]:
    """Yield at most `rows` rows of a CSV file at a time, [rows, columns]: the named columns, in this order.

    Raises:
        SensorError: A column is missing, a line holds something else, or the file cannot be read; names the line.
    """
    known = csv_names(path)
    missing = [name for name in names if name not in known]
    if missing:
        raise SensorError(f"{path}: there is no column {', '.join(missing)}; it has {', '.join(known)}")
    columns = [known.index(name) for name in names]
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = _lines(path, file)
            next(lines, None)
            held: list[tuple[int, str]] = []
            characters = 0
            for number, line in lines:
                held.append((number, line))
                characters += len(line)
                if len(held) == rows or characters > MAX_CHUNK:
                    yield _parsed(path, held, columns, len(known), kind)
                    held, characters = [], 0
            if held:
                yield _parsed(path, held, columns, len(known), kind)
    except (OSError, UnicodeError) as error:
        raise unreadable(path, error) from None


def _lines(path: Path, file: IO[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, each with its number."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise SensorError(f"{path}, line {number}: it has more than {MAX_LINE} characters; is this a CSV file?")
        if line := line.strip():
            yield number, line


def _parsed(
    path: Path, lines: list[tuple[int, str]], columns: list[int], count: int, kind: type[np.generic]
) -> NDArray[Any]:
    try:
        return _numbers([line for _, line in lines], columns, count, kind)
    except ValueError:
        # one by one, to find the line: a number that numpy gives counts from the start of the chunk
        for number, line in lines:
            try:
                _numbers([line], columns, count, kind)
            except ValueError:
                what = "whole numbers" if np.issubdtype(kind, np.integer) else "numbers"
                shown = printable(shorten(line, 80))
                raise SensorError(f"{path}, line {number}: {count} {what} are needed, not {shown!r}") from None
        raise


def _numbers(lines: list[str], columns: list[int], count: int, kind: type[np.generic]) -> NDArray[Any]:
    values = np.loadtxt(lines, dtype=kind, delimiter=",", comments=None, ndmin=2)
    if values.shape[1] != count:
        raise ValueError(f"{values.shape[1]} columns")
    return np.ascontiguousarray(values[:, columns])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

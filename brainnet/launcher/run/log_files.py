"""Keeps the log files of a host within a limit, also while processes write to them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 20
_REMEMBERED: Final = 512
"""Bytes before its position by which a reader knows the file again: lines with a time, so they do not repeat."""


def older(path: Path) -> Path:
    """Return the file that holds what was written before a log file was emptied the last time."""
    return path.with_name(path.name + ".1")


def cut(path: Path, limit: int) -> bool:
    """Empty a log file that has grown beyond half of a limit, and keep its last part in the file of `older`.

    So both files together stay within the limit, but for what is written between two calls. The file stays the same
    one: its writers append to it, so they go on at its new end. A line that is written in the moment between the copy
    and the cut is lost.

    Args:
        path: The log file.
        limit: Bytes of both files together.

    Returns:
        Whether it was emptied.
    """
    try:
        if path.stat().st_size <= limit // 2:
            return False
        with path.open("r+b") as file:
            try:
                _keep_tail(file.fileno(), older(path), limit // 2)
            except OSError:  # the disk is full: the limit is more important than the past
                with contextlib.suppress(OSError):
                    older(path).unlink()
            file.truncate(0)
    except OSError:
        return False
    return True


class LogReader:
    """Reads what is new in a log file, also when it is emptied by `cut` between two calls.

    Args:
        path: The log file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._before: bytes | None = None
        self._partial = b""

    def read(self) -> bytes:
        """Return the whole lines that are new since the last call; at the first call all that is kept.

        A line that is being written is returned later, when it is complete.
        """
        data = self._partial + self._read()
        whole = data[: data.rfind(b"\n") + 1]
        self._partial = data[len(whole) :]
        return whole

    def _read(self) -> bytes:
        while True:
            kept = _identity(older(self._path))
            data, offset, content = b"", 0, _content(self._path, max(0, self._offset - len(self._before or b"")))
            if self._before is None:
                data = _content(older(self._path)) + content
                offset = len(content)
            elif content.startswith(self._before):
                data = content[len(self._before) :]
                offset = self._offset + len(data)
            else:  # it was emptied, and perhaps has grown again
                content = _content(self._path)
                data = _after(_content(older(self._path)), self._before) + content
                offset = len(content)
            if _identity(older(self._path)) == kept:  # else it was emptied meanwhile
                self._offset = offset
                self._before = ((self._before or b"") + data)[-min(_REMEMBERED, offset) :] if offset else b""
                return data


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _content(path: Path, start: int = 0) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except OSError:
        return b""


def _after(data: bytes, mark: bytes) -> bytes:
    """Return what follows the last occurrence of a mark; all where it does not occur, because it is older then."""
    position = data.rfind(mark)
    return data[position + len(mark) :] if mark and position >= 0 else data


def _keep_tail(source: int, target: Path, size: int) -> None:
    """Copy the last whole lines of a file, of at most `size` bytes, to another one."""
    partial = target.with_name(target.name + ".partial")
    try:
        start = max(0, os.lseek(source, 0, os.SEEK_END) - size)
        os.lseek(source, start, os.SEEK_SET)
        with partial.open("wb") as out:
            first = start > 0
            while chunk := os.read(source, _CHUNK):
                # The line in which the copy starts is not whole.
                out.write(chunk[chunk.find(b"\n") + 1 :] if first else chunk)
                first = False
        partial.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise

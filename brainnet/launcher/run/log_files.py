"""Keeps the log files of a host within a limit, also while processes write to them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 20


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

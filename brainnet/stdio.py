"""Standard streams whose failure does no harm: closed ones, full disks, readers that have left, odd encodings.

This module imports nothing of weight, because every command uses it first.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, TextIO

_QUEUED_WRITES: Final = 256
"""Writes that wait for a reader that does not read, such as a terminal after Ctrl-S; further ones are dropped."""
_DRAIN_S: Final = 0.5
"""Seconds that `BackgroundFile.close` waits for what is queued."""


class DescriptorFile(io.RawIOBase):
    """An open file descriptor that it does not own: closing this object leaves it open."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal; one that is closed is none."""
        with contextlib.suppress(OSError):
            return os.isatty(self._descriptor)
        return False

    def writable(self) -> bool:
        """Return True."""
        return True


class _LenientFile(DescriptorFile):
    """Drops what cannot be written."""

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        try:
            return os.write(self._descriptor, view)
        except OSError:
            return len(view)


class _BackgroundFile(DescriptorFile):
    """Writes in a thread of its own and drops what cannot be written, or does not fit into the queue."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUED_WRITES)
        # A daemon: the process must be able to exit while a write blocks.
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._thread.start()

    def write(self, data: Any, /) -> int:
        chunk = bytes(memoryview(data).cast("B"))
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(chunk)
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(None)
                self._thread.join(_DRAIN_S)
        super().close()

    def _run(self) -> None:
        while (chunk := self._queue.get()) is not None:
            view = memoryview(chunk)
            while view:
                try:
                    view = view[os.write(self._descriptor, view) :]
                except OSError:
                    break


def lenient(descriptor: int, *, encoding: str = "", background: bool = False) -> TextIO:
    """Return a text stream on a file descriptor; writing to it never raises `OSError` or `UnicodeError`.

    Args:
        descriptor: It stays open when the stream is closed.
        encoding: By default that of the standard stream with this number.
        background: Write in a thread, so that a reader that does not read cannot block the caller either. What is
            queued is written at `close`, for at most half a second.
    """
    raw = _BackgroundFile(descriptor) if background else _LenientFile(descriptor)
    like = sys.__stdout__ if descriptor == 1 else sys.__stderr__
    encoding = encoding or getattr(like, "encoding", None) or "utf-8"
    # Line by line, as on a terminal: a process that is killed loses no line.
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors="replace", line_buffering=True)


def open_missing_descriptors() -> None:
    """Open /dev/null for each of the descriptors 0, 1 and 2 that is closed.

    Without it, the next file or socket that is opened would get such a number, and receive whatever is printed.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)  # the lowest free number is this one


@contextlib.contextmanager
def optional_output() -> Iterator[None]:
    """Make standard output optional within this context: the work goes on whatever becomes of what is printed."""
    before, sys.stdout = sys.stdout, lenient(1, background=True)
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.close()
        sys.stdout = before


class Guarded:
    """The part of a text stream that a logger uses; a failed write is dropped.

    Args:
        stream: What it writes to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if that is possible."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        self._try(self._stream.flush)

    @staticmethod
    def _try(work: Callable[[], Any]) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: a closed stream, or a character it cannot encode
            work()

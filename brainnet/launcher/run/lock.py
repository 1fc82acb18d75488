"""One launcher per brain and host: a lock that the kernel lets go when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from brainnet.errors import LaunchError

_FILE: Final = "launcher.lock"
_RETRY_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Holder:
    """The launcher that runs."""

    pid: int
    host: str
    namespace: str
    port: int


class BrainLock:
    """Held as long as this process lives, or until it is left.

    Raises:
        LaunchError: on entering, when another launcher runs this brain here.
    """

    def __init__(self, state: Path, holder: Holder) -> None:
        self._path = state / _FILE
        self._holder = holder
        self._file = -1

    def __enter__(self) -> Self:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + _RETRY_S
        while not _try(self._file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:  # longer than somebody who only looks
                os.close(self._file)
                other = _read(self._path)
                other = other or self._holder
                raise LaunchError(
                    f"brain {other.namespace!r} is already running on port {other.port}, pid {other.pid}, "
                    f"with its state in {self._path.parent}; see `brainnet status`, or end it with `brainnet stop`"
                )
            time.sleep(0.02)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(asdict(self._holder)).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def running(state: Path) -> Holder | None:
    """The launcher that runs the brain whose state is kept in this folder, if one does."""
    path = state / _FILE
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _try(file, fcntl.LOCK_SH) else _read(path)
    finally:
        os.close(file)


def _try(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> Holder | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Holder(**json.loads(path.read_text()))
    return None

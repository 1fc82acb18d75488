"""A lock that allows one launcher per brain and host.

It is an flock on a file of the state folder: the kernel releases it when its holder dies, however it dies, so there are
no stale locks.
"""

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
from brainnet.launcher.run.kernel import is_frozen

_FILE: Final = "launcher.lock"
_ACQUIRE_TIMEOUT_S: Final = 0.3
"""`current_holder` takes a shared lock for a moment, which a starting launcher must wait out."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The launcher that holds the lock."""

    pid: int
    host: str
    namespace: str
    port: int


class BrainLock:
    """A context manager that holds the lock.

    Args:
        state: The state folder of the brain.
        holder: This launcher, as others shall see it.

    Raises:
        LaunchError: On entering, when another launcher runs this brain here, or the lock file cannot be written.
    """

    def __init__(self, state: Path, holder: Holder) -> None:
        self._path = state / _FILE
        self._holder = holder
        self._file = -1

    def __enter__(self) -> Self:
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._unwritable(error) from None
        deadline = time.monotonic() + _ACQUIRE_TIMEOUT_S
        while not _try_flock(self._file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                os.close(self._file)
                # The file is empty for a moment between flock and pwrite below; the brain is the same.
                other = _read_holder(self._path) or self._holder
                raise LaunchError(
                    f"brain {other.namespace!r} is already running on port {other.port}, pid {other.pid}, "
                    f"with its state in {self._path.parent}; {describe_frozen(other.pid) or 'see `brainnet status`'}, "
                    "or end it with `brainnet stop`"
                )
            time.sleep(0.02)  # flock has no timeout; this runs once, before there is an event loop
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(asdict(self._holder)).encode(), 0)
        except OSError as error:
            os.close(self._file)
            raise self._unwritable(error) from None
        return self

    def _unwritable(self, error: OSError) -> LaunchError:
        return LaunchError(
            f"the state of the brain cannot be written: {self._path}: {error.strerror}; free space or correct the "
            "rights, or name another folder with the setting data_dir (BRAINNET_DATA_DIR)"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def current_holder(state: Path) -> Holder | None:
    """Return the launcher that runs the brain of this state folder, or None."""
    path = state / _FILE
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        # A shared lock, so that several commands can look at the same time. Closing the file releases it.
        return None if _try_flock(file, fcntl.LOCK_SH) else _read_holder(path)
    finally:
        os.close(file)


def describe_frozen(pid: int) -> str:
    """Return what to do about a launcher that is frozen, or an empty string for one that is not."""
    return f"it is frozen (SIGSTOP or a debugger): continue it with `kill -CONT {pid}`" if is_frozen(pid) else ""


def check_replies(state: Path) -> None:
    """Check that the launcher of a brain is not frozen, so that waiting for a reply makes sense.

    Raises:
        LaunchError: It is frozen; says what to do.
    """
    holder = current_holder(state)
    if holder is not None and (frozen := describe_frozen(holder.pid)):
        raise LaunchError(
            f"launcher {holder.pid} of the brain {holder.namespace!r} does not reply, {frozen}, or end the brain with "
            "`brainnet stop`"
        )


def _try_flock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(path: Path) -> Holder | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Holder(**json.loads(path.read_text()))
    return None

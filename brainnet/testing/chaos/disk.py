"""Trouble with the disk of a brain: a journal that is locked, and a disk that is full."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import resource
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from brainnet.errors import LaunchError

TMPFS_BYTES: Final = 96 << 20
"""Size of the file system on which a brain gets its state: far more than it needs, and quickly filled."""
_LIMIT_BYTES: Final = 4096
"""Size beyond which no file of the brain may grow, where no file system of its own can be filled."""
_CLONE_NEWNS: Final = 0x20000  # from <sched.h>
_MS_REC_PRIVATE: Final = 0x4000 | 1 << 18  # from <sys/mount.h>
_CHUNK: Final = bytes(1 << 20)


def mount_small_disk(folder: Path) -> str:
    """Mount a small file system on a folder, for this process and those that it starts; it ends with them.

    Call it from the main thread before any other is started.

    Returns:
        Empty, or why it cannot be done here.
    """
    if os.geteuid() != 0:
        return "only root may mount a file system to fill; limits the size of files instead"
    libc = ctypes.CDLL(None, use_errno=True)
    # A mount namespace of its own: the rest of the machine does not see the mount, and nothing has to be undone.
    calls: list[Callable[[], int]] = [
        lambda: libc.unshare(_CLONE_NEWNS),
        lambda: libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None),
        lambda: libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, f"size={TMPFS_BYTES}".encode()),
    ]
    for call in calls:
        if call() != 0:
            reason = os.strerror(ctypes.get_errno())
            return f"no file system can be mounted here ({reason}); limits the size of files instead"
    return ""


def unmount(folder: Path) -> None:
    """Undo `mount_small_disk`."""
    ctypes.CDLL(None, use_errno=True).umount2(str(folder).encode(), 2)  # MNT_DETACH: also while a file is open


def journals(state: Path) -> list[Path]:
    """Return the journals of prompts below a state folder."""
    return sorted(state.rglob("journal.sqlite"))


@contextlib.asynccontextmanager
async def locked(journal: Path) -> AsyncIterator[None]:
    """Hold the write lock of a journal.

    Raises:
        LaunchError: The lock cannot be had.
    """
    with contextlib.closing(sqlite3.connect(journal, isolation_level=None, timeout=0.05)) as db:
        for _ in range(100):
            try:
                db.execute("BEGIN EXCLUSIVE")
                break
            except sqlite3.OperationalError:  # the brain writes at this moment
                await asyncio.sleep(0.01)
        else:
            raise LaunchError(f"{journal} cannot be locked: the brain holds its lock all the time")
        try:
            yield
        finally:
            db.execute("ROLLBACK")


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Fill the file system of a folder; only for one that `mount_small_disk` mounted."""
    file = folder / "filled"
    try:
        with contextlib.suppress(OSError), file.open("wb", buffering=0) as out:
            for size in (len(_CHUNK), 4096, 1):
                _write_until_full(out.fileno(), size)
        yield
    finally:
        file.unlink(missing_ok=True)


def _write_until_full(descriptor: int, size: int) -> None:
    while True:
        try:
            os.write(descriptor, _CHUNK[:size])
        except OSError as error:
            if error.errno == errno.ENOSPC:
                return
            raise


@contextlib.contextmanager
def limited(processes: Callable[[], list[int]]) -> Iterator[None]:
    """Let no file of some processes grow beyond a few kilobytes; a write beyond that fails as on a full disk.

    Args:
        processes: Returns the process ids; it is called again at the end, because forked processes inherit the limit.
    """
    _set_limits(processes(), _LIMIT_BYTES)
    try:
        yield
    finally:
        _set_limits(processes(), None)


def _set_limits(pids: list[int], soft: int | None) -> None:
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):  # it has ended
            hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if soft is None else soft, hard))

"""Compiled kernels on disk: what Numba has compiled once is not compiled again."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba

from brainnet.paths import CACHE_VARIABLE

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_LONGEST_TURN_S: Final = 60.0
"""Seconds that a process waits for another one that compiles, before it compiles by itself."""
_LOOK_AGAIN_S: Final = 0.02


def cached(function: Kernel, **options: Any) -> Kernel:
    """Compile with a cache where one can be written, and without one, after a warning, where none can.

    Processes that need the same kernel at the same time do not compile it each: one does, and the others wait for it.
    """
    before = numba.core.config.CACHE_DIR
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the folder of the source nor the home of the user can be written
        try:
            numba.core.config.CACHE_DIR = os.environ.get(CACHE_VARIABLE, before)
            kernel = numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            _warn_once(str(error))
            return cast(Kernel, numba.njit(**options)(function))
        finally:
            numba.core.config.CACHE_DIR = before
    cache = getattr(kernel, "_cache", None)
    stored = getattr(cache, "_cache_file", None)
    if stored is not None:
        # Numba looks at the file of the kernel alone. A kernel contains the compiled functions that it calls, which may
        # stand in other files: when one of these changes, it has to be compiled again.
        stored._source_stamp = (stored._source_stamp, _stamp_of_sources())
        _use_in_turn(kernel, cache, _Turn(stored._index_path))
    return cast(Kernel, kernel)


def _use_in_turn(kernel: Any, cache: Any, turn: _Turn) -> None:
    """Let a kernel be compiled by one process at a time, and let nothing fail for a cache that cannot be written."""
    load, save, compile_ = cache.load_overload, cache.save_overload, kernel.compile

    def load_or_take_turn(*args: Any) -> Any:
        found = load(*args)
        if found is None:
            turn.take()
            found = load(*args)  # by now another process may have stored it
        return found

    def save_if_possible(*args: Any) -> None:
        try:
            save(*args)
        except OSError as error:  # a full disk; the compiled kernel itself is fine
            _warn_once(str(error))

    def compile_in_turn(*args: Any) -> Any:
        try:
            return compile_(*args)
        finally:
            turn.give_back()

    cache.load_overload, cache.save_overload, kernel.compile = load_or_take_turn, save_if_possible, compile_in_turn


class _Turn:
    """The turn to compile one kernel, among the processes of a user on this machine.

    It is a socket with an abstract name, which only one process can have, which leaves no file behind, and which the
    kernel of the system takes back from a process that ends.

    Args:
        path: The file that they store the compiled kernel in.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._held: socket.socket | None = None

    def take(self) -> None:
        """Wait for the turn, for at most a minute; where there are no such sockets, nobody waits."""
        if sys.platform != "linux":
            return
        name = f"\0brainnet-{os.getuid()}-{hashlib.sha256(self._path.encode()).hexdigest()}"
        deadline = time.monotonic() + _LONGEST_TURN_S
        with contextlib.suppress(OSError):  # no descriptor is left, or none may be bound
            while self._held is None and time.monotonic() < deadline:
                held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                try:
                    held.bind(name)
                    self._held = held
                except OSError as error:
                    held.close()
                    if error.errno != errno.EADDRINUSE:
                        raise
                    time.sleep(_LOOK_AGAIN_S)

    def give_back(self) -> None:
        """Let the next process have it."""
        if self._held is not None:
            self._held.close()
            self._held = None


@functools.cache
def _stamp_of_sources() -> str:
    """Return a hash of the names, sizes and times of all files that may hold compiled functions."""
    package = Path(__file__).parent.parent
    files = sorted(path for folder in ("snn", "simulation", "sensors") for path in (package / folder).rglob("*.py"))
    text = "".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in files)
    return hashlib.sha256(text.encode()).hexdigest()


def _warn_once(reason: str) -> None:
    # Numba names the kernel in its text, so each text would be shown.
    if not _warned:
        _warned.append(reason)
        warnings.warn(
            f"compiled code is not kept, so that every start compiles again: {reason}; set NUMBA_CACHE_DIR to a folder "
            "that can be written",
            stacklevel=4,
        )


_warned: list[str] = []

"""Memory and threads for the compiled kernels.

The page faults of fresh memory, one per 4 KiB, cost more time than the kernels that fill it. Therefore large results
live in anonymous mappings, with huge pages where they are large enough. A mapping is used again once no array refers
to it.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bytes from which memory is recycled; malloc reuses smaller blocks by itself.
_LARGE = 1 << 18
_HUGE_PAGE = 1 << 21
_MAX_FREE_BYTES = 1 << 28
# Values (steps x columns) below which starting a thread costs more than it saves.
_MIN_VALUES_PER_THREAD = 1 << 18
# Parts begin at multiples of this: no two threads write to the same cache line or split a block of a kernel.
_COLUMN_MULTIPLE = 512

_free: dict[int, list[mmap.mmap]] = {}
_free_bytes = 0
# reentrant: garbage collection may free an array, and so call _recycle, while its thread holds the lock
_lock = threading.RLock()
_pool: ThreadPoolExecutor | None = None


def empty(*shape: int) -> NDArray[np.float32]:
    """Return an uninitialised float32 array.

    Memory of 256 KiB or more is used again after the array is freed; up to 256 MiB are held for that.
    """
    global _free_bytes  # noqa: PLW0603 (memory is a resource of the process)
    count = int(np.prod(shape))
    if 4 * count < _LARGE:
        return np.empty(shape, np.float32)
    page = _HUGE_PAGE if 4 * count >= _HUGE_PAGE else mmap.PAGESIZE
    # rounded up to whole pages, so that arrays of similar size share a free list
    size = -(-4 * count // page) * page
    with _lock:
        mapping = _free[size].pop() if _free.get(size) else None
        _free_bytes -= size if mapping else 0
    if mapping is None:
        mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if page == _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
            mapping.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(mapping, np.float32, count)
    # views and tensors made from the array refer to it, so this runs when the last of them is freed
    weakref.finalize(array, _recycle, mapping, size).atexit = False
    return array.reshape(shape)


def _recycle(mapping: mmap.mmap, size: int) -> None:
    """Put a mapping on the free list, or drop it if the list is full."""
    global _free_bytes  # noqa: PLW0603
    with _lock:
        if _free_bytes + size <= _MAX_FREE_BYTES:
            _free.setdefault(size, []).append(mapping)
            _free_bytes += size


def parallel_over_columns(kernel: Callable[..., None], threads: int, steps: int, columns: int, *arguments: Any) -> None:
    """Run a kernel whose last two arguments are the first and the last column, in parallel if that pays off.

    Args:
        kernel: a compiled kernel that releases the GIL.
        threads: the largest number of threads, including the calling one.
        steps: the number of time steps; with `columns` it tells how much work there is.
        columns: the number of columns to divide.
        *arguments: the other arguments of the kernel.
    """
    share = max(_MIN_VALUES_PER_THREAD // max(steps, 1), -(-columns // threads))
    share = -(-share // _COLUMN_MULTIPLE) * _COLUMN_MULTIPLE
    parts = [(start, min(columns, start + share)) for start in range(0, max(columns, 1), share)]
    others = [_thread_pool().submit(kernel, *arguments, *part) for part in parts[1:]]
    # the calling thread takes the first part instead of waiting
    kernel(*arguments, *parts[0])
    for other in others:
        other.result()


def _thread_pool() -> ThreadPoolExecutor:
    global _pool  # noqa: PLW0603
    if _pool is None:
        _pool = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="brainnet-kernels")
    return _pool


def _after_fork() -> None:
    global _pool, _lock
    _pool, _lock = None, threading.RLock()  # a fork copies no threads, and a lock that one of them held stays locked


os.register_at_fork(after_in_child=_after_fork)

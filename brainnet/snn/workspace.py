"""Memory and threads for the compiled kernels.

A page fault every 4 KiB of fresh memory costs more than the kernels that fill it. Large results therefore live in
anonymous mappings, with huge pages where they are large enough, which are kept and used again once nothing refers to
them.
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

_LARGE = 1 << 18
_HUGE_PAGE = 1 << 21
_KEPT_AT_MOST = 1 << 28
_WORTH_A_THREAD = 1 << 18
_GRAIN = 512

_kept: dict[int, list[mmap.mmap]] = {}
_kept_bytes = 0
# reentrant, because an array may be freed while its thread is in here
_lock = threading.RLock()
_pool: ThreadPoolExecutor | None = None


def empty(*shape: int) -> NDArray[np.float32]:
    """A float32 array of arbitrary contents; memory from 256 KiB on is kept for the next one, up to 256 MiB in all."""
    global _kept_bytes  # noqa: PLW0603 (memory is a resource of the process)
    count = int(np.prod(shape))
    if 4 * count < _LARGE:
        return np.empty(shape, np.float32)
    page = _HUGE_PAGE if 4 * count >= _HUGE_PAGE else mmap.PAGESIZE
    size = -(-4 * count // page) * page
    with _lock:
        mapping = _kept[size].pop() if _kept.get(size) else None
        _kept_bytes -= size if mapping else 0
    if mapping is None:
        mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if page == _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
            mapping.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(mapping, np.float32, count)
    # views and tensors made from the array hold on to it, so this is when the last of them is gone
    weakref.finalize(array, _keep, mapping, size).atexit = False
    return array.reshape(shape)


def _keep(mapping: mmap.mmap, size: int) -> None:
    global _kept_bytes  # noqa: PLW0603
    with _lock:
        if _kept_bytes + size <= _KEPT_AT_MOST:
            _kept.setdefault(size, []).append(mapping)
            _kept_bytes += size


def over_columns(kernel: Callable[..., None], threads: int, steps: int, columns: int, *arguments: Any) -> None:
    """Run a kernel whose last arguments are the first and last column, shared out where that is worth a thread."""
    share = max(_WORTH_A_THREAD // max(steps, 1), -(-columns // threads))
    share = -(-share // _GRAIN) * _GRAIN
    parts = [(start, min(columns, start + share)) for start in range(0, max(columns, 1), share)]
    others = [_helpers().submit(kernel, *arguments, *part) for part in parts[1:]]
    kernel(*arguments, *parts[0])
    for other in others:
        other.result()


def _helpers() -> ThreadPoolExecutor:
    global _pool  # noqa: PLW0603
    if _pool is None:
        _pool = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="brainnet-kernels")
    return _pool


def _after_fork() -> None:
    global _pool, _lock
    _pool, _lock = None, threading.RLock()  # threads do not survive a fork, nor does what one of them held


os.register_at_fork(after_in_child=_after_fork)

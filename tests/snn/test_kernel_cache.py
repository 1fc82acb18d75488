"""Compiled code on disk: a cache that cannot be written does not stop a kernel, and one process compiles for all."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import caching
from numpy.typing import NDArray

from brainnet.paths import CACHE_VARIABLE
from brainnet.snn import kernel_cache, kernels


@pytest.fixture(autouse=True)
def no_warning_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "_warned", [])


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let Numba find no folder that it may write, but one that is named to it; return one."""
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [caching.UserProvidedCacheLocator])
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", "")
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    return tmp_path


def refuse(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def total(values: NDArray[np.float32]) -> float:
    found = 0.0
    for value in values:
        found += value
    return found


def check(times: int = 1) -> None:
    for _ in range(times):
        assert kernels.compiled(total)(np.ones(3, np.float32)) == 3.0


def test_no_folder_at_all_is_one_warning(nowhere: Path) -> None:
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR") as warned:
        check(2)
    assert len(warned) == 1


def test_the_folder_of_the_brain_is_used_then(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(nowhere))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check()
    assert list(nowhere.rglob("*.nbi"))


def test_a_disk_that_is_full_at_the_end_is_one_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(caching.IndexDataCacheFile, "save", refuse)
    with pytest.warns(UserWarning, match="No space left") as warned:
        check()
    assert len(warned) == 1


def test_of_processes_that_need_a_kernel_at_once_one_compiles_it(tmp_path: Path) -> None:
    program = tmp_path / "needs_it.py"
    program.write_text("""\
import sys
import numpy as np
from brainnet.snn.kernels import compiled, prepare

@compiled
def largest(values):
    found = values[0]
    for value in np.sort(values):
        found = max(found, value)
    return found

prepare()
print("there", flush=True)
sys.stdin.read()
assert largest(np.arange(5.0)) == 4.0
print(sum(largest.stats.cache_misses.values()))
""")
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen([sys.executable, str(program)], stdin=pipe, stdout=pipe, env=env, text=True)
            )
            for _ in range(3)
        ]
        assert [process.stdout.readline() for process in processes if process.stdout] == 3 * ["there\n"]
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        misses = [process.stdout.read() for process in processes if process.stdout]
    assert sorted(misses) == ["0\n", "0\n", "1\n"]

"""Memory that is used again, and work that is shared among threads."""

from __future__ import annotations

import gc
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from brainnet.snn.neurons.lif import LIFParams, LIFState, lif_sequence
from brainnet.snn.workspace import empty, parallel_over_columns

LARGE = (1 << 18, 3)


def test_memory_is_not_used_again_while_a_view_or_a_tensor_holds_it() -> None:
    first = empty(*LARGE)
    first[:] = 1
    row, tensor = first[5], torch.from_numpy(first)[7]
    del first
    gc.collect()
    for _ in range(3):
        empty(*LARGE)[:] = 2
    assert row.tolist() == [1, 1, 1]
    assert tensor.tolist() == [1, 1, 1]


def test_memory_is_used_again_once_it_is_free() -> None:
    first = empty(*LARGE)
    address = first.ctypes.data
    del first
    assert address in {empty(*LARGE).ctypes.data for _ in range(3)}


def test_at_most_256_mib_are_kept() -> None:
    # fresh memory is zero, memory that was kept still holds the mark; one page of each is ever touched
    marked = [empty(16 << 20) for _ in range(6)]  # 64 MiB each
    for array in marked:
        array[0] = 1
    del array, marked
    again = [empty(16 << 20) for _ in range(6)]
    assert 1 <= sum(bool(array[0] == 1) for array in again) <= 4


def test_memory_of_many_threads_is_never_shared() -> None:
    def fill(value: int) -> bool:
        for _ in range(50):
            array = empty(1 << 17)
            array[:] = value
            if not (array == value).all():
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(fill, range(4)))


def visit(counts: NDArray[np.int_], first: int, last: int) -> None:
    counts[first:last] += 1


def visited(columns: int) -> NDArray[np.int_]:
    counts = np.zeros(columns, int)
    parallel_over_columns(visit, 3, 1 << 10, columns, counts)
    return counts


@pytest.mark.parametrize("columns", [0, 1, 700, 5000])
def test_every_column_is_worked_on_once(columns: int) -> None:
    assert (visited(columns) == 1).all()


def spikes_and_gradient(threads: int) -> tuple[torch.Tensor, torch.Tensor]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        generator = torch.Generator().manual_seed(0)
        currents = (torch.rand(300, 3000, generator=generator) * 0.6).requires_grad_()
        start = LIFState(torch.rand(3000, generator=generator))
        spikes, _ = lif_sequence(currents, start, LIFParams(torch.tensor(0.9)))
        return spikes.detach(), torch.autograd.grad(spikes.sum(), currents)[0]
    finally:
        torch.set_num_threads(before)


def test_threads_change_no_spike_and_no_gradient() -> None:
    (alone, alone_gradient), (shared, shared_gradient) = spikes_and_gradient(1), spikes_and_gradient(2)
    assert torch.equal(alone, shared)
    assert torch.equal(alone_gradient, shared_gradient)


def _in_child() -> None:
    assert (visited(5000) == 1).all()


def test_threads_are_there_after_a_fork() -> None:
    visited(5000)
    child = multiprocessing.get_context("fork").Process(target=_in_child, daemon=True)
    child.start()
    child.join(20)
    assert child.exitcode == 0

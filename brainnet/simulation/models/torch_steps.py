"""What the models that run in torch have in common: torch is imported here only when such a model is made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.simulation.models.base import Window


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread and without gradients, and restore what was set before.

    How a sum is divided among threads changes its last bit, so that the spikes would depend on the number of cores.
    """
    import torch

    before = torch.get_num_threads()
    if before != 1:
        torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        if before != 1:
            torch.set_num_threads(before)


def input_of(window: Window, inputs: int) -> NDArray[np.float32]:
    """Return the input of a window in units of the weights, float32 [steps, inputs]."""
    if not window.sums:
        return np.zeros((window.steps, inputs), np.float32)
    return np.ascontiguousarray(window.total().T, np.float32)


def array_of(tensor: Any) -> NDArray[Any]:
    """Return a copy of a tensor."""
    copy: NDArray[Any] = tensor.detach().cpu().numpy().copy()
    return copy

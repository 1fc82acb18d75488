"""Encoders of payloads whose rows have times of their own, and may reach beyond the window of their block."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainnet.sensors.blocks import MICROSECONDS, Block, sample_times
from brainnet.sensors.encoders.base import MAX_PAYLOAD, MAX_TIME_US, Encoder
from brainnet.simulation.spikes import Spikes


class Rows(NamedTuple):
    """Rows in order of time.

    Attributes:
        at: int64 [rows], microseconds.
        values: [rows, ...].
    """

    at: NDArray[np.int64]
    values: NDArray[Any]

    def part(self, low: int, high: int) -> Rows:
        """Return the rows from `low` to `high`, as views."""
        return Rows(self.at[low:high], self.values[low:high])


class RowEncoder(Encoder):
    """An encoder that reads rows one after the other, and holds those that belong to later windows.

    Args:
        size: Neurons.
        dt_us: A step in microseconds.
        waiting: An array without rows, of the type and shape in which rows wait.
    """

    def __init__(self, size: int, dt_us: int, waiting: NDArray[Any]) -> None:
        super().__init__(size, dt_us)
        self.state["waiting"] = waiting
        self.state["waiting_at"] = np.zeros(0, np.int64)
        self.state["reached"] = np.full(1, -1, np.int64)

    @property
    def variable(self) -> frozenset[str]:
        """Names of the arrays of the state whose first axis may have any length."""
        return frozenset({"waiting", "waiting_at"})

    @abstractmethod
    def _rows_of(self, block: Block) -> Rows:
        """Return the rows of a payload, from the time of the block on, in order of time."""

    @abstractmethod
    def _encode_rows(self, first_step: int, steps: int, rows: Rows) -> Spikes:
        """Compute a window from the rows that lie in it. On an error the state must be as before."""

    def _encode(self, first_step: int, steps: int, at: Sequence[int], payloads: Sequence[Block]) -> Spikes:
        parts = [Rows(self.state["waiting_at"], self.state["waiting"])]
        reached = int(self.state["reached"][0])
        for block in payloads:
            if np.size(block.payload) > MAX_PAYLOAD:
                raise self.error(block, f"has {np.size(block.payload)} values; make blocks of at most {MAX_PAYLOAD}")
            part = self._rows_of(block)
            if not part.at.size:
                continue
            if part.at[0] < reached:
                raise self.error(block, "begins before the end of the one before it")
            if part.at[-1] >= MAX_TIME_US:
                raise self.error(block, f"reaches beyond {MAX_TIME_US} us")
            # the samples of a block with a rate lie apart; those of one moment may come in several blocks
            reached = int(part.at[-1]) + (block.rate_hz is not None)
            parts.append(part)
        rows = Rows(np.concatenate([part.at for part in parts]), np.concatenate([part.values for part in parts]))
        now = int(np.searchsorted(rows.at, (first_step + steps) * self.dt_us))
        # Only the last block can reach beyond the window, so what waits is bounded by the size of one block.
        rest = rows.part(now, rows.at.size)
        spikes = self._encode_rows(first_step, steps, rows.part(0, now))
        # copies, so that a small rest does not keep a large block
        self.state["waiting_at"], self.state["waiting"] = rest.at.copy(), rest.values.copy()
        self.state["reached"][0] = reached
        return spikes


def sample_numbers(times: NDArray[np.int64], rate_hz: float) -> NDArray[np.int64]:
    """Return the numbers of the samples that `sample_times` gives these times."""
    return np.rint(times * rate_hz / MICROSECONDS).astype(np.int64)


def first_sample(t_us: int, rate_hz: float) -> int:
    """Return the number of the first sample whose time is `t_us` or later."""
    near = round(t_us * rate_hz / MICROSECONDS)
    # the time of the sample nearest to it may lie on either side
    times = sample_times(np.arange(near - 1, near + 2), rate_hz)
    return near - 1 + int(np.searchsorted(times, t_us))


def timed_rows(block: Block, values: NDArray[Any], rate_hz: float) -> Rows:
    """Return the samples of a block with their times.

    A time depends on the number of a sample, counted from time 0, and not on the block in which it comes.
    """
    first = first_sample(block.t_us, rate_hz)
    return Rows(sample_times(np.arange(first, first + len(values), dtype=np.int64), rate_hz), values)

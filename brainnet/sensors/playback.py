"""Plays a source by a clock: the blocks up to a time, from any time on, once or again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from brainnet.errors import SensorError
from brainnet.sensors.blocks import MICROSECONDS, Block, Source, sample_times
from brainnet.sensors.encoders.rows import first_sample

_SHORTEST_US: Final = 1000
"""Of a pass: a single cloud of points at time 0 is not played a million times a second."""


class Playback:
    """The blocks of a source in order of time.

    Guarantee: which blocks there are between two times depends on the source alone, and not on how often `until` is
    called or where it began.

    Args:
        source: What is played.
        loop: Whether it begins again at its end. Audio, and other samples with a rate, then go on without a gap; events
            a microsecond after the last one; and other blocks as long after the last one as that came after the one
            before it. A pass of blocks without a rate lasts a millisecond at least.
    """

    def __init__(self, source: Source, *, loop: bool) -> None:
        self._source, self._loop = source, loop
        self._length = 0
        """Samples of one pass where they have a rate, microseconds otherwise; 0 before the end of the first pass."""
        self._blocks: Iterator[Block] = self._from(0)
        self._waiting: Block | None = None

    def seek(self, t_us: int) -> None:
        """Go on with the first block whose time is not before `t_us`."""
        self._blocks, self._waiting = self._from(t_us), None

    def until(self, t_us: int) -> list[Block]:
        """Return the next blocks whose time is before `t_us`.

        Raises:
            SensorError: The source cannot be read on, or holds nothing.
        """
        found = list[Block]()
        while True:
            block = self._waiting or next(self._blocks, None)
            self._waiting = None
            if block is None:
                return found
            if block.t_us >= t_us:
                self._waiting = block
                return found
            found.append(block)

    def _from(self, t_us: int) -> Iterator[Block]:
        number, turn = 0, 0
        while True:
            before, last = 0, None
            for block in self._source:
                shifted = self._shifted(block, turn, number)
                number += 1
                if shifted.t_us >= t_us:
                    yield shifted
                before, last = (last.t_us if last is not None else 0), block
            if last is None:
                raise SensorError("the source holds nothing to play")
            if not self._loop:
                return
            self._length = _length(last, before)
            turn += 1
            if turn == 1:  # a source that is short beside the time to begin with is not read through again and again
                rate = last.rate_hz or MICROSECONDS
                turn = max(turn, int(t_us * rate / MICROSECONDS) // self._length - 1)
                number *= turn

    def _shifted(self, block: Block, turn: int, number: int) -> Block:
        if not turn:
            return replace(block, sequence=number)
        t_us = block.t_us + turn * self._length
        if block.rate_hz is not None:
            t_us = int(sample_times(first_sample(block.t_us, block.rate_hz) + turn * self._length, block.rate_hz))
        return replace(block, t_us=t_us, sequence=number)


def _length(last: Block, before_us: int) -> int:
    """Return how long a pass is: samples up to the end of its last block, or microseconds."""
    if last.rate_hz is not None:
        return first_sample(last.t_us, last.rate_hz) + len(last.payload)
    if last.payload.dtype.names:
        times = last.payload["t_us"]
        return max(_SHORTEST_US, int(last.t_us + (times[-1] - times[0] if times.size else 0)) + 1)
    return max(_SHORTEST_US, 2 * last.t_us - before_us)

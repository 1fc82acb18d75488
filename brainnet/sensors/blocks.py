"""What sensors give: arrays with a time and a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError

MICROSECONDS: Final = 1_000_000
"""In a second."""


RATES_HZ: Final = (1e-3, 1e6)
"""The lowest and the highest rate of samples and frames."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One payload of a sensor.

    Attributes:
        t_us: Its time in microseconds, counted from the start of the source: that of its first row.
        payload: Numbers of any shape: a frame [H, W] or [H, W, 3], audio [samples, channels], values [channels] or
            [samples, channels], points [N, 3], or events, a structured array [E] of `brainnet.sensors.events.EVENT`.
        sequence: Its number, counted from 0; a gap is a block that was lost.
        rate_hz: Rows of the payload per second, where its first axis is time; None for a payload of one moment. A block
            that begins with sample n has the time that `sample_times` gives it.
        encoding: How the payload, uint8 [bytes], is encoded, such as "jpeg"; None where it is the values themselves.
    """

    t_us: int
    payload: NDArray[Any]
    sequence: int
    rate_hz: float | None = None
    encoding: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the payload."""
        return self.payload.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the payload."""
        return self.payload.dtype


class Source(Protocol):
    """What yields blocks in order of time; each iteration begins at the start again.

    Attributes:
        modality: "image", "audio", "events", "points" or "samples".
    """

    modality: str

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks.

        Raises:
            SensorError: The source cannot be read on; names the file.
        """
        ...


def check_rate(owner: str, rate_hz: float) -> None:
    """Check a rate of samples or frames.

    Args:
        owner: What has the rate, for the error.
        rate_hz: Samples per second.

    Raises:
        SensorError: It is outside `RATES_HZ`, or no number.
    """
    low, high = RATES_HZ
    if not low <= rate_hz <= high:
        raise SensorError(f"{owner}: samples or frames per second must be {low:g} to {high:,.0f}, not {rate_hz}")


def sample_times(numbers: Any, rate_hz: float) -> NDArray[np.int64]:
    """Return the times of samples or frames in microseconds: round(n 10^6 / rate), ties to the even number.

    They rise with n for rates up to 1 MHz. For whole rates they are exact however large n is.

    Args:
        numbers: Whole numbers n [...], counted from time 0.
        rate_hz: Samples per second.
    """
    numbers = np.asarray(numbers, np.int64)
    if rate_hz == int(rate_hz):
        # whole seconds apart, because n 10^6 is not exact as a float after some hours of audio
        seconds, rest = np.divmod(numbers, int(rate_hz))
        return np.asarray(seconds * MICROSECONDS + np.rint(rest * MICROSECONDS / rate_hz).astype(np.int64))
    return np.asarray(np.rint(numbers.astype(np.float64) * MICROSECONDS / rate_hz).astype(np.int64))


def in_windows(blocks: Iterable[Block], dt_us: int, steps: int) -> Iterator[tuple[int, list[Block]]]:
    """Yield consecutive windows: the number of the first step, from 0 on, and the blocks whose time lies in it.

    Step s is the time from s dt to (s + 1) dt, its end excluded. The last window is the one that holds the time of the
    last block; rows of a block may reach beyond it.

    Args:
        blocks: In order of time.
        dt_us: A step in microseconds.
        steps: Steps of a window.

    Raises:
        SensorError: A step or a window that is not positive, or a block with a time below 0 or before the one of its
            predecessor.
    """
    if dt_us < 1 or steps < 1:
        raise SensorError(f"a window needs steps of at least 1 us, and at least one; got {steps} of {dt_us} us")
    first, held, before = 0, list[Block](), 0
    for block in blocks:
        if block.t_us < before:
            raise SensorError(
                f"block {block.sequence} is of {block.t_us} us, and {before} us were reached: times start at 0 and do "
                "not go back"
            )
        before = block.t_us
        while block.t_us >= (first + steps) * dt_us:
            yield first, held
            first, held = first + steps, []
        held.append(block)
    if held:
        yield first, held

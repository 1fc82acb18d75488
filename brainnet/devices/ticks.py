"""The time of a device on the clock of the host: a line through what arrived.

A device numbers its ticks by a clock of its own, which runs faster or slower than the host's by some millionths. When a
datagram is read says little: the network and the scheduler delay it by chance. So all pairs of a tick and the time at
which the kernel received it are fitted by a line, and the line says when a tick was.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

_KEPT: Final = 512
"""Pairs that the line goes through."""
_LEAST: Final = 16
"""Pairs from which on the slope is fitted; with fewer it is the nominal one."""
_EVERY: Final = 16
"""New pairs after which it is fitted again."""
_ROUNDS: Final = 4
_CUT: Final = 3.0
"""Pairs further from the line than this many standard deviations, estimated from the median, are left out."""
_RESTART_NS: Final = 1_000_000_000
_RESTARTS_AFTER: Final = 8
"""So many pairs in a row more than a second off the line mean that the device counts anew."""
_STEEPEST: Final = 0.05
"""A slope that differs from the nominal one by more than this share is none of a clock; the nominal one is taken."""


class TickLine:
    """Maps ticks to nanoseconds of the host's clock by a line that is fitted by least squares, without outliers.

    Args:
        tick_ns: Nominal duration of a tick in nanoseconds.
    """

    def __init__(self, tick_ns: float) -> None:
        self._nominal = tick_ns
        self._pairs: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        self._origin = (0, 0)
        self._slope, self._offset = tick_ns, 0.0
        self._unfitted = 0
        self._astray = 0
        self.restarts = 0
        """How often the device began to count anew."""

    @property
    def slope(self) -> float:
        """Nanoseconds of the host in one tick."""
        return self._slope

    @property
    def known(self) -> bool:
        """Whether anything was added."""
        return bool(self._pairs)

    def add(self, tick: int, at_ns: int) -> None:
        """Take note that something of a tick arrived at a time of the host."""
        if self._pairs and abs(float(self.at_ns(np.array([tick]))[0]) - at_ns) > _RESTART_NS:
            self._astray += 1
            if self._astray < _RESTARTS_AFTER:
                return  # one wild tick must not move the line
            self._pairs.clear()
            self.restarts += 1
        self._astray = 0
        if not self._pairs:
            self._origin, self._slope, self._offset = (tick, at_ns), self._nominal, 0.0
            self._unfitted = 0
        self._pairs.append((tick, at_ns))
        self._unfitted += 1
        if self._unfitted >= _EVERY or len(self._pairs) <= _LEAST:
            self._fit()

    def at_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return when ticks were, in nanoseconds of the host, float64 [ticks]; something must have been added."""
        tick, at_ns = self._origin
        return (ticks - tick).astype(np.float64) * self._slope + (self._offset + at_ns)

    def _fit(self) -> None:
        self._unfitted = 0
        # relative to the first pair, because float64 does not hold nanoseconds since 1970
        x, y = (np.array(self._pairs, np.int64) - np.array(self._origin, np.int64)).astype(np.float64).T
        slope, keep = self._nominal, np.ones(x.size, bool)
        for _ in range(_ROUNDS):
            if keep.sum() >= _LEAST and np.ptp(x[keep]) > 0:
                centred = x[keep] - x[keep].mean()
                slope = float(centred @ y[keep] / (centred @ centred))
                if abs(slope / self._nominal - 1) > _STEEPEST:
                    slope = self._nominal
            residual = y - slope * x
            middle = float(np.median(residual[keep]))
            # 1.4826 makes the median of absolute deviations the standard deviation of normal ones
            width = 1.4826 * float(np.median(np.abs(residual[keep] - middle)))
            again = np.abs(residual - middle) <= max(_CUT * width, 1.0)
            if (again == keep).all():
                break
            keep = again
        self._slope, self._offset = slope, float((y - slope * x)[keep].mean())


def unwrap(values: NDArray[np.int64], period: int, near: int) -> NDArray[np.int64]:
    """Return counters that were sent modulo a period as what they are, given a value that they are near to."""
    half = period // 2
    return near + (values - near + half) % period - half

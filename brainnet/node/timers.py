"""Timers of a node: methods that are called at a fixed rate, and how late they were."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import math
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from brainnet.errors import ConfigError
from brainnet.guard import ends_task
from brainnet.wire.messages import TimerState

MAX_HZ: Final = 1000.0
"""A wake-up of the event loop takes some 0.1 ms; a faster timer would leave no time for anything else."""
_KEPT: Final = 1024
"""Calls that the percentiles are taken over."""
_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class Ticks:
    """The ticks of a timer of the kernel, on a fixed grid that never drifts.

    The event loop's own timers are rounded up to whole milliseconds; this one is not (timerfd_create(2)).

    Args:
        period_s: Seconds between two ticks.

    Attributes:
        started: `time.monotonic()` of tick 0; tick n is due `n * period_s` later.
    """

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self.started = time.monotonic()
        libc = _libc()
        self._file = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        spec = _TimerSpec(_spec(period_s), _spec(self.started + period_s))
        if libc.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(spec), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        self._due = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._file, self._due.set)

    async def wait(self) -> int:
        """Wait for the next tick, and return how many are due: more than one when some have passed unseen."""
        while True:
            self._due.clear()
            try:
                return int.from_bytes(os.read(self._file, 8), "little")
            except BlockingIOError:  # none is due yet
                await self._due.wait()

    def close(self) -> None:
        """Give the timer back."""
        self._loop.remove_reader(self._file)
        os.close(self._file)


class Timer:
    """Calls a function at a fixed rate, one call at a time; a tick during which the last call still runs is missed.

    Args:
        name: Shown with its figures.
        hz: Calls per second, in (0, 1000].
        call: What is called.
        ended: Called after each call with what it raised, or None.

    Raises:
        ConfigError: The rate is not in that range.
    """

    def __init__(
        self, name: str, hz: float, call: Callable[[], Awaitable[Any]], ended: Callable[[BaseException | None], None]
    ) -> None:
        if not 0.0 < hz <= MAX_HZ:
            raise ConfigError(f"the timer {name} has {hz:g} Hz; it must be above 0 and at most {MAX_HZ:g} Hz")
        self.name, self.hz = name, hz
        self._call, self._ended = call, ended
        self._calls = self._missed = 0
        self._late: deque[float] = deque(maxlen=_KEPT)
        self._took: deque[float] = deque(maxlen=_KEPT)

    async def run(self) -> None:
        """Call until this is cancelled."""
        ticks = Ticks(1.0 / self.hz)
        tick = 0
        try:
            while True:
                due = await ticks.wait()
                tick += due
                self._missed += due - 1
                began = time.monotonic()
                self._late.append(began - (ticks.started + tick * ticks.period_s))
                error: BaseException | None = None
                try:
                    await self._call()
                except BaseException as raised:
                    if ends_task(raised):
                        raise
                    error = raised
                self._calls += 1
                self._took.append(time.monotonic() - began)
                self._ended(error)
        finally:
            ticks.close()

    def state(self) -> TimerState:
        """Return the counts since the start, and percentiles over the last 1,024 calls."""
        late, took = sorted(self._late), sorted(self._took)
        return TimerState(
            name=self.name,
            hz=self.hz,
            calls=self._calls,
            missed=self._missed,
            late_p50_ms=1e3 * _quantile(late, 0.5),
            late_p99_ms=1e3 * _quantile(late, 0.99),
            took_p50_ms=1e3 * _quantile(took, 0.5),
            took_p99_ms=1e3 * _quantile(took, 0.99),
        )


def _quantile(ordered: list[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed; 0 without values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _spec(seconds: float) -> _TimeSpec:
    whole = int(seconds)
    return _TimeSpec(whole, min(999_999_999, round((seconds - whole) * 1e9)))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)

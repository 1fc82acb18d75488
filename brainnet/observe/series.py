"""Running statistics of what one source sends on one key."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from brainnet.bus import Sample, Stamp
from brainnet.observe import keys, reading


@dataclass
class Statistics:
    """Number, extremes, mean and standard deviation, by Welford's recurrence."""

    number: int = 0
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    _squares: float = 0.0

    def add(self, value: float) -> None:
        self.number += 1
        before = self.mean or 0.0
        self.mean = before + (value - before) / self.number
        self._squares += (value - before) * (value - self.mean)
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)

    @property
    def deviation(self) -> float | None:
        """Of the population; None without a value."""
        return math.sqrt(self._squares / self.number) if self.number else None


@dataclass
class Series:
    """One source on one key since the first message that was seen.

    `sent` and `rate_hz` follow the sender's numbers and clock, so a listener that misses messages changes neither.
    Without numbers they fall back to what was seen, when it was seen.
    """

    key: str
    source: str
    seen: int = 0
    sizes: Statistics = field(default_factory=Statistics)
    intervals: Statistics = field(default_factory=Statistics)
    delays: Statistics = field(default_factory=Statistics)
    _sent: int = 0
    _first_ns: int = 0  # whole numbers: a float of the epoch resolves only 0.1 us
    _last_ns: int = 0
    _last_seq: int | None = None

    def add(self, stamp: Stamp | None, size: int, now_ns: int) -> None:
        """Take one message in; `now_ns` since the epoch."""
        when_ns = stamp.timestamp_ns if stamp else now_ns
        steps = 1
        if stamp is not None:
            self.delays.add((now_ns - when_ns) / 1e6)
            if self._last_seq is not None and stamp.seq > self._last_seq:
                steps = stamp.seq - self._last_seq
            self._last_seq = stamp.seq
        if self.seen and steps == 1:
            self.intervals.add((when_ns - self._last_ns) / 1e9)
        self._first_ns = self._first_ns if self.seen else when_ns
        self._last_ns = when_ns
        self._sent += steps
        self.seen += 1
        self.sizes.add(size)

    @property
    def rate_hz(self) -> float | None:
        """Messages sent per second; None before the second one."""
        span = (self._last_ns - self._first_ns) / 1e9
        return (self._sent - 1) / span if span > 0 else None

    def counts(self) -> dict[str, Any]:
        """What all reports begin with; `sent` is None for a source that does not number its messages."""
        numbered = self._last_seq is not None
        return {
            "key": self.key,
            "source": self.source,
            "sent": self._sent if numbered else None,
            "seen": self.seen,
            "missing": self._sent - self.seen if numbered else None,
        }


class Collection:
    """The series of every key and source that was seen."""

    def __init__(self, namespace: str) -> None:
        self.series: dict[tuple[str, str], Series] = {}
        self._namespace = namespace

    def take(self, sample: Sample) -> None:
        """Count one sample."""
        now_ns = time.time_ns()
        stamp = reading.stamp_of(sample, self._namespace)
        source = stamp.source if stamp else ""
        series = self.series.get((sample.key, source))
        if series is None:
            key = keys.shown(sample.key, self._namespace)
            series = self.series[sample.key, source] = Series(key, source)
        series.add(stamp, len(sample.payload), now_ns)

"""Running statistics of the messages of one source on one key."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from brainnet.bus import Sample, Stamp
from brainnet.observe import keys, reading


@dataclass
class Statistics:
    """Number, extremes, mean and standard deviation of values.

    By Welford's recurrence, which needs no list of the values and loses no precision when the mean is large beside the
    deviation.
    """

    number: int = 0
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    _squares: float = 0.0

    def add(self, value: float) -> None:
        """Add one value."""
        self.number += 1
        before = self.mean or 0.0
        self.mean = before + (value - before) / self.number
        self._squares += (value - before) * (value - self.mean)
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the population; None without a value."""
        return math.sqrt(self._squares / self.number) if self.number else None


@dataclass
class Series:
    """Messages of one source on one key since the first that was received.

    The sent messages and `rate_hz` follow from the sender's sequence numbers and clock, so messages that this listener
    misses change neither. For a sender without numbers they follow from the received messages and this host's clock.
    """

    key: str
    source: str
    seen: int = 0
    sizes: Statistics = field(default_factory=Statistics)
    intervals: Statistics = field(default_factory=Statistics)
    delays: Statistics = field(default_factory=Statistics)
    _sent: int = 0
    _first_ns: int = 0  # int, because a float of seconds since the epoch resolves only 0.2 us
    _last_ns: int = 0
    _last_seq: int | None = None

    def add(self, stamp: Stamp | None, size: int, now_ns: int) -> None:
        """Add one message, received at `now_ns` since the epoch."""
        when_ns = stamp.timestamp_ns if stamp else now_ns
        steps = 1
        if stamp is not None:
            self.delays.add((now_ns - when_ns) / 1e6)
            if self._last_seq is not None and stamp.seq > self._last_seq:
                steps = stamp.seq - self._last_seq
            self._last_seq = stamp.seq
        if self.seen and steps == 1:  # after a gap the interval spans several messages
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
        """Return the fields that every report has; `sent` is None for a source without sequence numbers."""
        numbered = self._last_seq is not None
        return {
            "key": self.key,
            "source": self.source,
            "sent": self._sent if numbered else None,
            "seen": self.seen,
            "missing": self._sent - self.seen if numbered else None,
        }


class Collection:
    """The series of every key and source."""

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
            key = keys.display_name(sample.key, self._namespace)
            series = self.series[sample.key, source] = Series(key, source)
        series.add(stamp, len(sample.payload), now_ns)

"""Running statistics of the messages of one source on one key."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Final

from brainnet.bus import Sample, Stamp
from brainnet.observe import keys, reading
from brainnet.wire.topics import Contract

MAX_SERIES: Final = 4096
"""Keys and sources are chosen by senders, so the table of them is bounded."""
MAX_DELAY_MS: Final = 600_000.0
"""Delay beyond which a timestamp says more about the sender's clock than about the message: the longest deadline of a
prompt."""


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

    The number of sent messages follows from the sender's sequence numbers, so a message that this listener misses does
    not change it. Times are those of arrival by this host's monotonic clock, which nobody can set.

    Attributes:
        key: As it is shown to users.
        source: Id of the sender; empty where it gave none.
        seen: Number of messages received.
        sizes: Bytes of the payloads.
        intervals: Seconds between arrivals of messages that follow each other.
        delays: Milliseconds from a message's timestamp to its arrival, of the messages for which that is possible.
        clock_difference_ms: Of the last message whose timestamp is later than its arrival, or so early that no message
            is under way for so long: how much this host's clock is ahead of the sender's. None without such a message.
    """

    key: str
    source: str
    seen: int = 0
    sizes: Statistics = field(default_factory=Statistics)
    intervals: Statistics = field(default_factory=Statistics)
    delays: Statistics = field(default_factory=Statistics)
    clock_difference_ms: float | None = None
    _sent: int = 0
    _first_ns: int = 0
    _last_ns: int = 0
    _last_seq: int | None = None

    def add(self, stamp: Stamp | None, size: int, arrived_ns: int, now_ns: int) -> None:
        """Add one message.

        Args:
            stamp: Of the message.
            size: Bytes of its payload.
            arrived_ns: When it arrived, by the monotonic clock.
            now_ns: When it arrived, since the epoch; used for its delay only.
        """
        steps = 1
        if stamp is not None:
            delay_ms = (now_ns - stamp.timestamp_ns) / 1e6
            if 0 <= delay_ms <= MAX_DELAY_MS:
                self.delays.add(delay_ms)
            else:
                self.clock_difference_ms = delay_ms
            if self._last_seq is not None and stamp.seq > self._last_seq:
                steps = stamp.seq - self._last_seq
            self._last_seq = stamp.seq
        if self.seen and steps == 1:  # after a gap the interval spans several messages
            self.intervals.add((arrived_ns - self._last_ns) / 1e9)
        self._first_ns = self._first_ns if self.seen else arrived_ns
        self._last_ns = arrived_ns
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
    """The series of every key and source; those beyond `MAX_SERIES` share one whose key is `(more)`.

    Args:
        namespace: Of the brain.
        contract: Of the brain, as `Bus.contract` has it; that of this installation by default.
    """

    def __init__(self, namespace: str, contract: Contract | None = None) -> None:
        self.contract = contract
        self.series: dict[tuple[str, str], Series] = {}
        self._namespace = namespace

    def take(self, sample: Sample) -> None:
        """Count one sample."""
        arrived_ns, now_ns = time.monotonic_ns(), time.time_ns()
        stamp = reading.stamp_of(sample, self._namespace, self.contract)
        source = stamp.source if stamp else ""
        series = self.series.get((sample.key, source))
        if series is None and len(self.series) >= MAX_SERIES:
            series, stamp = self.series.setdefault(("", ""), Series("(more)", "")), None
        elif series is None:
            key = keys.display_name(sample.key, self._namespace)
            series = self.series[sample.key, source] = Series(key, source)
        series.add(stamp, len(sample.payload), arrived_ns, now_ns)

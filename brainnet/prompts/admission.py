"""Whether one more prompt is accepted, by the brain and by a region, and which accepted prompt is next.

It is decided from what is open and how fast answers go out: for the brain as a whole where a prompt enters, and for the
regions that it needs as soon as they are known. Accepted prompts wait by priority, and not in the regions: what expires
while it waits costs the brain nothing.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_SATURATED: Final = 32
"""Prompts ahead of a new one from which on a brain counts as saturated. With fewer nothing is refused for the rate: how
fast a brain answers that has little to do says nothing about how fast it could."""
_REGION_SATURATED: Final = 6
"""The same for one region: most answer one prompt at a time, or a few together."""
_ANSWERS: Final = 256
"""Answers over which the rate is measured: enough to be steady, few enough to follow a change."""
_ENOUGH: Final = 4
"""Answers that make a rate. A flood that has just begun is limited by the number of open prompts alone."""
_WAIT_SHARE: Final = 0.2
"""Share of its deadline that a prompt of priority 5 may have to wait. Longer queues answer no more prompts a second,
only each of them later."""
_REGION_WAIT_SHARE: Final = 0.5
"""The same for one region, of the time that is left when it is asked. More than what the brain as a whole allows: the
prompt was accepted and has waited, and what it waits for now is the last before its answer. Less than all of it: the
region has to compute the answer, and the prompts before it may take longer than those of which the rate is known."""
_PRIORITIES: Final = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is open at once.

    Attributes:
        max_open: Accepted prompts of priority 5 without an answer; priority 0 may fill half of it, 9 1.4 times it.
        max_open_bytes: Bytes of all open prompts.
        max_asked: Prompts that the brain works on at once; more wait at the broker.
        keep_s: Seconds for which the journal keeps an answer for a client that asks again.
        max_journal_bytes: Bytes of prompts and answers in the journal.
    """

    max_open: int = 1000
    max_open_bytes: int = 256 << 20
    max_asked: int = 128
    keep_s: float = 3600.0
    max_journal_bytes: int = 64 << 20


_ANY_NUMBER: Final = Limits(max_open=1 << 30)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a prompt is not accepted.

    Attributes:
        reason: One sentence.
        retry_after_ms: When it is worth trying again.
    """

    reason: str
    retry_after_ms: int


class Admission:
    """Measures how fast answers go out while there is more to do than at once, and decides who is let in.

    Args:
        limits: Bounds of what is open.
        saturated: Prompts ahead of a new one from which on the rate counts.
        wait_share: Share of its deadline that a prompt of priority 5 may have to wait.
        who: What is busy, for the reason of a refusal.
    """

    def __init__(
        self,
        limits: Limits,
        saturated: int = _SATURATED,
        wait_share: float = _WAIT_SHARE,
        who: str = "the brain",
    ) -> None:
        self.limits = limits
        self._saturated, self._wait_share, self._who = saturated, wait_share, who
        self._answers: deque[float] = deque(maxlen=_ANSWERS)
        self._saturated_at: float | None = None
        self._last_rate: float | None = None

    def answered(self) -> None:
        """Record one answer that the brain gave."""
        if self._saturated_at is not None:
            self._answers.append(time.monotonic())

    def _rate(self, ahead: int) -> float | None:
        """Return the answers per second since the brain is saturated; None when it is not, or not for long enough."""
        if ahead < self._saturated:
            self._saturated_at = None
            self._answers.clear()
            return None
        now = time.monotonic()
        if self._saturated_at is None:
            self._saturated_at = now
        if len(self._answers) < _ENOUGH:
            return None
        since = self._answers[0] if len(self._answers) == _ANSWERS else self._saturated_at
        return len(self._answers) / max(1e-3, now - since)

    def check_number(self, priority: int, open_prompts: int, open_bytes: int) -> Refused | None:
        """Return why a prompt cannot be accepted whatever its deadline: too much is open; or None.

        Args:
            priority: 0 background ... 9 urgent.
            open_prompts: Prompts that are open now.
            open_bytes: Bytes of the open prompts.
        """
        if open_prompts < self.limits.max_open * _urgency(priority) and open_bytes <= self.limits.max_open_bytes:
            return None
        reason = f"{self._who} is busy: {open_prompts} prompts are open"
        return Refused(reason, _retry_ms(open_prompts * 0.1, self._last_rate))

    def check(self, priority: int, deadline_ms: int, open_prompts: int, ahead: int, open_bytes: int) -> Refused | None:
        """Return why a prompt cannot be accepted now, or None when it is accepted.

        Args:
            priority: 0 background ... 9 urgent.
            deadline_ms: Of the prompt.
            open_prompts: Prompts that are open now.
            ahead: Of those, the ones that are answered before it.
            open_bytes: Bytes of the open prompts with this one.
        """
        self._last_rate = self._rate(ahead)
        return self.refuses(priority, deadline_ms, open_prompts, ahead, open_bytes)

    def refuses(
        self, priority: int, deadline_ms: int, open_prompts: int, ahead: int, open_bytes: int
    ) -> Refused | None:
        """Return what `check` would, by the rate that it measured last; changes nothing, so any thread may ask."""
        refused = self.check_number(priority, open_prompts, open_bytes)
        if refused is not None:
            return refused
        rate = self._last_rate
        allowed_s = deadline_ms / 1000 * self._wait_share * _urgency(priority)
        if rate is None or ahead < self._saturated or ahead / rate <= allowed_s:
            return None
        return Refused(
            f"{self._who} is busy: {ahead} prompts are before this one and {rate:.1f} are answered a second, "
            f"too few for its deadline of {deadline_ms} ms",
            _retry_ms(ahead - allowed_s * rate, rate),
        )


def _urgency(priority: int) -> float:
    """Return 0.5 ... 1.4, and 1 for the default priority."""
    return 0.5 + priority / 10


def _retry_ms(too_many: float, rate: float | None) -> int:
    """Return in how many milliseconds that many prompts less will be open; a second when no rate is known."""
    return round(1000 * min(30.0, max(0.1, too_many / rate if rate else 1.0)))


class RegionLoad:
    """What each region has to do, as a router knows it, and whether it can take one more prompt. Not thread-safe."""

    def __init__(self) -> None:
        self._asked: dict[str, OrderedDict[str, float]] = {}
        self._admissions: dict[str, Admission] = {}

    def check(self, region: str, priority: int, left_ms: float) -> Refused | None:
        """Return why a region cannot take a prompt with this time left; None when it can."""
        ahead = len(self._open(region))
        return self._admission(region).check(priority, max(1, round(left_ms)), ahead, ahead, 0)

    def ask(self, prompt_id: str, regions: Iterable[str], deadline: float) -> None:
        """Take note that regions are asked; they have nothing to do for it after `deadline` (`time.monotonic()`)."""
        for region in regions:
            self._asked.setdefault(region, OrderedDict())[prompt_id] = deadline

    def conclude(self, prompt_id: str, regions: Iterable[str]) -> None:
        """Take note that a prompt is concluded."""
        for region in regions:
            asked = self._asked.get(region)
            if asked is not None and asked.pop(prompt_id, None) is not None:
                self._admission(region).answered()

    def _admission(self, region: str) -> Admission:
        return self._admissions.setdefault(
            region, Admission(_ANY_NUMBER, _REGION_SATURATED, _REGION_WAIT_SHARE, region)
        )

    def _open(self, region: str) -> OrderedDict[str, float]:
        asked = self._asked.setdefault(region, OrderedDict())
        now = time.monotonic()
        while asked and next(iter(asked.values())) < now:
            asked.popitem(last=False)
        return asked


class PriorityQueue(Generic[T]):
    """Items by priority, the first of each first."""

    def __init__(self) -> None:
        self._levels: list[deque[T]] = [deque() for _ in range(_PRIORITIES)]

    def __len__(self) -> int:
        return sum(map(len, self._levels))

    def push(self, priority: int, item: T) -> None:
        """Add an item behind those of its priority."""
        self._levels[priority].append(item)

    def pop(self) -> T | None:
        """Remove and return the first item of the highest priority; None when there is none."""
        for level in reversed(self._levels):
            if level:
                return level.popleft()
        return None

    def before(self, priority: int) -> int:
        """Return how many items a new one of this priority would wait for."""
        return sum(len(level) for level in self._levels[priority:])

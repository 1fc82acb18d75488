"""Who is let in, and in which order: decided from what is open and how fast answers go out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.prompts import Admission, Limits, PriorityQueue, RegionLoad
from brainnet.prompts import admission as module


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def check(admission: Admission, ahead: int, *, priority: int = 5, deadline_ms: int = 10_000) -> bool:
    """Say whether a prompt is let in."""
    return admission.check(priority, deadline_ms, ahead, ahead, 0) is None


def run(admission: Admission, clock: Clock, rate: float, seconds: float, ahead: int = 100) -> None:
    """Let a saturated brain answer for a while."""
    for _ in range(int(rate * seconds)):
        check(admission, ahead)
        clock.now += 1 / rate
        admission.answered()


def test_a_saturated_brain_admits_what_it_can_answer_within_a_share_of_the_deadline(clock: Clock) -> None:
    admission = Admission(Limits(max_open=100_000))
    run(admission, clock, rate=50, seconds=3)
    assert check(admission, 95)  # 1.9 s at 50 a second, of 10 s
    assert not check(admission, 110)
    assert check(admission, 110, deadline_ms=60_000)
    assert check(admission, 130, priority=9)
    assert not check(admission, 60, priority=0)
    refused = admission.check(5, 10_000, 200, 200, 0)
    assert refused is not None
    assert refused.retry_after_ms == pytest.approx(2000, rel=0.1)
    assert "200 prompts are before this one and 50.0 are answered a second" in refused.reason


def test_the_rate_follows_the_brain(clock: Clock) -> None:
    admission = Admission(Limits(max_open=100_000))
    run(admission, clock, rate=20, seconds=5)
    assert not check(admission, 100)
    run(admission, clock, rate=200, seconds=5)
    assert check(admission, 300)


@given(st.integers(0, 31), st.integers(1, 600_000), st.integers(0, 9))
def test_a_brain_with_little_to_do_refuses_nobody(ahead: int, deadline_ms: int, priority: int) -> None:
    admission = Admission(Limits())
    for _ in range(5):  # it has been slow, which says nothing
        admission.answered()
    assert check(admission, ahead, priority=priority, deadline_ms=deadline_ms)


def test_a_burst_after_an_idle_time_is_not_refused_for_the_idle_time(clock: Clock) -> None:
    admission = Admission(Limits())
    run(admission, clock, rate=100, seconds=2)
    check(admission, 0)
    clock.now += 3600
    assert check(admission, 200)


@given(st.integers(0, 200), st.integers(1, 60_000), st.integers(0, 9))
def test_asking_without_measuring_changes_nothing(ahead: int, deadline_ms: int, priority: int) -> None:
    admission = Admission(Limits(max_open=150))
    admission.check(5, 10_000, 40, 40, 0)
    for _ in range(10):
        admission.answered()
    admission.check(5, 10_000, 40, 40, 0)
    before = admission.refuses(priority, deadline_ms, ahead, ahead, 0)
    admission.refuses(0, 1, 0, 0, 0)  # as if the brain had nothing to do
    assert admission.refuses(priority, deadline_ms, ahead, ahead, 0) == before
    if ahead < 32:
        assert before is None
    elif ahead >= 150 * (0.5 + priority / 10):
        assert before is not None


@given(st.integers(1, 40), st.integers(0, 9))
def test_the_less_urgent_are_refused_first(max_open: int, priority: int) -> None:
    admission = Admission(Limits(max_open=max_open))
    opened = 0
    while admission.check(priority, 600_000, opened, 0, 0) is None:
        opened += 1
    assert opened == pytest.approx(max_open * (0.5 + priority / 10), abs=1)


def test_open_bytes_are_bounded() -> None:
    admission = Admission(Limits(max_open_bytes=1000))
    assert admission.check(5, 10_000, 1, 1, 1000) is None
    assert admission.check(5, 10_000, 1, 1, 1001) is not None


@given(st.lists(st.integers(0, 9), max_size=50))
def test_the_urgent_come_first_and_the_first_of_equals_first(priorities: list[int]) -> None:
    queue: PriorityQueue[tuple[int, int]] = PriorityQueue()
    for number, priority in enumerate(priorities):
        queue.push(priority, (-priority, number))
    assert queue.before(5) == sum(p >= 5 for p in priorities)
    taken = [queue.pop() for _ in priorities]
    assert taken == sorted(item for item in taken if item is not None)
    assert queue.pop() is None


def test_a_slow_region_refuses_what_it_cannot_answer_and_the_others_do_not(clock: Clock) -> None:
    load = RegionLoad()
    for number in range(12):
        assert load.check("arm", 5, 10_000) is None
        load.ask(str(number), ["arm"], clock.now + 1000)
    for number in range(6):  # one a second
        clock.now += 1
        load.conclude(str(number), ["arm"])
        load.check("arm", 5, 10_000)
    refused = load.check("arm", 5, 10_000)
    assert refused is not None
    assert refused.reason.startswith("arm is busy: 6 prompts are before this one")
    assert load.check("arm", 5, 60_000) is None
    assert load.check("eye", 5, 10_000) is None


def test_a_prompt_that_has_waited_is_not_refused_by_a_region_that_answers_in_time(clock: Clock) -> None:
    load = RegionLoad()
    for number in range(300):  # it works on a hundred, and answers forty a second
        load.ask(str(number), ["eye"], clock.now + 1000)
        if number >= 100:
            clock.now += 1 / 40
            load.conclude(str(number - 100), ["eye"])
        load.check("eye", 5, 10_000)
    assert load.check("eye", 5, 8000) is None
    refused = load.check("eye", 5, 4000)
    assert refused is not None
    assert refused.reason.startswith("eye is busy: 100 prompts are before this one and 40.")


def test_a_region_has_nothing_to_do_for_what_expired(clock: Clock) -> None:
    load = RegionLoad()
    for number in range(50):
        load.ask(str(number), ["arm"], clock.now + 1)
        load.check("arm", 5, 10_000)
    clock.now += 2
    assert load.check("arm", 5, 10_000) is None
    load.conclude("0", ["arm"])
    load.conclude("unknown", ["ear"])

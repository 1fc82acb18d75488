"""When a node that has ended is started again."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.launcher.run.restarts import LONGEST_RETRY_S, NextStart, RestartSchedule
from brainnet.node.spec import Restart


def delays(schedule: RestartSchedule, exits: int, lived_s: float = 0.0) -> list[NextStart | None]:
    return [schedule.after_exit(orderly=False, lived_s=lived_s) for _ in range(exits)]


def test_back_off_then_failed_with_growing_pauses() -> None:
    schedule = RestartSchedule(Restart(max_restarts=3, backoff_s=0.5, retry_failed_s=5))
    assert delays(schedule, 9) == [
        NextStart(0.0),
        NextStart(0.5),
        NextStart(1.0),
        NextStart(5.0, failed=True),
        NextStart(10.0, failed=True),
        NextStart(20.0, failed=True),
        NextStart(40.0, failed=True),
        NextStart(60.0, failed=True),
        NextStart(60.0, failed=True),
    ]


@pytest.mark.parametrize("retry_failed_s", [0, None])
def test_a_node_that_is_to_stay_failed(retry_failed_s: float | None) -> None:
    schedule = RestartSchedule(Restart(max_restarts=1, retry_failed_s=retry_failed_s))
    assert delays(schedule, 3) == [NextStart(0.0), None, None]


def test_a_process_that_lives_for_the_window_clears_the_past() -> None:
    schedule = RestartSchedule(Restart(max_restarts=1, window_s=60))
    assert delays(schedule, 3)[-1] == NextStart(10.0, failed=True)
    assert delays(schedule, 1, lived_s=60.0) == [NextStart(0.0)]


def test_policies() -> None:
    never, on_failure = RestartSchedule(Restart(policy="never")), RestartSchedule(Restart(policy="on-failure"))
    assert never.after_exit(orderly=False, lived_s=1e6) is None
    assert on_failure.after_exit(orderly=True, lived_s=1e6) is None
    assert on_failure.after_exit(orderly=False, lived_s=0) == NextStart(0.0)


@given(
    st.builds(
        Restart,
        backoff_s=st.floats(0, 100),
        max_backoff_s=st.floats(0, 100),
        max_restarts=st.integers(0, 20),
        retry_failed_s=st.floats(0.001, 1000),
    ),
    st.integers(1, 3000),
)
def test_pauses_never_shrink_and_have_a_bound(restart: Restart, exits: int) -> None:
    found = delays(RestartSchedule(restart), exits)
    assert all(start is not None for start in found)
    starts = [start for start in found if start is not None]
    for failed in (False, True):
        pauses = [start.delay_s for start in starts if start.failed == failed]
        assert all(a <= b for a, b in itertools.pairwise(pauses))
    retry_s = restart.retry_failed_s or 0.0
    assert all(start.delay_s <= max(restart.max_backoff_s, LONGEST_RETRY_S, retry_s) for start in starts)
    assert [start.failed for start in starts] == sorted(start.failed for start in starts)

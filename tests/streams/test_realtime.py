"""Real time with a clock of the test's own: what is due when, and what becomes of what comes late."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from brainnet.connectome import build
from brainnet.errors import ModelError
from brainnet.simulation.spikes import Spikes
from brainnet.streams.division import plan_of
from brainnet.streams.realtime import Anchor, Lateness, Realtime
from tests.simulation.networks import written

NETWORK: dict[str, Any] = {
    "version": 1,
    "populations": [
        {"id": "eye", "model": "pattern", "size": 3, "process": "sensor", "parameters": {"spikes": [[0, 0]]}},
        {"id": "echo", "model": "relay", "size": 3, "process": "here"},
    ],
    "projections": [
        {"from": "eye", "to": "echo", "synapses": {"connect": "one_to_one", "weight": 1, "delay_ms": 4}},
    ],
}


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def monotonic(self) -> float:
        return self.s

    def wall_ns(self) -> int:
        return int(self.s * 1e9) + 5_000_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pack(population: str, spikes: Spikes) -> bytes:
    raise AssertionError("nobody reads this process")


def process(folder: Path, clock: Clock, late: Literal["drop", "deliver"] = "drop") -> Realtime:
    """The process that reads, with windows of 4 steps of 1 ms; step 0 begins now."""
    connectome = written(folder, NETWORK)
    parts = {"sensor": ["eye"], "here": ["echo"]}
    plan = plan_of(connectome, parts, "here")
    made = Realtime(build(connectome, ["echo"], plan.window), plan, pack, late, clock.monotonic, clock.wall_ns)
    made.set_anchor(Anchor(0, clock.wall_ns(), 1.0))
    return made


def window(first: int, *fired: tuple[int, int]) -> Spikes:
    """A window of 4 steps with these spikes, as (step in the window, neuron)."""
    counts = np.zeros((3, 4), np.int64)
    for step, neuron in fired:
        counts[neuron, step] += 1
    return Spikes.of_dense(first, counts)


def run_until(process: Realtime, clock: Clock, step: int) -> list[tuple[int, int]]:
    """Let time pass up to the end of a step; return what fired, as (step, neuron)."""
    clock.s = process.over_at(step)
    fired: list[tuple[int, int]] = []
    while process.can_advance:
        spikes = process.advance()["echo"]
        for at in range(spikes.first_step, spikes.end_step):
            fired += [(at, int(neuron)) for neuron in spikes.in_step(at)]
    return fired


def test_a_window_is_due_when_its_last_step_is_over(tmp_path: Path, clock: Clock) -> None:
    made = process(tmp_path, clock)
    assert made.due_in_s() == pytest.approx(0.004)
    assert not made.can_advance
    with pytest.raises(ModelError, match="cannot compute"):
        made.advance()
    assert run_until(made, clock, 3) == []
    assert made.next_step == 0
    run_until(made, clock, 4)
    assert made.next_step == 4
    made.set_anchor(Anchor(4, clock.wall_ns(), 2.5))  # from here on 2.5 times as slow as the wall
    assert made.due_in_s() == pytest.approx(0.010)
    made.stop_at = 4
    assert made.due_in_s() == math.inf


def test_what_comes_in_time_arrives_after_its_delay(tmp_path: Path, clock: Clock) -> None:
    made = process(tmp_path, clock)
    run_until(made, clock, 4)
    made.receive("eye", window(0, (1, 2)))
    assert run_until(made, clock, 8) == [(5, 2)]
    lateness = made.lateness["eye"]
    assert (lateness.windows, lateness.late, lateness.missed) == (1, 0, 0)


@pytest.mark.parametrize(("late", "fired"), [("drop", []), ("deliver", [(8, 2)])])
def test_what_comes_late_is_counted_and_dropped_or_delivered(
    tmp_path: Path, clock: Clock, late: Literal["drop", "deliver"], fired: list[tuple[int, int]]
) -> None:
    made = process(tmp_path, clock, late)
    assert run_until(made, clock, 8) == []  # nothing had come
    made.receive("eye", window(0, (1, 2)))
    made.receive("eye", window(4))
    assert run_until(made, clock, 12) == fired
    lateness = made.lateness["eye"]
    assert (lateness.windows, lateness.late, lateness.missed) == (2, 1, 1)
    assert lateness.percentile(1.0) == pytest.approx(4.0)  # step 0 to 4 was over 4 ms ago


def test_a_window_that_is_lost_is_not_waited_for(tmp_path: Path, clock: Clock) -> None:
    made = process(tmp_path, clock)
    run_until(made, clock, 4)
    made.receive("eye", window(4, (0, 1)))  # the one before it never comes
    assert run_until(made, clock, 12) == [(8, 1)]
    assert made.lateness["eye"].missed == 1
    assert made.missing() == {}
    assert not made.has_gap("eye")


def test_after_a_pause_of_the_process_all_steps_are_computed_and_counted_as_overrun(
    tmp_path: Path, clock: Clock
) -> None:
    made = process(tmp_path, clock)
    run_until(made, clock, 402)
    assert made.next_step == 400
    assert made.overruns == 99  # all but the last one, which was late by less than a window


def test_without_an_agreement_nothing_is_due(tmp_path: Path, clock: Clock) -> None:
    connectome = written(tmp_path, NETWORK)
    plan = plan_of(connectome, {"sensor": ["eye"], "here": ["echo"]}, "here")
    made = Realtime(build(connectome, ["echo"], plan.window), plan, pack)
    assert made.due_in_s() == math.inf
    made.receive("eye", window(0))
    with pytest.raises(ModelError, match="does not know when"):
        made.over_at(0)


@given(st.lists(st.floats(0.0, 1e5), min_size=1, max_size=50), st.sampled_from([0.5, 0.99, 1.0]))
@example([79_500.0, 1e5], 0.5)
def test_percentiles_are_right_to_the_width_of_a_bucket(values: list[float], share: float) -> None:
    lateness = Lateness()
    for value in values:
        lateness.add(value)
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    found = lateness.percentile(share)
    assert exact <= found * (1 + 1e-9) or found == lateness.longest_ms
    assert found <= max(exact * 1.13, 0.012)

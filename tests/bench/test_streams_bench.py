"""The benchmark of streams: small runs of real networks."""

from __future__ import annotations

import pytest

from brainnet.bench import dora, streams
from brainnet.bench.streams import Plan, measure
from brainnet.errors import ConfigError

SMALL = Plan(seconds=0.3, real_time_s=0.5, turns=1, neurons=2000)


def test_speeds_stand_beside_the_same_network_in_one_process() -> None:
    (row,) = measure(SMALL, only=["stdp"])
    assert (row.name, row.unit, row.bar) == ("pair_stdp_speed", "times real time", "value >= 6")
    assert row.value > 0
    assert row.rival_value is not None
    assert row.rival_value > 0


def test_lateness_and_misses_are_those_of_the_measured_time() -> None:
    missed, late = measure(SMALL, only=["realtime"])
    assert missed.name == "real_time_missed"
    assert missed.unit.startswith("of ")
    windows = int(missed.unit.split()[1])
    assert windows > 50  # 0.5 s of two streams in windows of 5 ms; a busy machine asks later
    assert 0 <= missed.value <= windows
    assert missed.rival_value is not None
    assert missed.rival_value >= 0
    assert late.value >= 0
    assert late.rival_value == 5.0


def test_spikes_across_the_boundary() -> None:
    told: list[str] = []
    row, *beside_dora = measure(SMALL, told.append, only=["boundary"])
    assert told == ["spikes across the boundary of two processes"]
    assert row.unit == "M spikes/s"
    assert row.value > 0
    assert row.rival_value is not None
    assert row.rival_value > 0
    assert len(beside_dora) == (dora.absent() is None)
    for other in beside_dora:
        assert other.value == row.value
        assert other.rival_value


def test_a_case_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"no case 'pear', did you mean pair.*cases are pair"):
        measure(SMALL, only=["pear"])


def test_the_networks_are_what_the_rows_say() -> None:
    assert [p["size"] for p in streams.large(100_000)["populations"]] == [50_000] * 2
    assert sum(p["synapses"]["n"] for p in streams.large(100_000)["projections"]) == 200  # 100 for each neuron of two
    assert streams.pair(window=1)["clock"]["window"] == 1
    assert all("plasticity" in p for p in streams.pair(stdp=True)["projections"])

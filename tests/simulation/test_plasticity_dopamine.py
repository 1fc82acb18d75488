"""STDP with a modulator: the closed form of a pair and a reward, and modulators from inside and outside."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.connectome import Link, build, links, window_of
from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT, from_fixed, to_fixed
from brainnet.simulation.modulation import MAX_AMOUNT, Modulation
from brainnet.simulation.network import Network
from brainnet.simulation.plasticity import DopamineSTDP
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes
from tests.simulation.driven import PLASTIC, description, made
from tests.simulation.networks import written

RULE: dict[str, Any] = {
    "rule": "dopamine_stdp",
    "modulator": "reward",
    "potentiation": 10.0,
    "depression": 12.0,
    "w_min": -1000,
    "w_max": 1000,
}


def weight(network: Network) -> float:
    return float(network.populations["post"].weights(PLASTIC)[0])


def closed_form(amplitude: float, apart_ms: float, reward_ms: float, until_ms: float, d: float) -> float:
    """The change by one pair, whose later spike comes at 0, and a reward at `reward_ms`, until a time."""
    c = amplitude * math.exp(-apart_ms / 20) * math.exp(-reward_ms / 1000)
    tau_s = 1e-3 / (1 / 1000 + 1 / 200)
    return c * d * tau_s * (1 - math.exp(-(until_ms - reward_ms) * 1e-3 / tau_s))


@pytest.mark.parametrize("until", [1500, 6000])
@pytest.mark.parametrize("reward_ms", [1000, 4500])
@pytest.mark.parametrize("dt_ms", [1.0, 0.5])
def test_a_pair_and_a_later_reward_change_the_weight_by_the_closed_form(
    tmp_path: Path, until: int, reward_ms: int, dt_ms: float
) -> None:
    # the first arrives at 20 ms, and the target fires at 26 ms; delays of 10 ms, so that few windows are computed
    network = made(
        tmp_path,
        description([(10, 0)], [(16, 0)], RULE, neurons=1, dt_ms=dt_ms, delay_ms=10, drive_delay_ms=10),
    )
    fired_at = 26
    step = round((fired_at + reward_ms) / dt_ms)
    network.modulate("reward", step, 0.5)
    network.advance(step)
    assert weight(network) == 0.5  # without the modulator nothing changes
    end = step + round(until / dt_ms)
    while network.populations["post"].next_step < end:
        network.advance(min(700, end - network.populations["post"].next_step))
    expected = closed_form(10.0, fired_at - 20, reward_ms, reward_ms + until, 0.5)
    assert weight(network) - 0.5 == pytest.approx(expected, abs=1.01 / UNIT)


def test_a_pair_in_the_other_order_is_punished(tmp_path: Path) -> None:
    network = made(tmp_path, description([(29, 0)], [(9, 0)], RULE, neurons=1))
    network.modulate("reward", 230, 1.0)
    network.advance(900)
    assert weight(network) - 0.5 == pytest.approx(-closed_form(12.0, 20, 200, 870, 1.0), abs=1.01 / UNIT)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.sampled_from([5.0, 12.0, 1000.0]), st.booleans())
def test_random_spikes_and_rewards_as_a_dense_computation_has_them(
    seed: int, delay: int, tau_c_ms: float, scaled: bool
) -> None:
    """Step by step for all synapses, with what each step integrates in closed form."""
    steps, sources, targets = 90, 4, 3
    rng = np.random.default_rng(seed)
    pre = (rng.random((sources, steps)) < 0.2).astype(int)
    post = (rng.random((targets, steps)) < 0.2).astype(int)
    rewards = (rng.random(steps) < 0.1) * rng.normal(1.0, 1.0, steps)
    start = np.arange(sources + 1, dtype=np.int64) * targets
    to = np.tile(np.arange(targets, dtype=np.int32), sources)
    rows = Rows(start, to, to_fixed([10.0]), np.array([delay], np.int32))
    rule = DopamineSTDP(
        modulator="r", potentiation=3.0, depression=4.0, tau_c_ms=tau_c_ms, tau_d_ms=30.0, w_min=-1e3, w_max=1e3
    )
    synapses: Any = rule.synapses(rows, targets, 1.0)
    history = Spikes.of_dense(0, pre)
    factor = rng.random(history.count)
    w, c, d = np.full((sources, targets), 10.0), np.zeros((sources, targets)), 0.0
    r, o = np.zeros(sources), np.zeros(targets)
    keep_c, keep_d, keep_trace = math.exp(-1 / tau_c_ms), math.exp(-1 / 30), math.exp(-1 / 20)
    step_s = 1e-3 / (1 / tau_c_ms + 1 / 30) * (1 - keep_c * keep_d)
    for step in range(steps):
        assert np.allclose(from_fixed(synapses.weights).reshape(sources, targets), w, rtol=0, atol=1.01 / UNIT)
        d = keep_d * d + rewards[step]
        seen = pre[:, step - delay] if step >= delay else np.zeros(sources)
        sums = np.zeros(targets, np.int64)
        synapses.modulate(step, float(rewards[step]))
        synapses.arrive(step, history, sums, factor) if scaled else synapses.arrive(step, history, sums)
        strength = np.zeros(sources)
        if step >= delay:
            at = slice(history.offsets[step - delay], history.offsets[step - delay + 1])
            strength[history.neurons[at]] = factor[at] if scaled else 1.0
        assert np.allclose(sums / UNIT, strength @ w, rtol=0, atol=8 / UNIT)
        synapses.fire(step, np.flatnonzero(post[:, step]).astype(np.int32))
        c += 3.0 * np.outer(r, post[:, step]) - 4.0 * np.outer(seen, o)
        r, o = keep_trace * (r + seen), keep_trace * (o + post[:, step])
        w += c * d * step_s
        c *= keep_c
    assert synapses.modulator == pytest.approx(d)


def test_weights_stay_within_their_bounds(tmp_path: Path) -> None:
    rule = RULE | {"potentiation": 1e5, "w_min": 0, "w_max": 2}
    network = made(tmp_path, description([(19, 0)], [(25, 0)], rule, neurons=1))
    network.modulate("reward", 40, 1.0)
    network.advance(500)
    assert weight(network) == 2.0


def rewarded(delay_ms: float) -> dict[str, Any]:
    """A network whose reward is a population; both of its neurons fire at 100 ms, one of them again at 160 ms."""
    spikes = [[100, 0], [100, 1], [160, 0]]
    reward = {"id": "reward", "model": "pattern", "size": 2, "parameters": {"spikes": spikes}}
    rule = RULE | {"modulator_delay_ms": delay_ms, "per_spike": 0.3}
    return description([(19, 0)], [(25, 0)], rule, more=(reward,), neurons=1)


def test_a_population_modulates_after_its_delay(tmp_path: Path) -> None:
    inside = made(tmp_path, rewarded(7.0))
    outside = made(tmp_path, description([(19, 0)], [(25, 0)], RULE, neurons=1))
    for step, amount in ((107, 0.6), (167, 0.3)):
        outside.modulate("reward", step, amount)
    for network in (inside, outside):
        network.run(400, 3)
    assert weight(inside) == pytest.approx(weight(outside), abs=1e-3)
    assert weight(inside) > 0.6


def test_the_delay_of_a_modulator_counts_for_windows_and_links(tmp_path: Path) -> None:
    described = rewarded(7.0)
    for projection in described["projections"]:
        projection["synapses"]["delay_ms"] = 20
    connectome = written(tmp_path, described)
    assert window_of(connectome, connectome.projections) == 7
    assert links(connectome) == [
        Link("pre->post", "pre", "post", 20),
        Link("modulator of pre->post", "reward", "post", 7, modulates=True),
        Link("driver->post", "driver", "post", 20),
    ]
    part = build(connectome, ["post"])
    assert part.sources == {"pre", "driver", "reward"}
    part.receive("reward", Spikes.none(0, 7))
    with pytest.raises(ModelError, match=r"modulator reward: step 7 is next, .* step 8"):
        part.receive("reward", Spikes.none(8, 1))
    assert [link.name for link in links(written(tmp_path, description([], [], RULE)))] == ["pre->post", "driver->post"]


def test_values_from_outside_that_cannot_be_applied(tmp_path: Path) -> None:
    network = made(tmp_path, rewarded(7.0))
    network.run(30, 7)
    assert network.modulators == {"reward"}
    with pytest.raises(ModelError, match=r"no modulator 'rewart'.*did you mean reward\?"):
        network.modulate("rewart", 40, 1.0)
    with pytest.raises(ModelError, match=r"step 29 is past; step 30 is next"):
        network.modulate("reward", 29, 1.0)
    for amount in (math.nan, math.inf, 2 * MAX_AMOUNT):
        with pytest.raises(ModelError, match="an amount of"):
            network.modulate("reward", 30, amount)
    network.modulate("reward", 30, 1.0)  # a population may be modulated from outside as well
    network.advance(1)


def test_values_from_outside_are_a_part_of_the_saved_state(tmp_path: Path) -> None:
    whole, other = (made(tmp_path, description([(19, 0)], [(25, 0)], RULE, neurons=1)) for _ in range(2))
    whole.modulate("reward", 60, 1.0)
    whole.run(50, 1)
    other.modulate("reward", 80, 99.0)  # forgotten when the state is loaded
    for name, population in other.populations.items():
        population.load(whole.populations[name].save())
    for network in (whole, other):
        network.run(50, 1)
    assert weight(whole) == weight(other) != 0.5


@pytest.mark.parametrize("at", [20, 103, 107, 108, 162])
def test_rewards_that_are_on_their_way_are_a_part_of_the_saved_state(tmp_path: Path, at: int) -> None:
    whole, resumed = made(tmp_path, rewarded(7.0)), made(tmp_path, rewarded(7.0))
    whole.run(at, 1)
    for name, population in resumed.populations.items():
        population.load(whole.populations[name].save())
    for network in (whole, resumed):
        network.run(300 - at, 1)
    assert weight(resumed) == weight(whole) > 0.6


@given(st.permutations([(5, 0.1), (5, 0.7), (5, -0.3), (6, 1e6), (6, 1e-7), (6, -1e6)]))
def test_the_order_in_which_values_come_does_not_matter(values: list[tuple[int, float]]) -> None:
    modulation = Modulation("r", None, 1, 0.0, 10)
    for step, amount in values:
        modulation.add(step, amount)
    assert [modulation.take(step) for step in range(5, 8)] == [
        pytest.approx(0.5, abs=1e-6), pytest.approx(1e-7, abs=1e-7), 0.0
    ]  # fmt: skip

"""STDP against its window in closed form, triplet protocols, and sums over all pairs and triplets of spike times."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.plasticity.stdp import (
    PairSTDPParams,
    PairSTDPState,
    TripletSTDPParams,
    TripletSTDPState,
    pair_stdp,
    triplet_stdp,
)

quick = settings(deadline=None, max_examples=40)
TRAINS = st.lists(st.integers(0, 39), max_size=12, unique=True).map(sorted)
TIMES = st.floats(2, 200)


def spikes(*trains: list[int], steps: int) -> Tensor:
    """Spikes [T, N] at the given steps of each neuron."""
    fired = torch.zeros(steps, len(trains), dtype=torch.float64)
    for neuron, train in enumerate(trains):
        fired[train, neuron] = 1
    return fired


def random_spikes(seed: int, *shape: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3).double()


def test_the_window_of_song_miller_and_abbott() -> None:
    apart = range(-100, 101)
    post = spikes(*([100 + delta] for delta in apart), steps=201)
    change, _ = pair_stdp(spikes([100], steps=201), post, None)
    for delta, found in zip(apart, change[:, 0].tolist(), strict=True):
        expected = 0.005 * math.exp(-delta / 20) if delta > 0 else -0.00525 * math.exp(delta / 20) if delta < 0 else 0.0
        assert found == pytest.approx(expected, rel=1e-12, abs=0)


@quick
@given(st.integers(-60, 60), st.floats(-1, 1), st.floats(-1, 1), TIMES, TIMES, st.floats(0.1, 3))
def test_the_window_has_its_amplitudes_and_times(
    delta: int, potentiation: float, depression: float, tau_plus: float, tau_minus: float, dt: float
) -> None:
    params = PairSTDPParams(potentiation, depression, tau_plus, tau_minus, dt)
    change, _ = pair_stdp(spikes([60], steps=121), spikes([60 + delta], steps=121), None, params)
    if delta > 0:
        expected = potentiation * math.exp(-delta * dt / tau_plus)
    else:
        expected = -depression * math.exp(delta * dt / tau_minus) if delta else 0.0
    assert change.item() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_spikes_of_one_step_do_not_see_each_other() -> None:
    both = torch.ones(1, 3)
    change, state = pair_stdp(both, both[:, :2], None)
    assert change.shape == (2, 3)
    assert not change.any()
    assert torch.equal(state.pre, both[0])
    change, slow = triplet_stdp(both, both[:, :2], None)
    assert not change.any()
    assert torch.equal(slow.post_slow, both[0, :2])


@quick
@given(TRAINS, TRAINS, TIMES, TIMES)
def test_pairs_add_up_over_all_spike_times(pre: list[int], post: list[int], plus: float, minus: float) -> None:
    params = PairSTDPParams(0.02, 0.03, plus, minus, 0.5)
    change, _ = pair_stdp(spikes(pre, steps=40), spikes(post, steps=40), None, params)
    potentiated = sum(math.exp((i - o) * 0.5 / plus) for i in pre for o in post if i < o)
    depressed = sum(math.exp((o - i) * 0.5 / minus) for i in pre for o in post if o < i)
    assert change.item() == pytest.approx(0.02 * potentiated - 0.03 * depressed, rel=1e-9, abs=1e-12)


def test_pre_post_pre_and_post_pre_post_in_closed_form() -> None:
    # the fit to visual cortex; 40 and 25 steps of 1 ms
    pre_post_pre, _ = triplet_stdp(spikes([10, 75], steps=80), spikes([50], steps=80), None)
    expected = 5e-10 * math.exp(-40 / 16.8) - math.exp(-25 / 33.7) * (7e-3 + 2.3e-4 * math.exp(-65 / 101))
    assert pre_post_pre.item() == pytest.approx(expected, rel=0, abs=1e-14)
    post_pre_post, _ = triplet_stdp(spikes([50], steps=80), spikes([10, 75], steps=80), None)
    expected = -7e-3 * math.exp(-40 / 33.7) + math.exp(-25 / 16.8) * (5e-10 + 6.2e-3 * math.exp(-65 / 125))
    assert post_pre_post.item() == pytest.approx(expected, rel=0, abs=1e-14)


@quick
@given(TRAINS, TRAINS, TIMES, TIMES, TIMES, TIMES)
def test_triplets_add_up_over_all_spike_times(
    pre: list[int], post: list[int], plus: float, minus: float, x: float, y: float
) -> None:
    params = TripletSTDPParams(0.02, 0.03, 0.05, 0.07, plus, minus, x, y, 0.5)
    change, _ = triplet_stdp(spikes(pre, steps=40), spikes(post, steps=40), None, params)

    def trace(train: list[int], now: int, tau: float) -> float:
        return sum(math.exp((then - now) * 0.5 / tau) for then in train if then < now)

    expected = sum(trace(pre, o, plus) * (0.02 + 0.05 * trace(post, o, y)) for o in post)
    expected -= sum(trace(post, i, minus) * (0.03 + 0.07 * trace(pre, i, x)) for i in pre)
    assert change.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_without_triplet_terms_it_is_the_pair_rule() -> None:
    pre, post = random_spikes(1, 30, 4), random_spikes(2, 30, 3)
    pairs, _ = pair_stdp(pre, post, None, PairSTDPParams(0.01, 0.02, 15.0, 30.0, 2.0))
    triplets, _ = triplet_stdp(pre, post, None, TripletSTDPParams(0.01, 0.02, 0.0, 0.0, 15.0, 30.0, dt=2.0))
    torch.testing.assert_close(triplets, pairs)


@quick
@given(st.integers(0, 2**31), st.integers(1, 11), st.sampled_from([pair_stdp, triplet_stdp]))
def test_two_halves_add_up_to_the_whole(seed: int, split: int, rule: Any) -> None:
    pre, post = random_spikes(seed, 12, 2, 4), random_spikes(seed + 1, 12, 2, 3)
    whole, after = rule(pre, post, None)
    first, state = rule(pre[:split], post[:split], None)
    second, last = rule(pre[split:], post[split:], state)
    assert whole.shape == (2, 3, 4)
    torch.testing.assert_close(first + second, whole, rtol=1e-9, atol=1e-15)
    for ours, theirs in zip(last, after, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_batches_do_not_mix() -> None:
    pre, post = random_spikes(5, 20, 2, 4), random_spikes(6, 20, 2, 3)
    whole, _ = pair_stdp(pre, post, None)
    for row in range(2):
        torch.testing.assert_close(whole[row], pair_stdp(pre[:, row], post[:, row], None)[0])


PRE, POST = torch.zeros(3, 4), torch.zeros(3, 2)
NAN, ELSEWHERE = torch.full((3, 4), math.nan), torch.zeros(3, 2, device="meta")


@pytest.mark.parametrize("rule", [pair_stdp, triplet_stdp])
@pytest.mark.parametrize(
    ("pre", "post", "said"),
    [
        (PRE[:0], POST[:0], r"pre must be \[steps, ...\] with at least one step"),
        (PRE, POST[:0], r"post must be \[steps, ...\] with at least one step"),
        (PRE, POST[:2], r"pre \(3, 4\) and post \(2, 2\) must be \[steps, ..., neurons\]"),
        (PRE[:, 0], POST[:, 0], r"pre \(3,\) and post \(3,\) must be \[steps, ..., neurons\]"),
        (PRE[:, None], POST, r"pre \(3, 1, 4\) and post \(3, 2\) must be"),
        (PRE.long(), POST, "pre must be of a floating-point type"),
        (PRE, POST.long(), "post must be of a floating-point type"),
        (PRE, POST.double(), r"pre is torch\.float32 on cpu, post torch\.float64 on cpu"),
        (PRE, ELSEWHERE, r"pre is torch\.float32 on cpu, post torch\.float32 on meta"),
        (NAN, POST, "pre must be finite"),
    ],
)
def test_spikes_that_do_not_fit_are_refused(rule: Any, pre: Tensor, post: Tensor, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        rule(pre, post, None)


@pytest.mark.parametrize("name", ["tau_plus", "tau_minus", "tau_x", "tau_y", "dt"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_times_that_are_not_positive_are_refused(name: str, value: float) -> None:
    rules: list[tuple[Any, Any]] = [(triplet_stdp, TripletSTDPParams())]
    if name in PairSTDPParams._fields:
        rules.append((pair_stdp, PairSTDPParams()))
    for rule, params in rules:
        with pytest.raises(ModelError, match=f"{name} must be "):
            rule(PRE, POST, None, params._replace(**{name: value}))


def test_amplitudes_that_are_not_finite_are_refused() -> None:
    rules: list[tuple[Any, Any]] = [(triplet_stdp, TripletSTDPParams()), (pair_stdp, PairSTDPParams())]
    for rule, params in rules:
        for name in (field for field in params._fields if "tion" in field):
            with pytest.raises(ModelError, match=f"{name} must be finite, not nan"):
                rule(PRE, POST, None, params._replace(**{name: math.nan}))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (PairSTDPState(torch.zeros(3), torch.zeros(2)), r"state.pre is of shape \(3,\)"),
        (PairSTDPState(torch.zeros(4), torch.zeros(3)), r"state.post is of shape \(3,\)"),
        (PairSTDPState(torch.zeros(4).double(), torch.zeros(2)), "state.pre is of .*float64"),
        (PairSTDPState(torch.zeros(4), torch.zeros(2, device="meta")), "state.post is of .*on meta"),
        (PairSTDPState(torch.full((4,), math.inf), torch.zeros(2)), "state.pre must be finite"),
        (TripletSTDPState(*(torch.zeros(n) for n in (4, 3, 2, 2))), r"state.pre_slow is of shape \(3,\)"),
        (TripletSTDPState(*(torch.zeros(n) for n in (4, 4, 2, 1))), r"state.post_slow is of shape \(1,\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(state: Any, said: str) -> None:
    rule: Any = pair_stdp if isinstance(state, PairSTDPState) else triplet_stdp
    with pytest.raises(ModelError, match=said):
        rule(PRE, POST, state)

"""Short-term plasticity against the Tsodyks-Markram steady state and its recursion from spike to spike."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.plasticity.short_term_plasticity import (
    DEPRESSING,
    FACILITATING,
    ShortTermParams,
    ShortTermState,
    short_term_plasticity,
)

quick = settings(deadline=None, max_examples=40)
SYNAPSES = st.builds(ShortTermParams, st.floats(0.01, 1), st.floats(1, 1000), st.floats(1, 1000), st.floats(0.1, 5))


def train(times: list[int], steps: int) -> Tensor:
    spikes = torch.zeros(steps, dtype=torch.float64)
    spikes[times] = 1
    return spikes


def recursion(times: list[int], params: ShortTermParams) -> list[float]:
    """The efficacy of each spike, from the one before it (Tsodyks, Pawelzik and Markram 1998)."""
    release, resources, efficacies = 0.0, 1.0, []
    for number, time in enumerate(times):
        gap = (time - times[number - 1]) * params.dt if number else math.inf
        resources = 1 - (1 - resources * (1 - release)) * math.exp(-gap / params.tau_depression)
        release = release * math.exp(-gap / params.tau_facilitation)
        release += params.utilisation * (1 - release)
        efficacies.append(release * resources)
    return efficacies


@pytest.mark.parametrize(
    ("params", "utilisation", "tau_facilitation", "tau_depression"),
    [(DEPRESSING, 0.45, 50.0, 750.0), (FACILITATING, 0.15, 750.0, 50.0)],
)
def test_regular_trains_settle_at_the_steady_state(
    params: ShortTermParams, utilisation: float, tau_facilitation: float, tau_depression: float
) -> None:
    intervals = [5, 10, 20, 50, 100, 250, 500]  # ms: 200 to 2 Hz
    spikes = torch.stack([train(list(range(0, 12_000, gap)), 12_000) for gap in intervals], -1)
    efficacies, _ = short_term_plasticity(spikes, None, params)
    for column, gap in enumerate(intervals):
        release = utilisation / (1 - (1 - utilisation) * math.exp(-gap / tau_facilitation))
        rest = math.exp(-gap / tau_depression)
        resources = (1 - rest) / (1 - (1 - release) * rest)
        found = efficacies[:, column][spikes[:, column] > 0]
        assert found[0].item() == pytest.approx(utilisation, rel=1e-12)
        assert found[-1].item() == pytest.approx(release * resources, rel=1e-5)


def test_facilitation_grows_before_it_tires_and_depression_only_tires() -> None:
    spikes = train(list(range(0, 200, 50)), 200)
    grows, tires = (short_term_plasticity(spikes, None, params)[0][::50] for params in (FACILITATING, DEPRESSING))
    assert grows[0] < grows[1] < grows[2]
    assert tires[0] > tires[1] > tires[2] > tires[3]


@quick
@given(st.lists(st.integers(0, 59), unique=True).map(sorted), SYNAPSES)
def test_every_spike_follows_from_the_one_before_it(times: list[int], params: ShortTermParams) -> None:
    spikes = train(times, 60)
    efficacies, state = short_term_plasticity(spikes, None, params)
    assert not efficacies[spikes == 0].any()
    assert efficacies[times].tolist() == pytest.approx(recursion(times, params), rel=1e-9)
    assert 0 <= state.release.item() <= 1
    assert 0 <= state.resources.item() <= 1


def test_one_step_is_a_millisecond_unless_told() -> None:
    slow = ShortTermParams(0.3, 40.0, 90.0)
    assert slow.dt == 1.0
    spikes, stretched = train([0, 10, 15], 16), train([0, 20, 30], 31)
    fine, _ = short_term_plasticity(stretched, None, slow._replace(dt=0.5))
    coarse, _ = short_term_plasticity(spikes, None, slow)
    torch.testing.assert_close(fine[[0, 20, 30]], coarse[[0, 10, 15]])


def test_the_state_is_that_just_after_the_last_step() -> None:
    params = ShortTermParams(0.4, 30.0, 80.0)
    _, state = short_term_plasticity(train([0], 4), None, params)
    assert state.release.item() == pytest.approx(0.4 * math.exp(-3 / 30))
    assert state.resources.item() == pytest.approx(1 - 0.4 * math.exp(-3 / 80))


@quick
@given(st.integers(0, 2**31), st.integers(1, 11), SYNAPSES)
def test_two_halves_equal_the_whole(seed: int, split: int, params: ShortTermParams) -> None:
    spikes = (torch.rand(12, 2, 3, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
    whole, after = short_term_plasticity(spikes, None, params)
    first, state = short_term_plasticity(spikes[:split], None, params)
    second, last = short_term_plasticity(spikes[split:], state, params)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last.release, after.release)
    assert torch.equal(last.resources, after.resources)


@pytest.mark.parametrize(
    ("spikes", "said"),
    [
        (torch.zeros(0, 2), r"spikes must be \[steps, ...\] with at least one step"),
        (torch.tensor(1.0), r"spikes must be \[steps, ...\]"),
        (torch.zeros(3, 2, dtype=torch.int64), "spikes must be of a floating-point type"),
        (torch.full((3, 2), math.nan), "spikes must be finite"),
    ],
)
def test_spikes_that_do_not_fit_are_refused(spikes: Tensor, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        short_term_plasticity(spikes, None, DEPRESSING)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *(({name: value}, f"{name} must be") for name in ShortTermParams._fields for value in (0.0, -1.0, math.nan)),
        ({"utilisation": 1.01}, "utilisation must be above 0 and at most 1, not 1.01"),
        ({"tau_facilitation": math.inf}, "tau_facilitation must be a finite number"),
    ],
)
def test_constants_that_do_not_fit_are_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        short_term_plasticity(torch.zeros(3, 2), None, DEPRESSING._replace(**change))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (ShortTermState(torch.zeros(3), torch.ones(2)), r"state.release is of shape \(3,\)"),
        (ShortTermState(torch.zeros(2), torch.ones(3)), r"state.resources is of shape \(3,\)"),
        (ShortTermState(torch.zeros(2).double(), torch.ones(2)), "state.release is of .*float64"),
        (ShortTermState(torch.zeros(2), torch.ones(2, device="meta")), "state.resources is of .*on meta"),
        (ShortTermState(torch.zeros(2), torch.full((2,), math.nan)), "state.resources must be finite"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(state: ShortTermState, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        short_term_plasticity(torch.zeros(4, 2), state, DEPRESSING)

"""Homeostatic thresholds: the update in closed form, and the rate that neurons settle at."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.plasticity.homeostasis import HomeostasisParams, homeostatic_threshold

quick = settings(deadline=None, max_examples=40)


def random_spikes(seed: int, *shape: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4).double()


@quick
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(1e-4, 1), st.integers(1, 20))
def test_the_threshold_moves_by_what_fired_too_much(seed: int, rate: float, learning_rate: float, steps: int) -> None:
    spikes, threshold = random_spikes(seed, steps, 2, 3), torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3)
    found = homeostatic_threshold(threshold, spikes, HomeostasisParams(rate, learning_rate))
    torch.testing.assert_close(found, threshold + learning_rate * (spikes.sum(0) - steps * rate))


def test_without_constants_it_aims_at_a_tenth_in_steps_of_a_thousandth() -> None:
    threshold = torch.ones(2, dtype=torch.float64)
    after = homeostatic_threshold(threshold, torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    assert after.tolist() == pytest.approx([1.0009, 0.9999], rel=1e-12)


@quick
@given(st.integers(0, 2**31), st.integers(1, 11))
def test_two_halves_equal_the_whole(seed: int, split: int) -> None:
    spikes, threshold = random_spikes(seed, 12, 4), torch.ones(4, dtype=torch.float64)
    half = homeostatic_threshold(threshold, spikes[:split])
    torch.testing.assert_close(
        homeostatic_threshold(half, spikes[split:]), homeostatic_threshold(threshold, spikes), rtol=1e-12, atol=0
    )


def test_neurons_under_noise_settle_at_their_target_rates() -> None:
    # a neuron that fires when a standard normal exceeds its threshold has rate r at the quantile of 1 - r
    rates = torch.tensor([0.05, 0.1, 0.3]).repeat_interleave(300)
    threshold, generator = torch.zeros(900), torch.Generator().manual_seed(0)
    fired = []
    for step in range(4000):
        spikes = (torch.randn(1, 900, generator=generator) > threshold).float()
        threshold = homeostatic_threshold(threshold, spikes, HomeostasisParams(rates, 0.02))
        if step >= 2000:
            fired.append(spikes[0])
    quantile = torch.tensor(2.0).sqrt() * torch.erfinv(1 - 2 * rates)
    for group in range(3):
        own = slice(group * 300, (group + 1) * 300)
        assert threshold[own].mean().item() == pytest.approx(quantile[own][0].item(), abs=0.05)
        assert torch.stack(fired)[:, own].mean().item() == pytest.approx(rates[own][0].item(), abs=0.001)


THRESHOLD, SPIKES = torch.ones(3), torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("threshold", "spikes", "params", "said"),
    [
        (THRESHOLD, SPIKES[:0], {}, r"spikes must be \[steps, ...\] with at least one step"),
        (THRESHOLD, SPIKES.long(), {}, "spikes must be of a floating-point type"),
        (THRESHOLD, SPIKES / 0, {}, "spikes must be finite"),
        (THRESHOLD[:2], SPIKES, {}, r"threshold is of shape \(2,\)"),
        (THRESHOLD.double(), SPIKES, {}, "threshold is of .*float64"),
        (THRESHOLD.to("meta"), SPIKES, {}, "threshold is of .*on meta"),
        (THRESHOLD * math.inf, SPIKES, {}, "threshold must be finite"),
        (THRESHOLD, SPIKES, {"rate": -0.01}, "rate must be within 0 to 1"),
        (THRESHOLD, SPIKES, {"rate": 1.01}, "rate must be within 0 to 1"),
        (THRESHOLD, SPIKES, {"rate": math.nan}, "rate must be finite"),
        (THRESHOLD, SPIKES, {"rate": torch.zeros(2)}, r"rate is of shape \(2,\)"),
        (THRESHOLD, SPIKES, {"rate": torch.zeros(3, device="meta")}, "rate is on meta"),
        (THRESHOLD, SPIKES, {"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
        (THRESHOLD, SPIKES, {"learning_rate": math.nan}, "learning_rate must be a finite number above 0"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    threshold: Tensor, spikes: Tensor, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        homeostatic_threshold(threshold, spikes, HomeostasisParams(**params))

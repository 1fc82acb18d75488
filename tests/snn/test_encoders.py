"""Rate, latency, charging and direct codes: their statistics, their round trips, and snnTorch's spikes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch import spikegen
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.codes.encoders import (
    charging_decode,
    charging_encode,
    direct_decode,
    direct_encode,
    latency_decode,
    latency_encode,
    rate_decode,
    rate_encode,
)

quick = settings(deadline=None, max_examples=60)
UNIT = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_rate_is_the_value_within_its_standard_error() -> None:
    values, steps = torch.linspace(0.01, 0.99, 200, dtype=torch.float64), 4000
    spikes = rate_encode(values, steps, seeded())
    assert spikes.shape == (steps, 200)
    assert bool(((spikes == 0) | (spikes == 1)).all())
    off = (rate_decode(spikes) - values) / (values * (1 - values) / steps).sqrt()
    # 200 draws of a standard normal: mean 0 and variance 1, each within four of its own standard errors
    assert off.mean().abs() < 4 / math.sqrt(200)
    assert (off.var() - 1).abs() < 4 * math.sqrt(2 / 200)
    # steps are independent: spikes one step apart meet as often as chance has it
    both = (spikes[1:] * spikes[:-1]).mean() - (values**2).mean()
    assert both.abs() < 4 * 0.5 / math.sqrt(steps * 200)


@quick
@given(UNIT, st.integers(1, 30), st.integers(0, 2**31), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_rate_is_exact_at_0_and_1_and_follows_its_generator(
    numbers: list[float], steps: int, seed: int, kind: torch.dtype
) -> None:
    values = torch.tensor([0.0, 1.0, *numbers], dtype=kind)
    spikes = rate_encode(values, steps, seeded(seed))
    assert spikes.dtype == kind
    assert torch.equal(rate_decode(spikes)[:2], torch.tensor([0, 1], dtype=kind))
    assert torch.equal(spikes, rate_encode(values, steps, seeded(seed)))


def test_small_rates_survive_half_precision() -> None:
    value = torch.full((500,), 2.0**-11, dtype=torch.bfloat16)
    assert rate_encode(value, 4096, seeded()).float().sum().item() == pytest.approx(1000, abs=4 * math.sqrt(1000))


@quick
@given(UNIT, st.integers(2, 200), st.sampled_from([torch.float32, torch.float64]))
def test_latency_comes_back_within_half_a_step(numbers: list[float], steps: int, kind: torch.dtype) -> None:
    values = torch.tensor(numbers, dtype=kind)
    spikes = latency_encode(values, steps)
    assert spikes.dtype == kind
    assert torch.equal(spikes.sum(0), torch.ones_like(values))
    bound = 1 / (2 * (steps - 1))
    assert ((latency_decode(spikes) - values).abs() <= bound + 1e-6).all()


def test_latency_written_out() -> None:
    values = torch.tensor([1.0, 0.875, 0.625, 0.5, 0.0])
    spikes = latency_encode(values, 5)
    # 4 (1 - x) is 0, 0.5, 1.5, 2 and 4; ties go to the even step
    assert spikes.argmax(0).tolist() == [0, 0, 2, 2, 4]
    assert latency_decode(spikes).tolist() == [1.0, 1.0, 0.5, 0.5, 0.0]
    assert latency_decode(torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])).tolist() == [0.0, 0.5, 1.0]


@quick
@given(UNIT, st.integers(2, 100))
def test_latency_fires_with_the_linear_code_of_snntorch(numbers: list[float], steps: int) -> None:
    values = torch.tensor(numbers)
    theirs = spikegen.latency(values, num_steps=steps, threshold=1e-12, normalize=True, linear=True)
    assert torch.equal(latency_encode(values, steps), theirs)


@quick
@given(UNIT, st.integers(2, 60), st.floats(0.5, 20), st.floats(0.01, 0.6))
def test_charging_fires_with_the_logarithmic_code_of_snntorch(
    numbers: list[float], steps: int, tau: float, threshold: float
) -> None:
    # their code lifts what does not cross the threshold up to it
    values = torch.tensor([x for x in numbers if x > threshold + 1e-5] or [1.0])
    theirs = spikegen.latency(values, num_steps=steps, threshold=threshold, tau=tau, clip=True, bypass=True)
    assert torch.equal(charging_encode(values, steps, tau, threshold), theirs)


@quick
@given(UNIT, st.integers(1, 400), st.floats(0.5, 50), st.floats(0.01, 0.95))
def test_charging_comes_back_within_its_bound(numbers: list[float], steps: int, tau: float, threshold: float) -> None:
    values = torch.tensor(numbers, dtype=torch.float64)
    spikes = charging_encode(values, steps, tau, threshold)
    back = charging_decode(spikes, tau, threshold)
    for value, decoded, fired in zip(values.tolist(), back.tolist(), spikes.sum(0).tolist(), strict=True):
        due = tau * math.log(value / (value - threshold)) if value > threshold else math.inf
        assert fired == (round(due) < steps if due < math.inf else 0)
        if fired:
            largest = max(value, decoded)
            assert abs(decoded - value) <= largest * (largest - threshold) / (2 * tau * threshold) + 1e-9
        else:
            assert decoded == 0


def test_charging_written_out() -> None:
    # with tau = 8 and threshold = 0.5: 8 ln(0.6 / 0.1) = 14.33, 8 ln(1 / 0.5) = 5.55, and 0.5 does not cross
    spikes = charging_encode(torch.tensor([0.6, 1.0, 0.5, 0.0]), 15, 8.0, 0.5)
    assert spikes.nonzero().tolist() == [[6, 1], [14, 0]]
    expected = [0.5 / (1 - math.exp(-14 / 8)), 0.5 / (1 - math.exp(-6 / 8)), 0.0, 0.0]
    assert charging_decode(spikes, 8.0, 0.5).tolist() == pytest.approx(expected)
    assert not charging_encode(torch.tensor([0.6]), 14, 8.0, 0.5).any()  # due after the last step
    assert charging_decode(torch.ones(1, 2), 8.0, 0.5).tolist() == [1.0, 1.0]


@quick
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9), st.integers(1, 20))
def test_direct_repeats_the_value_as_a_view(numbers: list[float], steps: int) -> None:
    values = torch.tensor([numbers], dtype=torch.float64)
    currents = direct_encode(values, steps)
    assert currents.shape == (steps, 1, len(numbers))
    assert currents.data_ptr() == values.data_ptr()
    for step in currents:
        assert torch.equal(step, values)
    torch.testing.assert_close(direct_decode(currents), values)


def test_decoders_are_means_over_time() -> None:
    spikes = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    assert rate_decode(spikes).tolist() == [0.75, 0.25]
    assert direct_decode(3 * spikes).tolist() == [2.25, 0.75]


def test_no_values_make_no_spikes() -> None:
    empty = torch.zeros(0, 3)
    for spikes in (rate_encode(empty, 4), latency_encode(empty, 4), charging_encode(empty, 4, 2.0, 0.1)):
        assert spikes.shape == (4, 0, 3)


X = torch.tensor([0.2, 0.8])
ENCODERS: list[Any] = [
    rate_encode,
    latency_encode,
    lambda values, steps: charging_encode(values, steps, 5.0, 0.1),
    direct_encode,
]
DECODERS: list[Any] = [rate_decode, latency_decode, lambda spikes: charging_decode(spikes, 5.0, 0.1), direct_decode]


@pytest.mark.parametrize("encode", ENCODERS)
def test_encoders_refuse_no_steps_other_types_and_values_that_are_not_finite(encode: Any) -> None:
    for steps in (0, -1):
        with pytest.raises(ModelError, match=f"steps must be at least 1, got {steps}"):
            encode(X, steps)
    with pytest.raises(ModelError, match=r"values must be of a floating-point type, not torch\.int64"):
        encode(X.long(), 3)
    for wrong in (math.nan, math.inf):
        with pytest.raises(ModelError, match="values must be finite"):
            encode(X + wrong, 3)


@pytest.mark.parametrize("encode", ENCODERS[:3])
@pytest.mark.parametrize(("low", "high"), [(-0.25, 0.5), (0.5, 1.25)])
def test_encoders_refuse_values_outside_0_to_1(encode: Any, low: float, high: float) -> None:
    with pytest.raises(ModelError, match=f"values must be within 0 to 1, got {low} to {high}"):
        encode(torch.tensor([low, high]), 3)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("spikes", "said"),
    [
        (torch.zeros(0, 2), "at least one step"),
        (torch.tensor(1.0), "at least one step"),
        (torch.ones(2, 2, dtype=torch.int64), "must be of a floating-point type"),
        (torch.full((2, 2), math.nan), "must be finite"),
    ],
)
def test_decoders_refuse_what_does_not_fit(decode: Any, spikes: Tensor, said: str) -> None:
    with pytest.raises(ModelError, match=f"(spikes|currents) {said}|(spikes|currents) must .*{said}"):
        decode(spikes)


def test_one_step_cannot_tell_early_from_late() -> None:
    with pytest.raises(ModelError, match="steps must be at least 2, got 1"):
        latency_encode(X, 1)
    with pytest.raises(ModelError, match="steps of spikes must be at least 2, got 1"):
        latency_decode(torch.ones(1, 2))
    assert latency_encode(X, 2).tolist() == [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf])
def test_charging_refuses_other_time_constants(tau: float) -> None:
    with pytest.raises(ModelError, match="tau must be a finite number above 0"):
        charging_encode(X, 3, tau, 0.1)
    with pytest.raises(ModelError, match="tau must be a finite number above 0"):
        charging_decode(X[None], tau, 0.1)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, math.nan])
def test_charging_refuses_thresholds_that_no_value_crosses(threshold: float) -> None:
    with pytest.raises(ModelError, match=f"threshold must be between 0 and 1, not {threshold}"):
        charging_encode(X, 3, 5.0, threshold)
    with pytest.raises(ModelError, match=f"threshold must be between 0 and 1, not {threshold}"):
        charging_decode(X[None], 5.0, threshold)


def test_rate_refuses_a_generator_of_another_device() -> None:
    with pytest.raises(ModelError, match="generator is on cpu, values on meta"):
        rate_encode(X.to("meta"), 3, seeded())

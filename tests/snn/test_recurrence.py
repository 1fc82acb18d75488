"""The gated recurrence against its formula step by step, its gradients, halves, and input that does not fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.layers.recurrence import gated_scan, gated_scan_reference

quick = settings(deadline=None, max_examples=25)
SCANS: list[Any] = [gated_scan, gated_scan_reference]


def parts(seed: int, *shape: int, kind: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Gates, values and a state to start from."""
    generator = torch.Generator().manual_seed(seed)
    forget, value = torch.rand(shape, generator=generator), torch.randn(shape, generator=generator)
    return forget.to(kind), value.to(kind), torch.randn(shape[1:], generator=generator).to(kind)


@quick
@given(st.integers(0, 2**31), st.integers(1, 12), st.booleans(), st.sampled_from(SCANS))
def test_is_the_formula_written_out(seed: int, steps: int, rested: bool, scan: Any) -> None:
    forget, value, state = parts(seed, steps, 2, 3)
    hidden, last = scan(forget, value, None if rested else state)
    expected = np.zeros((2, 3)) if rested else state.double().numpy()
    for t in range(steps):
        gate = forget[t].double().numpy()
        expected = gate * expected + (1 - gate) * value[t].double().numpy()
        np.testing.assert_allclose(hidden[t], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(last, hidden[-1])


@quick
@given(st.integers(0, 2**31), st.integers(1, 9), st.sampled_from([torch.float32, torch.float64]))
def test_two_halves_equal_the_whole(seed: int, split: int, kind: torch.dtype) -> None:
    forget, value, state = parts(seed, 10, 5, kind=kind)
    whole, after = gated_scan(forget, value, state)
    first, between = gated_scan(forget[:split], value[:split], state)
    second, last = gated_scan(forget[split:], value[split:], between)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last, after)
    assert whole.dtype == kind


@pytest.mark.parametrize("scan", SCANS)
def test_gradients_are_those_of_the_formula(scan: Any) -> None:
    # wide enough for two blocks of the compiled kernel
    forget, value, state = (part.requires_grad_() for part in parts(3, 7, 520))
    weights, on_last = parts(4, 7, 520)[1:]
    hidden, last = scan(forget, value, state)
    found = torch.autograd.grad((hidden * weights).sum() + (last * on_last).sum(), (forget, value, state))
    expected = [torch.zeros(7, 520), torch.zeros(7, 520), on_last.clone()]
    for t in reversed(range(7)):
        arrived = expected[2] + weights[t]
        before = hidden[t - 1] if t else state
        expected[0][t] = arrived * (before - value[t]).detach()
        expected[1][t] = arrived * (1 - forget[t]).detach()
        expected[2] = (arrived * forget[t]).detach()
    for ours, formula in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, formula, rtol=1e-4, atol=1e-5)


def test_a_second_derivative_is_refused_not_wrong() -> None:
    forget, value, state = (part.requires_grad_() for part in parts(3, 4, 2))
    (gradient,) = torch.autograd.grad(gated_scan(forget, value, state)[0].square().sum(), forget, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(gradient.sum())


@pytest.mark.parametrize("scan", SCANS)
def test_a_single_channel_needs_no_axis(scan: Any) -> None:
    hidden, last = scan(torch.tensor([0.5, 0.25]), torch.tensor([2.0, 4.0]), None)
    assert hidden.tolist() == [1.0, 3.25]
    assert last.item() == 3.25


GATES, VALUES = torch.full((3, 2), 0.5), torch.ones(3, 2)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize(
    ("forget", "value", "state", "said"),
    [
        (GATES[:0], VALUES[:0], None, r"forget must be \[steps, ...\] with at least one step, not of shape \(0, 2\)"),
        (torch.tensor(0.5), torch.tensor(0.5), None, r"forget must be \[steps, ...\]"),
        (GATES.long(), VALUES, None, "forget must be of a floating-point type"),
        (GATES, VALUES[:, :1], None, r"value torch\.float32 \(3, 1\) on cpu; they must agree"),
        (GATES, VALUES.double(), None, r"value torch\.float64 \(3, 2\) on cpu; they must agree"),
        (GATES, VALUES.to("meta"), None, r"value torch\.float32 \(3, 2\) on meta; they must agree"),
        (GATES, VALUES, VALUES[0, :1], r"state is of shape \(1,\)"),
        (GATES, VALUES, VALUES[0].double(), r"state is of .*float64"),
        (GATES, VALUES, VALUES[0].to("meta"), "state is of .* on meta"),
        (GATES, VALUES, VALUES[0] * math.nan, "state must be finite"),
        (GATES * math.nan, VALUES, None, "forget, value and state must be finite"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    scan: Any, forget: Tensor, value: Tensor, state: Tensor | None, said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        scan(forget, value, state)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("gate", [0.0, 0.5, 1.0])
def test_a_value_that_is_not_finite_is_seen_whenever_it_came(scan: Any, wrong: float, gate: float) -> None:
    value = torch.zeros(4, 2)
    value[0, 1] = wrong
    with pytest.raises(ModelError, match="must be finite"):
        scan(torch.full((4, 2), gate), value, None)

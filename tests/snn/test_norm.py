"""Root-mean-square normalisation against its formula and torch, its gradients, and input that does not fit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.layers.norm import EPSILON, RMSNorm


def layer(width: int, seed: int = 0) -> RMSNorm:
    norm = RMSNorm(width)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(width, generator=torch.Generator().manual_seed(seed)))
    return norm


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**31),
    st.integers(1, 70),
    st.floats(1e-6, 1e6),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_is_the_formula_written_out(seed: int, width: int, size: float, kind: torch.dtype) -> None:
    x = (torch.randn(2, 3, width, generator=torch.Generator().manual_seed(seed)) * size).to(kind)
    norm = layer(width, seed)
    found = norm(x)
    assert found.dtype == torch.float32
    wide = x.double()
    expected = wide / ((wide**2).mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight.double()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_starts_with_a_gain_of_one_and_keeps_nothing_silent() -> None:
    norm = RMSNorm(4)
    assert norm.weight.tolist() == [1.0] * 4
    assert norm(torch.zeros(2, 4)).tolist() == [[0.0] * 4] * 2
    assert norm(torch.full((1, 4), -3.0))[0].tolist() == pytest.approx([-1.0] * 4)
    # where the input is as small as epsilon, epsilon shows: 1 / sqrt(1 + 1)
    assert norm(torch.full((1, 4), 1e-3))[0].tolist() == pytest.approx([math.sqrt(0.5)] * 4)
    assert norm(torch.zeros(0, 4)).shape == (0, 4)
    assert norm(torch.full((4,), 2.0)).tolist() == pytest.approx([1.0] * 4)


def test_gradients_equal_torch() -> None:
    norm, generator = layer(24), torch.Generator().manual_seed(1)
    x, weights = torch.randn(2, 7, 3, 24, generator=generator)
    found = []
    for function in (norm, lambda x: F.rms_norm(x, (24,), norm.weight, EPSILON)):
        given_ = x.clone().requires_grad_()
        found.append(torch.autograd.grad((function(given_) ** 2 * weights).sum(), (given_, norm.weight)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_second_derivative_is_refused_not_wrong() -> None:
    norm, x = layer(4), torch.ones(2, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(norm(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(gradient.sum())


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(2, 5), r"x must be \[..., 4\] on cpu, not \(2, 5\) on cpu"),
        (torch.zeros(2, 3), r"x must be \[..., 4\]"),
        (torch.tensor(1.0), r"x must be \[..., 4\] on cpu, not \(\)"),
        (torch.zeros(2, 4, device="meta"), r"x must be .* on cpu, not \(2, 4\) on meta"),
        (torch.zeros(2, 4, dtype=torch.int64), "x must be of a floating-point type"),
        (torch.tensor([[0.0] * 4, [1.0, math.nan, 0.0, 0.0]]), "x must be finite"),
        (torch.tensor([[1.0, 0.0, -math.inf, 0.0]]), "x must be finite"),
        (torch.tensor([[1.0, 0.0, 1e20, 0.0]]), "x must be finite, and its squares too"),
        (torch.tensor([[1.0, math.nan, 0.0, 0.0]], dtype=torch.float64), "x must be finite"),
    ],
)
def test_input_that_does_not_fit_is_refused(x: Tensor, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        RMSNorm(4)(x)


def test_a_width_of_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match="width must be at least 1, not 0"):
        RMSNorm(0)

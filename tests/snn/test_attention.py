"""ChronoSpikeAttention: its formula and strict causality."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.attention import ChronoSpikeAttention, chrono_attention, chrono_mask
from brainnet.snn.linear_attention import linear_chrono_attention

quick = settings(deadline=None, max_examples=25)
SHAPES = st.tuples(st.integers(1, 2), st.integers(2, 6), st.integers(1, 5))


def random_spikes(shape: tuple[int, ...], seed: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def random_parts(shape: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    batch, steps, length = shape
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, batch, 2, steps, length, 3, generator=generator)
    return query, key, torch.randn(batch, 2, steps, length, 4, generator=generator)


@quick
@given(shape=SHAPES, seed=st.integers(0, 2**31), tau=st.floats(0.5, 8), causal=st.booleans())
def test_is_the_formula_written_out(shape: tuple[int, int, int], seed: int, tau: float, causal: bool) -> None:
    query, key, value = random_parts(shape, seed)
    _, steps, length = shape
    expected = torch.zeros_like(value)
    for t in range(steps):
        for i in range(length):
            for past in range(t + 1):
                for j in range(i + 1 if causal else length):
                    score = (query[:, :, t, i] * key[:, :, past, j]).sum(-1) / math.sqrt(3)
                    weight = torch.sigmoid(score) * math.exp(-(t - past) / tau)
                    expected[:, :, t, i] += weight[..., None] * value[:, :, past, j]
    assert torch.allclose(chrono_attention(query, key, value, tau, causal_positions=causal), expected, atol=1e-5)


def test_the_mask_decays_into_the_past_and_hides_the_future() -> None:
    mask = chrono_mask(3, 1, 2.0, False)
    decay = math.exp(-0.5)
    assert torch.allclose(mask, torch.tensor([[1, 0, 0], [decay, 1, 0], [decay**2, decay, 1]]))


@quick
@given(seed=st.integers(0, 2**31), step=st.integers(0, 5), position=st.integers(0, 3), linear=st.booleans())
def test_a_change_reaches_no_earlier_step_and_no_earlier_position(
    seed: int, step: int, position: int, linear: bool
) -> None:
    torch.manual_seed(3)
    layer = ChronoSpikeAttention(8, 2, 2.0, causal_positions=True, linear=linear)
    spikes = random_spikes((1, 6, 4, 8), seed)
    later_step, later_position = spikes.clone(), spikes.clone()
    later_step[:, step:] = 1 - later_step[:, step:]
    later_position[:, :, position:] = 1 - later_position[:, :, position:]
    with torch.inference_mode():
        before = layer.currents(spikes)
        assert torch.allclose(layer.currents(later_step)[:, :step], before[:, :step], atol=1e-5)
        assert torch.allclose(layer.currents(later_position)[:, :, :position], before[:, :, :position], atol=1e-5)


def test_spikes_in_spikes_out_and_gradients_reach_every_weight() -> None:
    torch.manual_seed(0)
    layer = ChronoSpikeAttention(8, 2, 2.0)
    spikes = layer(random_spikes((2, 6, 3, 8), 1))
    assert spikes.shape == (2, 6, 3, 8)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    gradients = torch.autograd.grad((spikes * torch.randn_like(spikes)).sum(), list(layer.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_a_silent_position_changes_nothing_for_the_others() -> None:
    torch.manual_seed(0)
    layer = ChronoSpikeAttention(8, 2, 2.0)
    spikes = random_spikes((1, 6, 3, 8), 1)
    padded = torch.cat([spikes, torch.zeros(1, 6, 2, 8)], dim=2)
    with torch.inference_mode():
        assert torch.allclose(layer.currents(padded)[:, :, :3], layer.currents(spikes), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda q, k, v: (q[:, :, :0], k[:, :, :0], v[:, :, :0], 2.0), "query must be .* at least one step"),
        (lambda q, k, v: (q[0], k, v, 2.0), "query must be"),
        (lambda q, k, v: (q, k[..., :2], v, 2.0), "key must be of the query's shape"),
        (lambda q, k, v: (q, k, v[:, :, :2], 2.0), "value must be"),
        (lambda q, k, v: (q, k.long(), v, 2.0), "key must be of a floating-point type"),
        (lambda q, k, v: (q, k, v.double(), 2.0), "value is torch.float64"),
        (lambda q, k, v: (q, k, v.to("meta"), 2.0), "value is torch.float32 on meta"),
        (lambda q, k, v: (q, k / 0, v, 2.0), "key must be finite"),
        (lambda q, k, v: (q, k, v, 0.0), "tau must be a positive"),
        (lambda q, k, v: (q, k, v, math.inf), "tau must be a positive"),
    ],
)
@pytest.mark.parametrize("attention", [chrono_attention, linear_chrono_attention])
def test_parts_that_do_not_fit_are_refused(
    attention: Callable[..., Any], change: Callable[..., Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        attention(*change(*random_parts((2, 3, 4), 0)))


def test_refuses_sizes_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match="not divisible"):
        ChronoSpikeAttention(10, 3, 2.0)
    with pytest.raises(ModelError, match="tau"):
        ChronoSpikeAttention(8, 2, 0.0)
    for shape in [(1, 0, 3, 8), (1, 2, 3, 7), (2, 3, 8)]:
        with pytest.raises(ModelError, match=r"spikes must be \[batch, steps >= 1, positions, 8\]"):
            ChronoSpikeAttention(8, 2, 2.0)(torch.zeros(shape))

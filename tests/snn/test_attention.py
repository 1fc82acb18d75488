"""ChronoSpikeAttention: its formula, strict causality, and the linear variant against the matrix form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.snn.attention import (
    ChronoSpikeAttention,
    SpikingTransformerBlock,
    chrono_attention,
    chrono_mask,
    linear_chrono_attention,
    linear_chrono_step,
)

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
@given(shape=SHAPES, seed=st.integers(0, 2**31), tau=st.floats(0.5, 8), causal=st.booleans(), split=st.integers(1, 5))
def test_the_recurrent_form_equals_the_matrix_form(
    shape: tuple[int, int, int], seed: int, tau: float, causal: bool, split: int
) -> None:
    query, key, value = random_parts(shape, seed)
    matrix = chrono_attention(query, key, value, tau, causal_positions=causal, linear=True)
    recurrent, _ = linear_chrono_attention(query, key, value, tau, causal_positions=causal)
    assert torch.allclose(recurrent, matrix, atol=1e-4)
    # In two halves with the state carried over, too.
    halves, state = [], None
    for half in (slice(None, split), slice(split, None)):
        if query[:, :, half].shape[2]:
            context, state = linear_chrono_attention(
                query[:, :, half], key[:, :, half], value[:, :, half], tau, causal_positions=causal, state=state
            )
            halves.append(context)
    assert torch.allclose(torch.cat(halves, 2), matrix, atol=1e-4)


def test_the_state_of_the_recurrent_form_does_not_grow() -> None:
    state = None
    for _ in range(5):
        query, key, value = (torch.randn(1, 2, 3, 4) for _ in range(3))
        _, state = linear_chrono_step(query, key, value, state, 2.0)
        assert state.memory.shape == (1, 2, 1, 4, 4)


def layers(linear: bool) -> list[torch.nn.Module]:
    torch.manual_seed(3)
    return [
        ChronoSpikeAttention(8, 2, 2.0, causal_positions=True, linear=linear),
        SpikingTransformerBlock(8, 2, 2.0, causal_positions=True, linear=linear),
    ]


@quick
@given(seed=st.integers(0, 2**31), step=st.integers(0, 5), position=st.integers(0, 3), linear=st.booleans())
def test_a_change_reaches_no_earlier_step_and_no_earlier_position(
    seed: int, step: int, position: int, linear: bool
) -> None:
    spikes = random_spikes((1, 6, 4, 8), seed)
    later_step, later_position = spikes.clone(), spikes.clone()
    later_step[:, step:] = 1 - later_step[:, step:]
    later_position[:, :, position:] = 1 - later_position[:, :, position:]
    with torch.inference_mode():
        for layer in layers(linear):
            before = layer(spikes)
            assert torch.equal(layer(later_step)[:, :step], before[:, :step])
            assert torch.allclose(layer(later_position)[:, :, :position], before[:, :, :position], atol=1e-5)


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


def test_refuses_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="not divisible"):
        ChronoSpikeAttention(10, 3, 2.0)
    with pytest.raises(ValueError, match="tau"):
        ChronoSpikeAttention(8, 2, 0.0)

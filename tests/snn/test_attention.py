"""ChronoSpikeAttention: its formula in a plain numpy loop, and strict causality."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.layers.attention import ChronoSpikeAttention, chrono_attention, chrono_mask, default_tau
from brainnet.snn.layers.linear_attention import linear_chrono_attention
from brainnet.snn.neurons.lif import LIFParams, lif_sequence

quick = settings(deadline=None, max_examples=25)
SHAPES = st.tuples(st.integers(1, 2), st.integers(2, 6), st.integers(1, 5))


def random_spikes(shape: tuple[int, ...], seed: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def random_parts(shape: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    batch, steps, length = shape
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, batch, 2, steps, length, 3, generator=generator)
    return query, key, torch.randn(batch, 2, steps, length, 4, generator=generator)


def written_out(
    query: NDArray[Any], key: NDArray[Any], value: NDArray[Any], tau: float, causal: bool, linear: bool = False
) -> NDArray[np.float64]:
    """The context of one head [T, L, d_v], query by query and key by key."""
    steps, length, width = query.shape
    context = np.zeros(value.shape)
    for t, i in np.ndindex(steps, length):
        for past, j in np.ndindex(t + 1, i + 1 if causal else length):
            score = float(np.dot(query[t, i], key[past, j])) / math.sqrt(width)
            weight = score if linear else 1 / (1 + math.exp(-score))
            context[t, i] += weight * math.exp(-(t - past) / tau) * value[past, j]
    return context


@quick
@given(
    shape=SHAPES,
    seed=st.integers(0, 2**31),
    tau=st.none() | st.floats(0.5, 8),
    causal=st.booleans(),
    linear=st.booleans(),
)
def test_is_the_formula_written_out(
    shape: tuple[int, int, int], seed: int, tau: float | None, causal: bool, linear: bool
) -> None:
    query, key, value = (part.double() for part in random_parts(shape, seed))
    found = chrono_attention(query, key, value, tau, causal_positions=causal, linear=linear)
    own = shape[1] / 4 if tau is None else tau
    for at in np.ndindex(shape[0], 2):
        expected = written_out(query[at].numpy(), key[at].numpy(), value[at].numpy(), own, causal, linear)
        np.testing.assert_allclose(found[at].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_mask_decays_into_the_past_and_hides_the_future() -> None:
    mask = chrono_mask(3, 1, 2.0, False)
    decay = math.exp(-0.5)
    assert torch.allclose(mask, torch.tensor([[1, 0, 0], [decay, 1, 0], [decay**2, decay, 1]]))


@pytest.mark.parametrize(("steps", "expected"), [(1, 0.25), (8, 2.0), (100, 25.0)])
def test_tau_is_a_quarter_of_the_steps_unless_told(steps: int, expected: float) -> None:
    assert default_tau(steps) == expected
    query, key, value = random_parts((1, steps, 1), 0)
    assert torch.equal(chrono_attention(query, key, value), chrono_attention(query, key, value, expected))
    for linear in (False, True):
        torch.manual_seed(0)
        layer = ChronoSpikeAttention(8, 2, linear=linear)
        torch.manual_seed(0)
        told = ChronoSpikeAttention(8, 2, expected, linear=linear)
        spikes = random_spikes((1, steps, 2, 8), 0)
        assert torch.equal(layer.currents(spikes), told.currents(spikes))


@quick
@given(
    seed=st.integers(0, 2**31),
    steps=st.integers(1, 9),
    length=st.integers(1, 5),
    tau=st.none() | st.floats(0.3, 20),
    linear=st.booleans(),
    data=st.data(),
)
def test_a_change_reaches_no_earlier_step_and_no_earlier_position(
    seed: int, steps: int, length: int, tau: float | None, linear: bool, data: st.DataObject
) -> None:
    step, position = data.draw(st.integers(0, steps - 1)), data.draw(st.integers(0, length - 1))
    torch.manual_seed(seed)
    layer = ChronoSpikeAttention(8, 2, tau, causal_positions=True, linear=linear)
    with torch.no_grad():
        layer.output.weight *= 8  # so that the neurons do fire
    spikes = random_spikes((1, steps, length, 8), seed)
    later_step, later_position = spikes.clone(), spikes.clone()
    later_step[:, step:] = random_spikes((1, steps - step, length, 8), seed + 1)
    later_position[:, :, position:] = random_spikes((1, steps, length - position, 8), seed + 2)
    with torch.inference_mode():
        for outputs in (layer.currents, layer):
            before = outputs(spikes)
            assert torch.equal(outputs(later_step)[:, :step], before[:, :step])
            assert torch.equal(outputs(later_position)[:, :, :position], before[:, :, :position])


def test_without_the_position_mask_every_position_is_heard_but_no_later_step() -> None:
    torch.manual_seed(3)
    layer, spikes = ChronoSpikeAttention(8, 2), random_spikes((1, 6, 4, 8), 1)
    changed = spikes.clone()
    changed[:, 3:, 3] = 1 - changed[:, 3:, 3]
    with torch.inference_mode():
        before, after = layer.currents(spikes), layer.currents(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before != after)[:, 3:].any(-1).all()


@pytest.mark.parametrize("linear", [False, True])
def test_the_layer_is_projections_heads_formula_and_neurons(linear: bool) -> None:
    torch.manual_seed(1)
    layer = ChronoSpikeAttention(8, 2, 1.7, causal_positions=True, linear=linear).double()
    spikes = random_spikes((1, 5, 3, 8), 2).double()
    weights = {name: weight.detach().numpy() for name, weight in layer.named_parameters()}
    query, key, value = np.split(spikes[0].numpy() @ weights["project.weight"].T, 3, -1)
    heads = [
        written_out(query[..., own], key[..., own], value[..., own], 1.7, True, linear)
        for own in (slice(0, 4), slice(4, 8))
    ]
    expected = np.concatenate(heads, -1) @ weights["output.weight"].T
    with torch.inference_mode():
        np.testing.assert_allclose(layer.currents(spikes)[0], expected, rtol=1e-5, atol=1e-6)
        beta = torch.tensor(0.9, dtype=torch.float64)
        fired, _ = lif_sequence(layer.currents(spikes).transpose(0, 1), None, LIFParams(beta))
        assert torch.equal(layer(spikes), fired.transpose(0, 1))
    assert torch.sigmoid(layer.neurons.decay).tolist() == pytest.approx([0.9] * 8)
    assert torch.sigmoid(ChronoSpikeAttention(8, 2, beta=0.7).neurons.decay).tolist() == pytest.approx([0.7] * 8)


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
        (lambda q, k, v: (q, k, v, 0.0), "tau must be a finite number above 0"),
        (lambda q, k, v: (q, k, v, math.inf), "tau must be a finite number above 0"),
    ],
)
@pytest.mark.parametrize("attention", [chrono_attention, linear_chrono_attention])
def test_parts_that_do_not_fit_are_refused(
    attention: Callable[..., Any], change: Callable[..., Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        attention(*change(*random_parts((2, 3, 4), 0)))


@pytest.mark.parametrize(("width", "heads"), [(10, 3), (8, 0), (8, -2), (0, 1)])
def test_a_width_that_heads_do_not_share_is_refused(width: int, heads: int) -> None:
    with pytest.raises(
        ModelError, match=f"width must be a multiple of heads, both at least 1, not {width} and {heads}"
    ):
        ChronoSpikeAttention(width, heads)


def test_one_neuron_and_one_head_are_enough() -> None:
    assert ChronoSpikeAttention(1, 1)(torch.ones(1, 2, 3, 1)).shape == (1, 2, 3, 1)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_constants_that_do_not_fit_are_refused(value: float) -> None:
    with pytest.raises(ModelError, match="tau must be a finite number above 0"):
        ChronoSpikeAttention(8, 2, value)
    with pytest.raises(ModelError, match=f"beta must be between 0 and 1, not {value}"):
        ChronoSpikeAttention(8, 2, beta=value)
    with pytest.raises(ModelError, match="beta must be between 0 and 1, not 1"):
        ChronoSpikeAttention(8, 2, beta=1.0)


@pytest.mark.parametrize(
    ("spikes", "said"),
    [
        *(
            (torch.zeros(shape), r"\[batch, steps >= 1, positions, 8\]")
            for shape in [(1, 0, 3, 8), (1, 2, 3, 7), (2, 3, 8)]
        ),
        (torch.zeros(1, 2, 3, 8, dtype=torch.int64), r"of a floating-point type, not torch\.int64"),
        (torch.zeros(1, 2, 3, 8).double(), r"torch\.float32 on cpu as the weights are, not torch\.float64 on cpu"),
        (
            torch.zeros(1, 2, 3, 8, device="meta"),
            r"torch\.float32 on cpu as the weights are, not torch\.float32 on meta",
        ),
        (torch.full((1, 2, 3, 8), math.nan), "finite"),
    ],
)
def test_spikes_that_do_not_fit_are_refused(spikes: Tensor, said: str) -> None:
    with pytest.raises(ModelError, match=f"spikes must be {said}"):
        ChronoSpikeAttention(8, 2, 2.0)(spikes)


def test_attention_learns_after_it_was_used_for_inference() -> None:
    layer = ChronoSpikeAttention(8, 2)
    spikes = (torch.rand(1, 7, 3, 8) < 0.5).float()
    with torch.inference_mode():
        layer(spikes)
    layer(spikes).sum().backward()
    assert all(weight.grad is not None for weight in layer.parameters())

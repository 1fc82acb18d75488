"""The spiking transformer block: its equations, causality, and spikes in front of every projection."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.layers.norm import EPSILON
from brainnet.snn.layers.transformer_block import SpikingTransformerBlock
from brainnet.snn.neurons.lif import LIFParams, lif_sequence

quick = settings(deadline=None, max_examples=25)


def block(linear: bool = False, causal_positions: bool = True) -> SpikingTransformerBlock:
    torch.manual_seed(3)
    made = SpikingTransformerBlock(8, 2, 2.0, linear=linear, causal_positions=causal_positions)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.8, 1.6)
    return made


def currents(seed: int = 0) -> Tensor:
    return torch.randn(2, 6, 4, 8, generator=torch.Generator().manual_seed(seed)) + 0.3


def spikes_of(values: Tensor, beta: float = 0.9) -> Tensor:
    return lif_sequence(values.transpose(0, 1), None, LIFParams(torch.tensor(beta)))[0].transpose(0, 1)


@pytest.mark.parametrize("linear", [False, True])
def test_is_its_equations_written_out(linear: bool) -> None:
    layer, x = block(linear), currents()
    with torch.no_grad():
        found = layer(x)
        weights = dict(layer.named_parameters())
        expected = x + layer.attention(spikes_of(F.rms_norm(x, (8,), weights["attention_norm.weight"], EPSILON)))
        normal = F.rms_norm(expected, (8,), weights["input_norm.weight"], EPSILON)
        inner = spikes_of(normal) @ weights["expand.weight"].T
        fired = spikes_of(F.rms_norm(inner, (32,), weights["hidden_norm.weight"], EPSILON))
        expected = expected + fired @ weights["contract.weight"].T
    assert torch.allclose(found, expected, atol=1e-5)
    assert 0 < fired.mean() < 1


@quick
@given(seed=st.integers(0, 2**31), step=st.integers(0, 5), position=st.integers(0, 3), linear=st.booleans())
def test_a_change_reaches_no_earlier_step_and_no_earlier_position(
    seed: int, step: int, position: int, linear: bool
) -> None:
    layer, x = block(linear), currents(seed)
    later_step, later_position = x.clone(), x.clone()
    later_step[:, step:] += 1
    later_position[:, :, position:] += 1
    with torch.inference_mode():
        before = layer(x)
        assert torch.equal(layer(later_step)[:, :step], before[:, :step])
        assert torch.equal(layer(later_position)[:, :, :position], before[:, :, :position])


def test_every_projection_sees_spikes() -> None:
    layer = block()
    seen: list[Tensor] = []
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear) and name != "attention.output":  # the context of spikes is graded
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    layer(currents())
    assert len(seen) == 3
    for inputs in seen:
        assert bool(((inputs == 0) | (inputs == 1)).all())
        assert inputs.any()


def test_gradients_reach_every_weight() -> None:
    layer = block()
    out = layer(currents())
    gradients = torch.autograd.grad((out * torch.randn_like(out)).sum(), list(layer.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_unless_told_tau_is_a_quarter_of_the_steps_and_the_feed_forward_four_times_as_wide() -> None:
    made: list[SpikingTransformerBlock] = []
    for settings_ in ({}, {"tau": 1.5, "expansion": 4, "beta": 0.9, "causal_positions": True, "linear": False}):
        torch.manual_seed(0)
        made.append(SpikingTransformerBlock(8, 2, **settings_))  # type: ignore[arg-type]
    with torch.inference_mode():
        assert torch.equal(*(layer(currents()) for layer in made))
    for layer in (made[0].attention_neurons, made[0].input_neurons, made[0].hidden_neurons):
        assert torch.sigmoid(layer.decay).tolist() == pytest.approx([0.9] * len(layer.decay))
    narrow = SpikingTransformerBlock(8, 2, expansion=3, beta=0.7)
    assert narrow.expand.weight.shape == (24, 8)
    assert SpikingTransformerBlock(8, 2, expansion=1).expand.weight.shape == (8, 8)
    assert torch.sigmoid(narrow.hidden_neurons.decay).tolist() == pytest.approx([0.7] * 24)
    assert torch.sigmoid(narrow.attention.neurons.decay).tolist() == pytest.approx([0.7] * 8)


def test_input_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelError, match="expansion must be at least 1, not 0"):
        SpikingTransformerBlock(8, 2, expansion=0)
    with pytest.raises(ModelError, match="currents must be of a floating-point type"):
        block()(torch.zeros(1, 2, 3, 8, dtype=torch.int64))
    for other in (torch.zeros(1, 2, 3, 8).double(), torch.zeros(1, 2, 3, 8, device="meta")):
        with pytest.raises(ModelError, match=r"currents must be torch\.float32 on cpu as the weights are"):
            block()(other)
    for shape in [(1, 0, 3, 8), (1, 2, 3, 7), (2, 3, 8)]:
        with pytest.raises(ModelError, match=r"currents must be \[batch, steps >= 1, positions, 8\]"):
            block()(torch.zeros(shape))
    with pytest.raises(ModelError, match="finite"):
        block()(torch.full((1, 2, 3, 8), torch.nan))

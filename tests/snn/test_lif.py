"""The LIF sequence against snnTorch, Norse and a plain loop; the gated recurrence and the norm against torch."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.neurons import lif_steps
from brainnet.snn.neurons.lif import (
    LIF,
    LIFParams,
    LIFState,
    Reset,
    lif_sequence,
    lif_sequence_reference,
    recurrent_lif_sequence,
)
from brainnet.snn.neurons.lif_steps import lif_spikes
from brainnet.snn.neurons.surrogate import arctan_spike

Sequence = Callable[[Tensor, LIFState | None, LIFParams], tuple[Tensor, LIFState]]
RESETS: list[Reset] = ["subtract", "zero", "none"]
NORSE = json.loads((Path(__file__).parent / "golden" / "norse_lif.json").read_text())


def currents_of(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 0.9 - 0.1


@pytest.mark.parametrize("reset", RESETS)
def test_spikes_membranes_and_gradients_equal_snntorch_leaky(reset: Reset) -> None:
    currents, weights = currents_of(1, 60, 3, 40), torch.randn(60, 3, 40, generator=torch.Generator().manual_seed(2))
    decays = torch.linspace(0.3, 0.99, 40)
    leaky = snntorch.Leaky(beta=decays.clone(), threshold=0.8, reset_mechanism=reset, learn_beta=True)
    theirs_in, ours_in = currents.clone().requires_grad_(), currents.clone().requires_grad_()
    membrane = torch.zeros(3, 40)
    spikes = []
    for current in theirs_in.unbind(0):
        spike, membrane = leaky(current, membrane)
        spikes.append(spike)
    theirs = torch.stack(spikes)
    beta = decays.clone().requires_grad_()
    ours, state = lif_sequence(ours_in, None, LIFParams(beta, 0.8, reset))

    assert 0.05 < ours.mean() < 0.95
    assert torch.equal(ours, theirs)
    assert torch.equal(state.membrane, membrane)
    torch.autograd.backward((theirs * weights).sum())
    torch.autograd.backward((ours * weights).sum())
    assert theirs_in.grad is not None
    torch.testing.assert_close(ours_in.grad, theirs_in.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(beta.grad, leaky.beta.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", NORSE["cases"], ids=lambda case: f"rate {case['tau_mem_inv']:g}")
def test_spikes_and_membranes_equal_norse(case: dict[str, Any], dtype: torch.dtype) -> None:
    # Norse moves its membrane by this part of the way to the current in every step
    part = case["tau_mem_inv"] * 0.001
    currents = torch.tensor(NORSE["currents"], dtype=dtype) / 100 * part
    params = LIFParams(torch.tensor(1 - part, dtype=dtype), case["threshold"], reset="zero")
    spikes, state = lif_sequence(currents, None, params)
    assert spikes.tolist() == case["spikes"]
    after_reset = state.membrane * (1 - spikes[-1])
    expected = torch.tensor(case["last_membrane"], dtype=dtype)
    torch.testing.assert_close(after_reset, expected, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 2.0, 3.0])
def test_the_surrogate_is_the_derivative_of_the_arctangent(alpha: float) -> None:
    over = torch.linspace(-3, 3, 61, dtype=torch.float64).requires_grad_()
    spikes = arctan_spike(over, alpha)
    assert torch.equal(spikes, (over > 0).double())
    (grad,) = torch.autograd.grad(spikes.sum(), over)
    smooth = over.detach().requires_grad_()
    (expected,) = torch.autograd.grad((torch.atan(math.pi / 2 * alpha * smooth) / math.pi).sum(), smooth)
    torch.testing.assert_close(grad, expected)


def test_the_surrogate_fires_at_zero_only_where_that_is_asked_for() -> None:
    over = torch.tensor([-1e-6, 0.0, 1e-6])
    assert arctan_spike(over, 2.0).tolist() == [0, 0, 1]
    assert arctan_spike(over, 2.0, inclusive=True).tolist() == [0, 1, 1]


@pytest.mark.parametrize("sequence", [lif_sequence, lif_sequence_reference])
def test_defaults_are_threshold_one_subtracted_at_a_spike_and_alpha_two(sequence: Sequence) -> None:
    currents = torch.tensor([[1.0, 1.25], [0.0, 0.0]]).requires_grad_()
    spikes, state = sequence(currents, None, LIFParams(torch.tensor(0.5)))
    assert spikes.tolist() == [[0, 1], [0, 0]]
    assert state.membrane.tolist() == [0.5, 0.625 - 1.0]
    (grad,) = torch.autograd.grad(spikes[0].sum(), currents)
    torch.testing.assert_close(grad[0], torch.tensor([1.0, 1 / (1 + (math.pi / 4) ** 2)]))


@pytest.mark.parametrize("reset", RESETS)
def test_recurrent_spikes_and_gradients_equal_snntorch(reset: Reset) -> None:
    generator, found = torch.Generator().manual_seed(20), []
    weights = torch.randn(30, 4, 6, generator=generator)
    recurrent = torch.randn(6, 6, generator=generator) * 0.4
    for ours in (False, True):
        cell = snntorch.RLeaky(
            0.8, threshold=0.7, linear_features=6, reset_mechanism=reset, reset_delay=reset != "zero"
        )
        cell.recurrent.weight.data.copy_(recurrent)
        cell.recurrent.bias.data.zero_()
        currents = currents_of(21, 30, 4, 6).requires_grad_()
        if ours:
            params = LIFParams(torch.tensor(0.8), 0.7, reset)
            spikes, _ = recurrent_lif_sequence(currents, None, params, cell.recurrent)
        else:
            spike, membrane, each = torch.zeros(4, 6), torch.zeros(4, 6), []
            for current in currents.unbind(0):
                spike, membrane = cell(current, spike, membrane)
                each.append(spike)
            spikes = torch.stack(each)
        grads = torch.autograd.grad((spikes * weights).sum(), (currents, cell.recurrent.weight))
        found.append((spikes.detach(), *grads))
    (theirs, *their_grads), (mine, *my_grads) = found
    assert 0.1 < theirs.mean() < 0.9
    assert torch.equal(mine, theirs)
    if reset != "zero":  # without the delay, snnTorch sends gradients through the reset
        for my_grad, their_grad in zip(my_grads, their_grads, strict=True):
            torch.testing.assert_close(my_grad, their_grad, rtol=1e-4, atol=1e-4)


@given(seed=st.integers(0, 10_000), cut=st.integers(1, 14), reset=st.sampled_from(RESETS))
@settings(max_examples=20, deadline=None)
def test_recurrent_halves_equal_the_whole(seed: int, cut: int, reset: Reset) -> None:
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed)) * 0.4
    params, currents = LIFParams(torch.tensor(0.9), 0.8, reset), currents_of(seed, 15, 2, 6)
    whole, end = recurrent_lif_sequence(currents, None, params, lambda spikes: spikes @ matrix)
    first, state = recurrent_lif_sequence(currents[:cut], None, params, lambda spikes: spikes @ matrix)
    second, last = recurrent_lif_sequence(currents[cut:], state, params, lambda spikes: spikes @ matrix)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last.membrane, end.membrane)


@given(seed=st.integers(0, 10_000), steps=st.integers(1, 20), shape=st.sampled_from([(), (7,), (2, 5)]))
@settings(max_examples=30, deadline=None)
def test_the_numpy_loop_equals_the_sequence(seed: int, steps: int, shape: tuple[int, ...]) -> None:
    currents = currents_of(seed, steps, 1, *shape)
    expected, _ = lif_sequence(currents, None, LIFParams(torch.tensor(0.9), 0.7))
    found = lif_spikes(np.moveaxis(currents.numpy(), 0, -1), 0.9, 0.7)
    assert found.dtype == np.float32
    assert np.array_equal(np.moveaxis(found, -1, 0), expected.numpy())
    # one neuron alone is the same as among others
    one = currents.reshape(steps, -1)[:, 0].numpy()
    assert np.array_equal(lif_spikes(one, 0.9, 0.7), expected.reshape(steps, -1)[:, 0].numpy())


@given(seed=st.integers(0, 10_000), steps=st.integers(1, 20), shape=st.sampled_from([(7,), (2, 5), (2, 3, 4)]))
@settings(max_examples=30, deadline=None)
def test_the_numpy_sequence_equals_the_sequence(seed: int, steps: int, shape: tuple[int, ...]) -> None:
    currents, start = currents_of(seed, steps, *shape), currents_of(seed + 1, 1, *shape)[0]
    before, beta = start.clone(), torch.linspace(0.7, 0.99, shape[-1])
    expected, last = lif_sequence(currents, LIFState(start), LIFParams(beta, 0.7))
    spikes, after = lif_steps.lif_sequence(currents.numpy(), start.numpy(), beta.numpy(), 0.7)
    assert spikes.dtype == np.float32
    assert after.dtype == np.float32
    assert np.array_equal(spikes, expected.numpy())
    assert np.array_equal(after, last.membrane.numpy())
    assert torch.equal(start, before)


@pytest.mark.parametrize(
    ("currents", "threshold", "said"),
    [
        (np.zeros((3, 0), np.float32), 1.0, r"currents .*at least one step.*\(3, 0\)"),
        (np.float32(1.0), 1.0, r"currents .*\(\)"),
        (np.zeros((3, 2), int), 1.0, "currents .*int64"),
        (np.array([[0.0, np.nan, 0.0]]), 1.0, "NaN"),
        (np.array([[np.inf, 0.0]]), 1.0, "NaN"),
        (np.zeros((3, 2)), float("nan"), "threshold .*NaN"),
    ],
)
def test_the_numpy_loop_refuses_what_does_not_fit(currents: Any, threshold: float, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        lif_spikes(currents, 0.9, threshold)


@given(
    seed=st.integers(0, 10_000),
    steps=st.integers(1, 20),
    neurons=st.integers(1, 700),
    reset=st.sampled_from(RESETS),
    beta=st.floats(0, 1, width=32),
    threshold=st.floats(0.25, 2, width=32),
)
@settings(max_examples=40, deadline=None)
def test_compiled_sequence_equals_a_plain_loop(
    seed: int, steps: int, neurons: int, reset: Reset, beta: float, threshold: float
) -> None:
    currents = currents_of(seed, steps, neurons)
    spikes, state = lif_sequence(currents, None, LIFParams(torch.tensor(beta), threshold, reset))
    u = np.zeros(neurons, np.float32)
    for t in range(steps):
        fired = u > np.float32(threshold)
        if reset == "zero":
            u = np.where(fired, np.float32(0), u)
        u = np.float32(beta) * u + currents[t].numpy()
        if reset == "subtract":
            u = u - fired * np.float32(threshold)
        assert np.array_equal(spikes[t].numpy(), u > np.float32(threshold))
    assert np.array_equal(state.membrane.numpy(), u)


@given(seed=st.integers(0, 10_000), cut=st.integers(1, 19), reset=st.sampled_from(RESETS))
@settings(max_examples=30, deadline=None)
def test_two_halves_with_the_state_carried_over_equal_the_whole(seed: int, cut: int, reset: Reset) -> None:
    params = LIFParams(torch.tensor(0.9), 1.0, reset)
    currents = currents_of(seed, 20, 2, 30)
    whole, end = lif_sequence(currents, None, params)
    first, state = lif_sequence(currents[:cut], None, params)
    second, last = lif_sequence(currents[cut:], state, params)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last.membrane, end.membrane)


@given(seed=st.integers(0, 10_000), changed=st.integers(0, 19))
@settings(max_examples=30, deadline=None)
def test_no_spike_depends_on_a_later_current(seed: int, changed: int) -> None:
    params = LIFParams(torch.tensor(0.9))
    currents = currents_of(seed, 20, 30)
    before = lif_sequence(currents, None, params)[0]
    currents[changed:] += 1
    assert torch.equal(lif_sequence(currents, None, params)[0][:changed], before[:changed])


@pytest.mark.parametrize("reset", RESETS)
def test_gradients_through_the_carried_state_equal_the_reference(reset: Reset) -> None:
    found = []
    for sequence in (lif_sequence, lif_sequence_reference):
        membrane = currents_of(3, 4, 50).requires_grad_()
        currents = currents_of(4, 15, 4, 50).requires_grad_()
        decay = torch.tensor(1.5, requires_grad=True)
        spikes, state = sequence(currents, LIFState(membrane), LIFParams(torch.sigmoid(decay), 0.7, reset))
        torch.autograd.backward((spikes * currents_of(5, 15, 4, 50)).sum() + (state.membrane**2).sum())
        found.append((spikes.detach(), membrane.grad, currents.grad, decay.grad))
    for ours, reference in zip(*found, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)


def test_other_dtypes_run_the_reference() -> None:
    currents = currents_of(6, 10, 5).double()
    spikes, state = lif_sequence(currents, None, LIFParams(torch.tensor(0.9)))
    assert spikes.dtype == state.membrane.dtype == torch.float64


def test_bfloat16_runs_on_cpu() -> None:
    spikes, state = lif_sequence(currents_of(6, 10, 5).bfloat16(), None, LIFParams(torch.tensor(0.9)))
    assert spikes.dtype == state.membrane.dtype == torch.bfloat16


def test_gradients_of_gradients_are_refused_instead_of_wrong() -> None:
    currents, weights = currents_of(6, 10, 5).requires_grad_(), currents_of(7, 10, 5).requires_grad_()
    spikes, _ = lif_sequence(currents, None, LIFParams(torch.tensor(0.9)))
    (grad,) = torch.autograd.grad((spikes * weights).sum(), currents, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(grad.sum() + weights.sum())


def test_layer_decays_by_the_sigmoid() -> None:
    decay, currents = torch.tensor([-1.0, 0.0, 2.0]), currents_of(7, 20, 3)
    beta = 1 / (1 + torch.exp(-decay))
    assert torch.equal(LIF(decay)(currents)[0], lif_sequence(currents, None, LIFParams(beta))[0])


def test_layer_learns_its_decay() -> None:
    layer = LIF(torch.zeros(5))
    torch.autograd.backward(layer(currents_of(7, 10, 3, 5))[0].sum())
    assert layer.decay.grad is not None
    assert layer.decay.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("currents", "state", "reset", "said"),
    [
        (torch.zeros(0, 3), None, "zero", "at least one step"),
        (torch.zeros(3), None, "zero", r"\[steps"),
        (torch.zeros(2, 3), LIFState(torch.zeros(4)), "zero", r"\(4,\)"),
        (torch.zeros(2, 3), None, "hard", "'hard'"),
    ],
)
def test_input_that_does_not_fit_is_refused(currents: Tensor, state: LIFState | None, reset: Reset, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        lif_sequence(currents, state, LIFParams(torch.tensor(0.9), reset=reset))


@pytest.mark.parametrize(
    ("currents", "state", "beta", "said"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), None, torch.tensor(0.9), "currents .*int64"),
        (torch.zeros(2, 3), LIFState(torch.zeros(3).double()), torch.tensor(0.9), "state .*float64"),
        (torch.zeros(2, 3), LIFState(torch.zeros(3, device="meta")), torch.tensor(0.9), "state is on meta"),
        (torch.zeros(2, 3), None, torch.zeros(4), r"beta .*\(4,\)"),
        (torch.tensor([[0.0], [float("nan")], [0.0]]), None, torch.tensor(0.9), "NaN"),
        (torch.tensor([[float("-inf")], [1.0]]), None, torch.tensor(0.0), "NaN"),
    ],
)
@pytest.mark.parametrize("sequence", [lif_sequence, lif_sequence_reference])
def test_types_devices_and_values_that_do_not_fit_are_refused(
    sequence: Sequence, currents: Tensor, state: LIFState | None, beta: Tensor, said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        sequence(currents, state, LIFParams(beta))


@pytest.mark.parametrize(
    ("threshold", "alpha", "said"),
    [
        (float("nan"), 2.0, "threshold .*nan"),
        (float("inf"), 2.0, "threshold .*inf"),
        (1.0, 0.0, "alpha .*above 0, not 0.0"),
        (1.0, float("nan"), "alpha .*nan"),
    ],
)
@pytest.mark.parametrize("sequence", [lif_sequence, lif_sequence_reference])
def test_constants_that_make_no_neuron_are_refused(
    sequence: Sequence, threshold: float, alpha: float, said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        sequence(torch.zeros(2, 3), None, LIFParams(torch.tensor(0.9), threshold, alpha=alpha))

"""The LIF sequence against snnTorch and against a plain loop; the gated recurrence and the norm against torch."""

from collections.abc import Callable

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.lif import LIF, LIFParams, LIFState, Reset, lif_sequence, lif_sequence_reference
from brainnet.snn.norm import EPSILON, RMSNorm
from brainnet.snn.recurrence import gated_scan, gated_scan_reference

Sequence = Callable[[Tensor, LIFState | None, LIFParams], tuple[Tensor, LIFState]]
RESETS: list[Reset] = ["subtract", "zero", "none"]


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


def test_gated_recurrence_and_its_gradients_equal_the_reference() -> None:
    found = []
    for scan in (gated_scan, gated_scan_reference):
        forget = torch.rand(25, 3, 40, generator=torch.Generator().manual_seed(8)).requires_grad_()
        value, state = currents_of(9, 25, 3, 40).requires_grad_(), currents_of(10, 3, 40).requires_grad_()
        hidden, last = scan(forget, value, state)
        torch.autograd.backward((hidden**2).sum() + (last * currents_of(11, 3, 40)).sum())
        found.append((hidden.detach(), last.detach(), forget.grad, value.grad, state.grad))
    for ours, reference in zip(*found, strict=True):
        torch.testing.assert_close(ours, reference)


def test_norm_and_its_gradients_equal_torch() -> None:
    norm = RMSNorm(24)
    torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(12))
    found: list[tuple[Tensor, ...]] = []
    for function in (norm, lambda x: F.rms_norm(x, (24,), norm.weight, EPSILON)):
        norm.weight.grad = None
        x = currents_of(13, 7, 3, 24).requires_grad_()
        y = function(x)
        torch.autograd.backward((y**3).sum())
        assert norm.weight.grad is not None
        found.append((y.detach(), x.grad, norm.weight.grad.clone()))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)

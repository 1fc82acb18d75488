"""The bridge to snnTorch: same spikes, same gradients, in both directions; settings it does not carry are refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import snntorch
import torch
from snntorch import surrogate
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.neurons.lif import LIFParams, LIFState, Reset, lif_sequence
from brainnet.snn.neurons.snntorch_bridge import LeakySequence, from_leaky, to_leaky

RESETS: list[Reset] = ["subtract", "zero", "none"]


def currents_of(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 0.9 - 0.1


def looped(leaky: snntorch.Leaky, currents: Tensor, membrane: Tensor) -> tuple[Tensor, Tensor]:
    """As snnTorch's documentation runs it."""
    spikes = []
    for current in currents.unbind(0):
        spike, membrane = leaky(current, membrane)
        spikes.append(spike)
    return torch.stack(spikes), membrane


@pytest.mark.parametrize("alpha", [2.0, 0.7, 5.0])
@pytest.mark.parametrize("reset", RESETS)
def test_a_leaky_runs_here_with_its_spikes_and_gradients(reset: Reset, alpha: float) -> None:
    weights, found = torch.randn(40, 3, 20, generator=torch.Generator().manual_seed(1)), []
    for ours in (False, True):
        decays = torch.linspace(0.2, 0.99, 20)
        grad = surrogate.atan(alpha=alpha)
        leaky = snntorch.Leaky(decays, threshold=0.7, reset_mechanism=reset, learn_beta=True, spike_grad=grad)
        currents, start = currents_of(2, 40, 3, 20).requires_grad_(), currents_of(3, 3, 20).requires_grad_()
        if ours:
            spikes, state = LeakySequence(leaky)(currents, LIFState(start))
            last = state.membrane
        else:
            spikes, last = looped(leaky, currents, start)
        loss = (spikes * weights).sum() + (last**2).sum()
        found.append((spikes.detach(), last.detach(), *torch.autograd.grad(loss, (currents, start, leaky.beta))))
    theirs, mine = found
    assert 0.1 < theirs[0].mean() < 0.95
    assert torch.equal(mine[0], theirs[0])
    assert torch.equal(mine[1], theirs[1])
    for name, gradient, expected in zip(("currents", "state", "beta"), mine[2:], theirs[2:], strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("alpha", [2.0, 3.3])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("beta", [torch.tensor(0.85), torch.linspace(0.2, 0.99, 20)], ids=["one beta", "many betas"])
def test_our_constants_run_in_snntorch_with_our_spikes_and_gradients(beta: Tensor, reset: Reset, alpha: float) -> None:
    params = LIFParams(beta, 0.6, reset, alpha)
    weights = torch.randn(40, 3, 20, generator=torch.Generator().manual_seed(4))
    theirs_in, ours_in = (currents_of(5, 40, 3, 20).requires_grad_() for _ in range(2))
    theirs, membrane = looped(to_leaky(params), theirs_in, torch.zeros(3, 20))
    ours, state = lif_sequence(ours_in, None, params)
    assert torch.equal(ours, theirs)
    assert torch.equal(state.membrane, membrane)
    (their_grad,) = torch.autograd.grad((theirs * weights).sum(), theirs_in)
    (our_grad,) = torch.autograd.grad((ours * weights).sum(), ours_in)
    torch.testing.assert_close(our_grad, their_grad, rtol=1e-4, atol=1e-5)


def test_in_float64_a_leaky_runs_here_too() -> None:
    leaky = snntorch.Leaky(torch.tensor(0.9, dtype=torch.float64), threshold=0.75)
    currents = currents_of(6, 60, 2, 30).double()
    theirs, membrane = looped(leaky, currents, torch.zeros(2, 30, dtype=torch.float64))
    ours, state = LeakySequence(leaky)(currents)
    assert torch.equal(ours, theirs.double())
    assert torch.equal(state.membrane, membrane)


@pytest.mark.parametrize("reset", RESETS)
def test_there_and_back_keeps_every_constant(reset: Reset) -> None:
    params = LIFParams(torch.tensor([0.3, 0.6]), 0.75, reset, 4.0)
    back = from_leaky(to_leaky(params))
    assert torch.equal(back.beta, params.beta)
    assert (back.threshold, back.reset) == (0.75, reset)
    assert back.alpha == pytest.approx(4.0)


def test_a_leaky_with_defaults_has_our_defaults() -> None:
    theirs = from_leaky(snntorch.Leaky(beta=0.5))
    ours = LIFParams(torch.tensor(0.5))
    assert theirs.beta == ours.beta
    assert (theirs.threshold, theirs.reset, theirs.alpha) == (ours.threshold, ours.reset, ours.alpha)


def test_beta_is_clamped_as_snntorch_clamps_it() -> None:
    assert from_leaky(snntorch.Leaky(beta=1.5)).beta == 1.0
    assert from_leaky(snntorch.Leaky(beta=-0.5)).beta == 0.0


def test_an_optimiser_that_holds_the_leaky_trains_it_here() -> None:
    leaky = snntorch.Leaky(beta=0.5, learn_beta=True)
    sequence, currents = LeakySequence(leaky), currents_of(7, 30, 4, 5)
    assert [*sequence.parameters()] == [leaky.beta]
    optimiser = torch.optim.SGD(leaky.parameters(), lr=0.05)
    before, _ = sequence(currents)
    torch.autograd.backward(-before.mean())
    optimiser.step()
    assert float(leaky.beta.detach()) > 0.5
    after, _ = sequence(currents)
    assert torch.equal(after, looped(leaky, currents, torch.zeros(4, 5))[0])


def test_two_halves_with_the_state_carried_over_equal_the_whole() -> None:
    sequence, currents = LeakySequence(snntorch.Leaky(beta=0.8)), currents_of(8, 20, 3, 4)
    whole, end = sequence(currents)
    first, state = sequence(currents[:7])
    second, last = sequence(currents[7:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last.membrane, end.membrane)


def test_learn_beta_and_init_hidden_reach_snntorch_and_beta_is_a_copy() -> None:
    beta = torch.tensor(0.9)
    learning = to_leaky(LIFParams(beta), learn_beta=True)
    assert learning.beta.requires_grad
    with torch.no_grad():
        learning.beta.fill_(0.1)
    assert float(beta) == pytest.approx(0.9)
    assert not to_leaky(LIFParams(beta)).beta.requires_grad
    hidden = to_leaky(LIFParams(beta), init_hidden=True)
    assert hidden(torch.ones(3)).shape == (3,)


def test_only_neurons_with_hidden_state_stay_in_the_list_of_all_neurons() -> None:
    kept = [*snntorch.SpikingNeuron.instances]
    to_leaky(LIFParams(torch.tensor(0.9)))
    assert [*map(id, snntorch.SpikingNeuron.instances)] == [*map(id, kept)]
    hidden = to_leaky(LIFParams(torch.tensor(0.9)), init_hidden=True)
    assert snntorch.SpikingNeuron.instances[-1] is hidden


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (torch.nn.ReLU, "must be a snntorch.Leaky, not ReLU"),
        (lambda: snntorch.Synaptic(alpha=0.9, beta=0.9), "must be a snntorch.Leaky, not Synaptic"),
        (lambda: snntorch.Leaky(0.9, inhibition=True), "inhibition"),
        (lambda: snntorch.Leaky(0.9, state_quant=lambda mem: mem), "state_quant"),
        (lambda: snntorch.Leaky(0.9, graded_spikes_factor=2.0), "graded_spikes_factor"),
        (lambda: snntorch.Leaky(0.9, learn_graded_spikes_factor=True), "learn_graded_spikes_factor"),
        (lambda: snntorch.Leaky(0.9, learn_threshold=True), "learn_threshold"),
        (lambda: snntorch.Leaky(0.9, threshold=torch.tensor([1.0, 2.0])), "one threshold a neuron"),
        (lambda: snntorch.Leaky(0.9, surrogate_disable=True), "surrogate_disable"),
        (lambda: snntorch.Leaky(0.9, reset_delay=False), "reset_delay=False"),
        (lambda: snntorch.Leaky(0.9, spike_grad=surrogate.fast_sigmoid(slope=2)), "other than .*atan"),
        (lambda: snntorch.Leaky(0.9, spike_grad=surrogate.sigmoid(slope=4)), "other than .*atan"),
        (lambda: snntorch.Leaky(0.9, spike_grad=lambda over: (over > 0).float()), "other than .*atan"),
    ],
)
@pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")
def test_what_the_sequence_does_not_have_is_refused(made: Any, said: str) -> None:
    leaky = made()
    for use in (from_leaky, LeakySequence):
        with pytest.raises(ModelError, match=said):
            use(leaky)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (LIFParams(torch.tensor(1)), "beta .*int64"),
        (LIFParams(torch.tensor([0.5, 1.01])), "beta must be within 0 to 1"),
        (LIFParams(torch.tensor(-0.01)), "beta must be within 0 to 1"),
        (LIFParams(torch.tensor(float("nan"))), "beta must be within 0 to 1"),
        (LIFParams(torch.tensor(0.5), threshold=float("inf")), "threshold .*inf"),
        (LIFParams(torch.tensor(0.5), alpha=0.0), "alpha .*above 0, not 0.0"),
        (LIFParams(torch.tensor(0.5), reset="hard"), "reset .*'hard'"),  # type: ignore[arg-type]
    ],
)
def test_constants_that_make_no_leaky_are_refused(params: LIFParams, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        to_leaky(params)


@pytest.mark.parametrize(
    ("currents", "state", "said"),
    [
        (torch.zeros(0, 3), None, "currents .*at least one step"),
        (torch.zeros(2, 3, dtype=torch.int64), None, "currents .*int64"),
        (torch.full((2, 3), float("nan")), None, "NaN"),
        (torch.zeros(2, 3), LIFState(torch.zeros(4)), r"state .*\(4,\)"),
    ],
)
def test_input_that_does_not_fit_is_refused(currents: Tensor, state: LIFState | None, said: str) -> None:
    sequence = LeakySequence(snntorch.Leaky(0.9))
    with pytest.raises(ModelError, match=said):
        sequence(currents, state)


def test_the_neurons_themselves_do_not_load_snntorch() -> None:
    names = ("adaptive_lif", "biological_lif", "integer_lif", "izhikevich", "lif", "lif_steps")
    modules = ", ".join(f"brainnet.snn.neurons.{name}" for name in names)
    code = f"import sys, {modules}; print('snntorch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

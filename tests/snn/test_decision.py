"""A decision and the working memory behind it, as pure functions, and as the router uses them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.models.decision import Decision, DecisionParams, decide
from brainnet.snn.models.quantum import modulate, select_routes
from brainnet.snn.models.router import RouterConfig
from brainnet.snn.models.router_network import RouterNet
from brainnet.snn.models.working_memory import run_working_memory
from brainnet.snn.neurons.lif import LIFParams, LIFState, lif_sequence_reference

NAMES = ("vision", "language", "motor")


def test_a_decision_by_hand() -> None:
    """Two regions at 3:1, in numbers that a pocket calculator gives."""
    decision = decide([math.log(3), 0.0], ["vision", "language"])
    made = decision.modulation
    assert made.probs == pytest.approx([0.75, 0.25])
    assert made.entropy == pytest.approx(0.562335145)
    assert made.alpha == pytest.approx(0.0853345699, abs=1e-9)  # cos^2(90 degrees * 0.811278124)
    assert made.temperature == pytest.approx(11.7184429)
    assert made.threshold == pytest.approx(1.182933086)
    assert made.route_probs == pytest.approx([0.52342052, 0.47657948])
    assert decision.chosen == ("vision", "language")
    assert decide([math.log(3), 0.0], NAMES[:2], params=DecisionParams(mass=0.5)).chosen == ("vision",)


def test_defaults_are_the_published_constants_and_the_clamp() -> None:
    assert DecisionParams() == (0.8, 1.0, 0.2, 1e-6, 20.0)


@given(scores=st.lists(st.floats(-8, 8), min_size=3, max_size=3), there=st.sets(st.sampled_from(NAMES), min_size=1))
def test_rows_run_over_the_available_names(scores: list[float], there: set[str]) -> None:
    decision = decide(scores, NAMES, there | {"olfactory"})
    row = [score for score, name in zip(scores, NAMES, strict=True) if name in there]
    made = modulate(row)
    assert decision.names == tuple(name for name in NAMES if name in there)
    assert decision.scores.tolist() == row
    assert np.array_equal(decision.modulation.route_probs, made.route_probs)
    assert decision.chosen == tuple(decision.names[i] for i in select_routes(made.route_probs))


def test_constants_reach_the_equations() -> None:
    params = DecisionParams(mass=1.0, base_threshold=3.0, plasticity=0.5, epsilon=0.1, max_temperature=5.0)
    made = modulate([2.0, 1.0, 0.0], base_threshold=3.0, plasticity=0.5, epsilon=0.1, max_temperature=5.0)
    decision = decide([2.0, 1.0, 0.0], NAMES, params=params)
    assert decision.modulation.threshold == made.threshold
    assert decision.modulation.temperature == made.temperature
    assert set(decision.chosen) == set(NAMES)


def currents_of(seed: int, steps: int = 10, positions: int = 4, width: int = 6) -> Tensor:
    return torch.rand(steps, positions, width, generator=torch.Generator().manual_seed(seed))


def read_out(spikes: Tensor) -> Tensor:
    """Scores of three regions: what two channels each fire."""
    return spikes.mean((0, 1)).reshape(3, 2).sum(1) * 6


def decide_after(
    currents: Tensor, membrane: Tensor | None, threshold: float, beta: Tensor, available: set[str] | None = None
) -> tuple[Decision, Tensor]:
    """One prompt [T, L, D] of a session: the decision, and the membrane potential [D] for its next prompt."""
    spikes, after = run_working_memory(
        currents[:, None],
        torch.ones(1, currents.shape[1], dtype=torch.bool),
        None if membrane is None else membrane[None],
        LIFParams(beta, threshold),
    )
    return decide(read_out(spikes[:, 0]), NAMES, available), after[0]


def test_the_next_prompt_starts_from_the_mean_potential_at_the_threshold_of_the_last_decision() -> None:
    membrane, threshold, carried, beta = torch.zeros(6).double(), 1.0, None, torch.tensor(0.8)
    for seed in range(4):
        # every position is a row of its own, stepped in plain torch
        rows = currents_of(seed).double()
        potential, fired, spikes = membrane.expand(4, 6), membrane.expand(4, 6) > threshold, []
        for current in rows:
            potential = 0.8 * potential + current - threshold * fired
            fired = potential > threshold
            spikes.append(fired)
        decision, carried = decide_after(currents_of(seed), carried, threshold, beta)
        membrane, threshold = potential.mean(0), decision.modulation.threshold
        assert decision.scores == pytest.approx(read_out(torch.stack(spikes).float()).numpy())
        torch.testing.assert_close(carried.double(), membrane, rtol=1e-5, atol=1e-6)
        assert threshold == pytest.approx(1 + 0.2 * (1 - decision.modulation.alpha))
    assert threshold > 1.001


def test_a_prompt_depends_on_its_predecessor_and_changes_no_state() -> None:
    beta = torch.tensor(0.9)
    alone, _ = decide_after(currents_of(2), None, 1.0, beta)
    first, membrane = decide_after(currents_of(1), None, 1.0, beta)
    before, threshold = membrane.clone(), first.modulation.threshold
    later, _ = decide_after(currents_of(2), membrane, threshold, beta)
    again, _ = decide_after(currents_of(2), membrane, threshold, beta)
    assert not np.array_equal(later.scores, alone.scores)
    assert np.array_equal(later.scores, again.scores)
    with pytest.raises(ModelError, match=r"available names \['olfactory'\].*vision"):
        decide_after(currents_of(4), membrane, threshold, beta, {"olfactory"})
    assert torch.equal(membrane, before)


def test_absent_positions_are_as_if_they_were_not_there() -> None:
    currents, params = currents_of(5)[:, None].expand(-1, 3, -1, -1), LIFParams(torch.tensor(0.9))
    membrane, lengths = torch.full((3, 6), 0.4), (2, 1, 0)
    present = torch.arange(4) < torch.tensor(lengths)[:, None]
    spikes, after = run_working_memory(currents, present, membrane, params)
    for row, length in enumerate(lengths[:2]):
        there = torch.ones(1, length, dtype=torch.bool)
        short, after_short = run_working_memory(currents[:, :1, :length], there, membrane[:1], params)
        assert torch.equal(spikes[:, row, :length], short[:, 0])
        assert short.any()
        assert not spikes[:, row, length:].any()
        torch.testing.assert_close(after[row], after_short[0])
    assert not spikes[:, 2].any()
    assert not after[2].any()


def test_the_mean_over_one_position_is_its_potential() -> None:
    currents, params = currents_of(7, positions=1)[:, None], LIFParams(torch.tensor(0.9))
    _, after = run_working_memory(currents, torch.ones(1, 1, dtype=torch.bool), None, params)
    _, last = lif_sequence_reference(currents, LIFState(torch.zeros(1, 1, 6)), params)
    torch.testing.assert_close(after, last.membrane[:, 0])


def test_memory_is_differentiable() -> None:
    currents = currents_of(6)[:, None].requires_grad_()
    present = torch.ones(1, 4, dtype=torch.bool)
    weights = torch.rand(10, 1, 4, 6, generator=torch.Generator().manual_seed(9))
    params = LIFParams(torch.tensor(0.9))
    spikes, after = run_working_memory(currents, present, torch.full((1, 6), 0.3), params)
    (gradient,) = torch.autograd.grad((spikes * weights).sum() + after.sum(), currents)
    state = LIFState(torch.full((1, 4, 6), 0.3))
    expected, last = lif_sequence_reference(currents, state, params)
    (reference,) = torch.autograd.grad((expected * weights).sum() + last.membrane.mean(1).sum(), currents)
    torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-6)


def test_the_router_uses_the_same_working_memory() -> None:
    """Batches are second in the one and first in the other."""
    torch.manual_seed(3)
    config = RouterConfig(routes=NAMES, steps=8, positions=4, width=6, heads=2)
    net, carried, membrane, threshold = RouterNet(config, vocabulary=20).eval(), None, None, 1.0
    for tokens in ([3, 7, 9, 2], [5, 5, 1], [8]):
        present = torch.ones(1, len(tokens), dtype=torch.bool)
        with torch.inference_mode():
            spikes = net.encoder(torch.tensor([tokens]))
            currents, params = net.input(spikes).transpose(0, 1), LIFParams(net.beta, threshold)
            memory, membrane = net.run_working_memory(spikes, present, membrane, threshold)
            expected, carried = run_working_memory(currents, present, carried, params)
            threshold = decide(read_out(memory[0]), NAMES).modulation.threshold
        assert torch.equal(memory[0], expected[:, 0])
        assert torch.equal(membrane, carried)
        assert threshold > 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: decide([1.0], NAMES), r"one for each of 3 names, got shape \(1,\)"),
        (lambda: decide([1.0, 2.0, 3.0], NAMES, []), "none of the available names"),
        (lambda: decide([1.0, 2.0, math.nan], NAMES), "NaN"),
        (lambda: decide([1.0, 2.0, 3.0], NAMES, params=DecisionParams(mass=0)), "mass"),
        (lambda: working_memory_of(torch.zeros(3, 1, 4)), "currents must be"),
        (lambda: working_memory_of(torch.zeros(3, 1, 5, 6)), "present"),
        (lambda: working_memory_of(torch.zeros(3, 1, 4, 6), torch.zeros(1, 5)), r"membrane must be .* = \(1, 6\)"),
        (lambda: working_memory_of(torch.zeros(0, 1, 4, 6)), "at least one step"),
        (lambda: working_memory_of(torch.full((3, 1, 4, 6), math.inf)), "finite"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, said: str) -> None:
    assert callable(call)
    with pytest.raises(ModelError, match=said):
        call()


def working_memory_of(currents: Tensor, membrane: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return run_working_memory(currents, torch.ones(1, 4, dtype=torch.bool), membrane, LIFParams(torch.tensor(0.9)))


def test_a_decision_is_frozen() -> None:
    decision: Decision = decide([1.0, 0.0, 0.0], NAMES)
    with pytest.raises(AttributeError):
        decision.chosen = ()  # type: ignore[misc]

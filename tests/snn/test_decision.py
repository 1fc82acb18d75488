"""The decision engine: its equations end to end, the memory of a session, and the router that is built on the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.models.decision import Decision, DecisionEngine, DecisionParams, decide, remember
from brainnet.snn.models.quantum import choose, modulate
from brainnet.snn.models.router import RouterConfig, RouterNet
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
    engine = DecisionEngine(NAMES, read_out)
    assert (engine.beta, engine.params, engine.limit) == (0.9, DecisionParams(), 256)


@given(scores=st.lists(st.floats(-8, 8), min_size=3, max_size=3), there=st.sets(st.sampled_from(NAMES), min_size=1))
def test_rows_run_over_the_available_names(scores: list[float], there: set[str]) -> None:
    decision = decide(scores, NAMES, there | {"olfactory"})
    row = [score for score, name in zip(scores, NAMES, strict=True) if name in there]
    made = modulate(row)
    assert decision.names == tuple(name for name in NAMES if name in there)
    assert decision.scores.tolist() == row
    assert np.array_equal(decision.modulation.route_probs, made.route_probs)
    assert decision.chosen == tuple(decision.names[i] for i in choose(made.route_probs))


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


def test_each_session_has_a_memory_of_its_own() -> None:
    engine = DecisionEngine(NAMES, read_out)
    first, second = currents_of(1), currents_of(2)
    alone = engine.decide(second)
    assert engine.memory("") is None
    engine.decide(first, "a")
    assert engine.memory("b") is None
    fresh = engine.decide(second, "b")
    assert np.array_equal(fresh.scores, alone.scores)
    later = engine.decide(second, "a")
    assert not np.array_equal(later.scores, alone.scores)
    engine.forget("a")
    engine.forget("never was")
    assert np.array_equal(engine.decide(second, "a").scores, alone.scores)


def test_the_next_prompt_starts_from_the_mean_potential_at_the_threshold_of_the_last_decision() -> None:
    engine = DecisionEngine(NAMES, read_out, beta=0.8)
    membrane, threshold = torch.zeros(6), 1.0
    for seed in range(4):
        # every position is a row of its own, stepped in plain torch
        rows = currents_of(seed).double()
        potential, fired, spikes = membrane.double().expand(4, 6), membrane.double().expand(4, 6) > threshold, []
        for current in rows:
            potential = 0.8 * potential + current - threshold * fired
            fired = potential > threshold
            spikes.append(fired)
        decision = engine.decide(currents_of(seed), "s")
        membrane, threshold = potential.mean(0), decision.modulation.threshold
        held = engine.memory("s")
        assert held is not None
        assert decision.scores == pytest.approx(read_out(torch.stack(spikes).float()).numpy())
        torch.testing.assert_close(held.membrane.double(), membrane, rtol=1e-5, atol=1e-6)
        assert held.threshold == threshold
        assert threshold == pytest.approx(1 + 0.2 * (1 - decision.modulation.alpha))
    assert threshold > 1.001


def test_the_least_recently_used_session_is_forgotten() -> None:
    engine = DecisionEngine(NAMES, read_out, sessions=2)
    for session in ("a", "b", "a", "c"):
        engine.decide(currents_of(3), session)
    assert [engine.memory(session) is None for session in "abc"] == [False, True, False]


def test_a_prompt_that_cannot_be_decided_leaves_the_session_as_it_was() -> None:
    engine = DecisionEngine(NAMES, read_out)
    engine.decide(currents_of(3), "a")
    held = engine.memory("a")
    with pytest.raises(ModelError, match=r"available names \['olfactory'\].*vision"):
        engine.decide(currents_of(4), "a", {"olfactory"})
    assert engine.memory("a") is held


def test_absent_positions_are_as_if_they_were_not_there() -> None:
    currents, params = currents_of(5)[:, None].expand(-1, 3, -1, -1), LIFParams(torch.tensor(0.9))
    membrane, lengths = torch.full((3, 6), 0.4), (2, 1, 0)
    present = torch.arange(4) < torch.tensor(lengths)[:, None]
    spikes, kept = remember(currents, present, membrane, params)
    for row, length in enumerate(lengths[:2]):
        there = torch.ones(1, length, dtype=torch.bool)
        short, kept_short = remember(currents[:, :1, :length], there, membrane[:1], params)
        assert torch.equal(spikes[:, row, :length], short[:, 0])
        assert short.any()
        assert not spikes[:, row, length:].any()
        torch.testing.assert_close(kept[row], kept_short[0])
    assert not spikes[:, 2].any()
    assert not kept[2].any()


def test_memory_is_differentiable() -> None:
    currents = currents_of(6)[:, None].requires_grad_()
    present = torch.ones(1, 4, dtype=torch.bool)
    weights = torch.rand(10, 1, 4, 6, generator=torch.Generator().manual_seed(9))
    params = LIFParams(torch.tensor(0.9))
    spikes, kept = remember(currents, present, torch.full((1, 6), 0.3), params)
    (gradient,) = torch.autograd.grad((spikes * weights).sum() + kept.sum(), currents)
    state = LIFState(torch.full((1, 4, 6), 0.3))
    expected, after = lif_sequence_reference(currents, state, params)
    (reference,) = torch.autograd.grad((expected * weights).sum() + after.membrane.mean(1).sum(), currents)
    torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-6)


def test_the_router_remembers_as_the_engine_does() -> None:
    """One working memory, written twice: the router's, for batches and training, and the engine's."""
    torch.manual_seed(3)
    config = RouterConfig(routes=NAMES, steps=8, positions=4, width=6, heads=2)
    net, seen = RouterNet(config, vocabulary=20).eval(), []

    def score(memory: Tensor) -> Tensor:
        seen.append(memory)
        return read_out(memory)

    engine = DecisionEngine(NAMES, score, beta=net.beta.detach())
    membrane, threshold = None, None
    for tokens in ([3, 7, 9, 2], [5, 5, 1], [8]):
        present = torch.ones(1, len(tokens), dtype=torch.bool)
        with torch.inference_mode():
            spikes = net.encoder(torch.tensor([tokens]))
            memory, membrane = net.remember(spikes, present, membrane, threshold)
            threshold = engine.decide(net.input(spikes)[0], "s").modulation.threshold
        assert torch.equal(seen[-1], memory[0])
        held = engine.memory("s")
        assert held is not None
        torch.testing.assert_close(held.membrane, membrane[0])
        assert held.threshold == threshold > 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: decide([1.0], NAMES), r"one for each of 3 names, got shape \(1,\)"),
        (lambda: decide([1.0, 2.0, 3.0], NAMES, []), "none of the available names"),
        (lambda: decide([1.0, 2.0, math.nan], NAMES), "NaN"),
        (lambda: decide([1.0, 2.0, 3.0], NAMES, params=DecisionParams(mass=0)), "mass"),
        (lambda: remembered(torch.zeros(3, 1, 4)), "currents must be"),
        (lambda: remembered(torch.zeros(3, 1, 5, 6)), "present"),
        (lambda: remembered(torch.zeros(3, 1, 4, 6), torch.zeros(1, 5)), r"membrane must be .* = \(1, 6\)"),
        (lambda: remembered(torch.zeros(0, 1, 4, 6)), "at least one step"),
        (lambda: remembered(torch.full((3, 1, 4, 6), math.inf)), "finite"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, said: str) -> None:
    assert callable(call)
    with pytest.raises(ModelError, match=said):
        call()


def remembered(currents: Tensor, membrane: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return remember(currents, torch.ones(1, 4, dtype=torch.bool), membrane, LIFParams(torch.tensor(0.9)))


def test_a_decision_is_frozen() -> None:
    decision: Decision = decide([1.0, 0.0, 0.0], NAMES)
    with pytest.raises(AttributeError):
        decision.chosen = ()  # type: ignore[misc]

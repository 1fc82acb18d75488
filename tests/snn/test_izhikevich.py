"""Izhikevich's neuron against Brian2, the firing patterns of the paper, and its equations in closed form."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.neurons.izhikevich import (
    PATTERNS,
    Izhikevich,
    IzhikevichParams,
    IzhikevichState,
    izhikevich_sequence,
    resting_state,
)

GOLDEN = [
    case
    for case in json.loads((Path(__file__).parent / "golden" / "brian2_spikes.json").read_text())
    if case["model"] == "izhikevich"
]
CELLS = sorted(PATTERNS)
QUIET = (0.0, 50.0)


def drive(segments: list[tuple[float, float]], dt: float) -> Tensor:
    """Currents in pieces of (current, ms)."""
    return torch.cat([torch.full((round(ms / dt),), current, dtype=torch.float64) for current, ms in segments])


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def currents_of(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 30 - 5


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['cell']}, dt {case['dt']}, {len(case['segments'])}")
def test_fires_when_brian2_does(case: dict[str, Any]) -> None:
    params = PATTERNS[case["cell"]]._replace(dt=case["dt"])
    start = IzhikevichState(*(number(value) for value in case["start"]))
    spikes, _ = izhikevich_sequence(drive(case["segments"], case["dt"]), start, params)
    assert torch.nonzero(spikes).flatten().tolist() == case["spikes"]


def test_cells_have_the_constants_of_the_paper_and_the_default_is_regular_spiking() -> None:
    published = {case["cell"]: case["constants"] for case in GOLDEN}
    assert {cell: [params.a, params.b, params.c, params.d] for cell, params in PATTERNS.items()} == published
    assert {params.dt for params in PATTERNS.values()} == {0.5}
    assert IzhikevichParams() == PATTERNS["regular spiking"] == (0.02, 0.2, -65.0, 8.0, 0.5, 2.0)


def fired(cell: str, *segments: tuple[float, float]) -> list[float]:
    """Spike times in ms of a published cell that starts at rest, with the constants as they are."""
    spikes, _ = izhikevich_sequence(drive([*segments], 0.5), None, PATTERNS[cell])
    times: list[float] = (torch.nonzero(spikes).flatten() * 0.5).tolist()
    return times


def intervals(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


def step(cell: str, current: float = 10.0) -> list[float]:
    """The interspike intervals under a step of current."""
    return intervals(fired(cell, QUIET, (current, 400.0)))


def test_regular_spiking_adapts_to_a_slow_rate() -> None:
    first, *later = step("regular spiking")
    assert first < 0.5 * later[0]
    assert all(30 < interval < 60 for interval in later)


def test_intrinsically_bursting_bursts_once_and_then_fires_single_spikes() -> None:
    found = step("intrinsically bursting")
    assert all(interval < 8 for interval in found[:2])
    assert len(found) > 8
    assert all(interval > 25 for interval in found[2:])


def test_chattering_fires_burst_after_burst() -> None:
    found = step("chattering")
    pauses = [i for i, interval in enumerate(found) if interval > 30]
    assert len(pauses) >= 5
    assert all(interval < 10 or interval > 30 for interval in found)
    assert all(after - before >= 4 for before, after in itertools.pairwise(pauses))  # spikes of a burst


def test_fast_spiking_fires_fast_without_adapting() -> None:
    found = step("fast spiking")
    assert len(found) > 4 * len(step("regular spiking"))
    assert max(found[2:]) < 1.3 * min(found[2:])


def test_low_threshold_spiking_adapts_and_fires_at_currents_that_leave_others_silent() -> None:
    found = step("low-threshold spiking")
    assert len(found) > 2 * len(step("regular spiking"))
    assert found[:6] == sorted(found[:6])
    assert found[-1] > 3 * found[0]
    assert len(fired("low-threshold spiking", QUIET, (2.0, 400.0))) > 5
    for cell in ("regular spiking", "intrinsically bursting", "chattering", "fast spiking"):
        assert fired(cell, QUIET, (2.0, 400.0)) == []


def test_thalamo_cortical_fires_tonically_and_bursts_when_released_from_inhibition() -> None:
    tonic = step("thalamo-cortical", 2.0)
    assert len(tonic) > 10
    assert max(tonic[-5:]) < 1.3 * min(tonic[-5:])
    rebound = fired("thalamo-cortical", QUIET, (-10.0, 200.0), (0.0, 200.0))
    assert len(rebound) >= 3
    assert all(time > 250 for time in rebound)
    assert min(intervals(rebound)) < 10
    assert fired("regular spiking", QUIET, (-10.0, 200.0), (0.0, 200.0)) == []


def swings(cell: str) -> int:
    """How often the potential crosses its resting value after a kick too weak for a spike."""
    params, b = PATTERNS[cell], PATTERNS[cell].b
    rest = resting_state(number(float(b)))
    state, above = IzhikevichState(rest.v + 2.0, rest.u), []
    for _ in range(300):
        spikes, state = izhikevich_sequence(torch.zeros(1, dtype=torch.float64), state, params)
        assert not spikes.any()
        above.append(bool(state.v > rest.v))
    return sum(before != after for before, after in itertools.pairwise(above))


def test_resonator_swings_below_threshold_and_a_pulse_switches_its_firing_on() -> None:
    assert swings("resonator") >= 4
    assert swings("regular spiking") <= 1
    switched = fired("resonator", QUIET, (0.2, 300.0), (2.2, 4.0), (0.2, 600.0))
    assert all(time > 350 for time in switched)
    assert len([time for time in switched if time > 550]) > 5


def test_one_step_is_one_euler_step_from_the_same_state() -> None:
    v, u = number(-60.0), number(-12.0)
    params = IzhikevichParams(a=0.03, b=0.25, dt=0.25)
    spikes, after = izhikevich_sequence(torch.tensor([7.0], dtype=torch.float64), IzhikevichState(v, u), params)
    # 0.04 * 3600 + 5 * -60 + 140 + 12 + 7 = 3; 0.25 * -60 + 12 = -3
    assert spikes.tolist() == [0]
    assert float(after.v) == pytest.approx(-60 + 0.25 * 3, abs=1e-12)
    assert float(after.u) == pytest.approx(-12 - 0.25 * 0.03 * 3, abs=1e-12)


@pytest.mark.parametrize(("v_next", "fires"), [(29.999, False), (30.0, True), (30.001, True), (500.0, True)])
def test_fires_at_30_mv_then_v_is_c_and_u_has_grown_by_d(v_next: float, fires: bool) -> None:
    # from v = 0 and u = 0, with dt 1, v becomes 140 + I
    start = IzhikevichState(number(0.0), number(0.0))
    params = IzhikevichParams(c=-61.0, d=5.0, dt=1.0)
    spikes, after = izhikevich_sequence(torch.tensor([v_next - 140], dtype=torch.float64), start, params)
    assert spikes.tolist() == [fires]
    assert float(after.v) == pytest.approx(-61.0 if fires else v_next)
    assert float(after.u) == (5.0 if fires else 0.0)


def test_constants_may_differ_between_neurons() -> None:
    a, b, c, d = (torch.tensor([float(getattr(PATTERNS[cell], name)) for cell in CELLS]).double() for name in "abcd")
    currents = drive([QUIET, (10.0, 200.0)], 0.5)
    together, _ = izhikevich_sequence(currents[:, None].expand(-1, len(CELLS)), None, IzhikevichParams(a, b, c, d))
    assert together.sum() > 100
    for n in range(len(CELLS)):
        alone, _ = izhikevich_sequence(currents, None, IzhikevichParams(a[n], b[n], c[n], d[n]))
        assert torch.equal(together[:, n], alone)


@pytest.mark.parametrize("cell", CELLS)
def test_rest_is_where_nothing_moves(cell: str) -> None:
    rest = resting_state(number(float(PATTERNS[cell].b)))
    assert 0.04 * rest.v**2 + 5 * rest.v + 140 == pytest.approx(float(rest.u), abs=1e-9)
    assert rest.u == pytest.approx(float(PATTERNS[cell].b * rest.v))
    spikes, after = izhikevich_sequence(torch.zeros(2000, dtype=torch.float64), None, PATTERNS[cell])
    assert not spikes.any()
    assert float(after.v) == pytest.approx(float(rest.v), abs=1e-6)


def test_rest_of_regular_spiking_is_minus_70_mv() -> None:
    assert float(resting_state(number(0.2)).v) == pytest.approx(-70.0)


@given(
    seed=st.integers(0, 10_000),
    cut=st.integers(1, 29),
    cell=st.sampled_from(CELLS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=30, deadline=None)
def test_two_halves_with_the_state_carried_over_equal_the_whole(
    seed: int, cut: int, cell: str, dtype: torch.dtype
) -> None:
    currents = currents_of(seed, 30, 2, 3).to(dtype)
    whole, end = izhikevich_sequence(currents, None, PATTERNS[cell])
    first, state = izhikevich_sequence(currents[:cut], None, PATTERNS[cell])
    second, last = izhikevich_sequence(currents[cut:], state, PATTERNS[cell])
    assert whole.dtype == end.v.dtype == end.u.dtype == dtype
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last.v, end.v)
    assert torch.equal(last.u, end.u)


def test_gradients_of_the_state_without_a_spike_are_those_of_the_equations() -> None:
    def last(currents: Tensor, v: Tensor, u: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return izhikevich_sequence(currents, IzhikevichState(v, u), IzhikevichParams(a, b))[1]

    inputs = [currents_of(1, 6, 3) / 10, currents_of(2, 3) / 10 - 66, currents_of(3, 3) / 10 - 13]
    inputs += [number(0.02), number(0.2)]
    assert torch.autograd.gradcheck(last, tuple(value.requires_grad_() for value in inputs))


@pytest.mark.parametrize("params", [IzhikevichParams(), IzhikevichParams(0.1, 0.25, -55.0, 3.0, 0.25, 0.8)])
def test_surrogate_gradients_equal_a_loop_of_their_own(params: IzhikevichParams) -> None:
    """Sensitivities of v and u to every current and to d, carried forward through time beside them."""
    a, b, c, d = (float(value) for value in params[:4])
    dt, alpha, steps = params.dt, params.alpha, 120
    currents, weights = (currents_of(4, steps) + 5).requires_grad_(), currents_of(5, steps)
    growth = number(d).requires_grad_()
    start = IzhikevichState(number(-65.0), number(-65.0 * b))
    spikes, _ = izhikevich_sequence(currents, start, params._replace(d=growth))
    assert spikes.sum() >= 2
    grad, grad_d = torch.autograd.grad((spikes * weights).sum(), (currents, growth))

    v, u, drives, expected = -65.0, -65.0 * b, currents.detach().numpy(), np.zeros(steps + 1)
    dv, du = np.zeros(steps + 1), np.zeros(steps + 1)  # the last entry is the sensitivity to d
    for t in range(steps):
        new_dv = dv + dt * ((0.08 * v + 5) * dv - du)
        new_dv[t] += dt
        dv, du = new_dv, du + dt * a * (b * dv - du)
        v, u = v + dt * (0.04 * v * v + 5 * v + 140 - u + drives[t]), u + dt * a * (b * v - u)
        over = (v - 30) / (30 - c)
        slope = alpha / 2 / (1 + (math.pi / 2 * alpha * over) ** 2) / (30 - c)
        expected += float(weights[t]) * slope * dv
        if v >= 30:
            assert spikes[t] == 1
            v, u, dv = c, u + d, np.zeros(steps + 1)
            du[-1] += 1
    np.testing.assert_allclose(grad.numpy(), expected[:-1], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(float(grad_d), expected[-1], rtol=1e-7)


def test_the_surrogate_reaches_c_only_through_its_width_and_the_reset() -> None:
    c = number(-65.0).requires_grad_()
    params = IzhikevichParams(c=c, dt=1.0)
    start = IzhikevichState(number(0.0), number(0.0))
    spikes, after = izhikevich_sequence(torch.tensor([-120.0], dtype=torch.float64), start, params)
    (grad,) = torch.autograd.grad(spikes.sum(), c)
    over = (20.0 - 30) / 95
    assert float(grad) == pytest.approx(over / 95 / (1 + (math.pi * over) ** 2))
    assert float(after.v.detach()) == 20.0


def test_module_is_the_function_with_its_constants() -> None:
    currents = currents_of(6, 100, 4)
    for module, constants in ((Izhikevich(PATTERNS["chattering"]), PATTERNS["chattering"]), (Izhikevich(), None)):
        first, state = module(currents[:40])
        second, _ = module(currents[40:], state)
        assert torch.equal(torch.cat([first, second]), izhikevich_sequence(currents, None, constants)[0])


FINE = IzhikevichParams()
NAN = float("nan")
ZERO = torch.zeros(3)


@pytest.mark.parametrize(
    ("currents", "state", "params", "said"),
    [
        (torch.zeros(0, 3), None, FINE, r"currents .*at least one step.*\(0, 3\)"),
        (torch.tensor(1.0), None, FINE, r"currents .*\(\)"),
        (torch.zeros(2, 3, dtype=torch.int64), None, FINE, "currents .*int64"),
        (torch.tensor([[0.0, NAN, 0.0]]), None, FINE, "currents must be finite"),
        (torch.zeros(2, 3), (torch.zeros(4), ZERO), FINE, r"state.v .*\(4,\).*\(3,\)"),
        (torch.zeros(2, 3), (ZERO, torch.zeros(4)), FINE, r"state.u .*\(4,\).*\(3,\)"),
        (torch.zeros(2, 3), (ZERO.double(), ZERO), FINE, "state.v .*float64.*float32"),
        (torch.zeros(2, 3), (ZERO, ZERO.to("meta")), FINE, "state.u .*meta.*cpu"),
        (torch.zeros(2, 3), (torch.full((3,), NAN), ZERO), FINE, "state.v must be finite"),
        (torch.zeros(2, 3), None, FINE._replace(a=torch.zeros(4)), r"a .*\(4,\).*\(3,\)"),
        (torch.zeros(2, 3), None, FINE._replace(d=torch.zeros(3, device="meta")), "d is on meta"),
        (torch.zeros(2, 3), None, FINE._replace(a=NAN), "a must be finite"),
        (torch.zeros(2, 3), None, FINE._replace(dt=0.0), "dt .*above 0, not 0.0"),
        (torch.zeros(2, 3), None, FINE._replace(alpha=NAN), "alpha .*nan"),
        (torch.zeros(2, 3), None, FINE._replace(c=30.0), "c must lie below .*30 mV"),
        (torch.zeros(2, 3), None, FINE._replace(c=torch.tensor([-65.0, -65.0, 31.0])), "c must lie below"),
        (torch.zeros(2, 3), None, FINE._replace(b=0.268), r"b must be at most 0\.2671"),
        (torch.zeros(9, 3), (torch.full((3,), -3e38), ZERO), FINE, "v must be finite"),
        (torch.zeros(1, 3), (ZERO, torch.full((3,), 1e30)), FINE._replace(a=-1e18), "u must be finite"),
    ],
)
def test_input_that_does_not_fit_is_refused(currents: Tensor, state: Any, params: IzhikevichParams, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        izhikevich_sequence(currents, None if state is None else IzhikevichState(*state), params)


def test_rest_exists_up_to_the_bound_that_is_named() -> None:
    bound = 5 - math.sqrt(22.4)
    # there the two equilibria meet, v = -(5 - b) / 0.08
    assert float(resting_state(number(bound - 1e-12)).v) == pytest.approx(-math.sqrt(22.4) / 0.08, abs=1e-4)
    with pytest.raises(ModelError, match=f"at most {bound:.4f}"):
        resting_state(number(bound + 1e-12))

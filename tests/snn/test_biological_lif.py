"""The LIF in biological units against Brian2, the analytic rate curve, and its equation in closed form."""

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
from brainnet.snn.neurons.biological_lif import (
    BiologicalLIF,
    BiologicalLIFParams,
    BiologicalLIFState,
    biological_lif_sequence,
)

GOLDEN = [
    case
    for case in json.loads((Path(__file__).parent / "golden" / "brian2_spikes.json").read_text())
    if case["model"] == "biological"
]
DECAY = math.exp(-1 / 20)
"""Of the default neuron in a step of 1 ms."""


def drive_of(seed: int, *shape: int) -> Tensor:
    """In mV, around what the default neuron needs to fire."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 120 - 20


def spike_steps(drive: Tensor, params: BiologicalLIFParams) -> list[int]:
    spikes, _ = biological_lif_sequence(drive, None, params)
    return torch.nonzero(spikes).flatten().tolist()


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['drive']}, dt {case['dt']}")
def test_fires_when_brian2_does(case: dict[str, Any]) -> None:
    pieces = [torch.full((round(length / case["dt"]),), level) for level, length in case["segments"]]
    params = BiologicalLIFParams(dt=case["dt"])
    assert spike_steps(torch.cat(pieces).double(), params) == case["spikes"]


def test_constants_are_those_of_the_spec() -> None:
    params = BiologicalLIFParams()
    assert (params.v_rest, params.v_threshold, params.tau_m, params.refractory) == (-70, -55, 20, 2)
    assert (params.v_reset, params.dt, params.alpha) == (-70, 1, 2)


@pytest.mark.parametrize(
    "params",
    [
        BiologicalLIFParams(dt=0.05),
        BiologicalLIFParams(v_rest=-65.0, v_threshold=-50.0, v_reset=-72.0, tau_m=7.0, refractory=0.0, dt=0.05),
        BiologicalLIFParams(v_rest=-70.0, v_threshold=-58.0, v_reset=-60.0, tau_m=35.0, refractory=5.5, dt=0.05),
    ],
    ids=["default", "no refractory period", "reset near threshold"],
)
def test_rate_is_the_analytic_one_up_to_whole_steps(params: BiologicalLIFParams) -> None:
    drives = [15.5, 16.0, 20.0, 35.0, 100.0, 1000.0]
    spikes, _ = biological_lif_sequence(torch.tensor(drives).double().expand(3500, 6), None, params)
    for drive, fired in zip(drives, spikes.T, strict=True):
        steps = torch.nonzero(fired).flatten().tolist()
        intervals = {after - before for before, after in itertools.pairwise(steps)}
        settled = drive + params.v_rest
        crossing = params.tau_m * math.log((settled - params.v_reset) / (settled - params.v_threshold))
        # held for the refractory period, then the first whole step above threshold
        assert intervals == {round(params.refractory / params.dt) + math.ceil(crossing / params.dt)}
        assert intervals.pop() * params.dt == pytest.approx(params.refractory + crossing, abs=params.dt)


def test_a_drive_that_only_reaches_the_threshold_never_fires() -> None:
    drive = torch.full((3000,), 15.0, dtype=torch.float64)
    spikes, state = biological_lif_sequence(drive, None)
    assert not spikes.any()
    assert float(state.membrane) == pytest.approx(-55.0)


def test_below_threshold_the_step_is_exact_whatever_its_length() -> None:
    start = BiologicalLIFState(torch.tensor(-60.0).double(), torch.tensor(0, dtype=torch.int32))
    for dt, steps in ((0.1, 500), (1.0, 50), (25.0, 2)):
        drive = torch.full((steps,), 12.0, dtype=torch.float64)
        _, state = biological_lif_sequence(drive, start, BiologicalLIFParams(dt=dt))
        assert float(state.membrane) == pytest.approx(-58 - 2 * math.exp(-50 / 20), abs=1e-9)


@pytest.mark.parametrize(
    ("refractory", "dt", "held"),
    [
        (2.0, 1.0, 2),
        (2.0, 0.1, 20),
        (1.2, 1.0, 2),
        (0.0, 1.0, 0),
        (2.1, 0.3, 7),  # 2.1 / 0.3 is a little more than 7 in floating point
        (2.0 + 0.95e-9, 1.0, 2),
        (2.0 + 1.05e-9, 1.0, 3),
    ],
)
def test_refractory_period_is_rounded_up_to_whole_steps(refractory: float, dt: float, held: int) -> None:
    params = BiologicalLIFParams(refractory=refractory, dt=dt)
    # so strong that it fires in every step that it may
    fired = spike_steps(torch.full((3 * held + 4,), 1e6, dtype=torch.float64), params)
    assert fired[:3] == [0, held + 1, 2 * (held + 1)]


def test_while_refractory_it_hears_nothing_and_stays_at_reset() -> None:
    params = BiologicalLIFParams(v_reset=-75.0, refractory=4.0)
    drive = torch.tensor([1000.0, 14.0, -500.0, 1e6, 0.0]).double()
    spikes, state = biological_lif_sequence(drive, None, params)
    assert spikes.tolist() == [1, 0, 0, 0, 0]
    assert float(state.membrane) == -75.0
    assert int(state.refractory) == 0
    _, after = biological_lif_sequence(torch.zeros(1).double(), state, params)
    assert float(after.membrane) == pytest.approx(-70 - 5 * DECAY)


@given(seed=st.integers(0, 10_000), cut=st.integers(1, 29), dtype=st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=30, deadline=None)
def test_two_halves_with_the_state_carried_over_equal_the_whole(seed: int, cut: int, dtype: torch.dtype) -> None:
    drive = drive_of(seed, 30, 2, 5).to(dtype) * 3
    whole, end = biological_lif_sequence(drive, None)
    first, state = biological_lif_sequence(drive[:cut], None)
    second, last = biological_lif_sequence(drive[cut:], state)
    assert whole.dtype == end.membrane.dtype == dtype
    assert end.refractory.dtype == torch.int32
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last.membrane, end.membrane)
    assert torch.equal(last.refractory, end.refractory)


def test_gradient_without_a_spike_is_that_of_the_equation() -> None:
    drive = drive_of(3, 6, 4).clamp(max=12.0).requires_grad_()
    membrane = torch.full((4,), -66.0, dtype=torch.float64, requires_grad=True)
    unheld = torch.zeros(4, dtype=torch.int32)

    def last(drive: Tensor, membrane: Tensor) -> Tensor:
        return biological_lif_sequence(drive, BiologicalLIFState(membrane, unheld))[1].membrane

    assert torch.autograd.gradcheck(last, (drive, membrane))
    (grad,) = torch.autograd.grad(last(drive, membrane).sum(), drive)
    expected = (1 - DECAY) * DECAY ** torch.arange(5, -1, -1.0).double()
    torch.testing.assert_close(grad, expected[:, None].expand(6, 4))


@pytest.mark.parametrize("params", [BiologicalLIFParams(), BiologicalLIFParams(v_threshold=-62.0, alpha=0.7, dt=3.0)])
def test_surrogate_gradients_equal_a_loop_of_their_own(params: BiologicalLIFParams) -> None:
    steps, neurons = 40, 6
    drive, weights = drive_of(4, steps, neurons).requires_grad_(), drive_of(5, steps, neurons)
    spikes, _ = biological_lif_sequence(drive, None, params)
    assert 0.02 < spikes.mean() < 0.5
    (grad,) = torch.autograd.grad((spikes * weights).sum(), drive)

    span, alpha = params.v_threshold - params.v_rest, params.alpha
    decay, held = math.exp(-params.dt / params.tau_m), math.ceil(params.refractory / params.dt)
    currents, expected = drive.detach().numpy(), np.zeros((steps, neurons))
    for n in range(neurons):
        v, left, slopes = params.v_rest, 0, np.zeros(steps)  # slopes: dv / d(drive of each step)
        for t in range(steps):
            if left:
                v, left, slopes = params.v_reset, left - 1, np.zeros(steps)
                over = (v - params.v_threshold) / span
            else:
                v = params.v_rest + (v - params.v_rest) * decay + currents[t, n] * (1 - decay)
                slopes = slopes * decay
                slopes[t] = 1 - decay
                over = (v - params.v_threshold) / span
            expected[:, n] += float(weights[t, n]) * alpha / 2 / (1 + (math.pi / 2 * alpha * over) ** 2) * slopes / span
            if over > 0:
                assert spikes[t, n] == 1
                v, left, slopes = params.v_reset, held, np.zeros(steps)
    np.testing.assert_allclose(grad.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_module_is_the_function_with_its_constants() -> None:
    params, drive = BiologicalLIFParams(tau_m=5.0, refractory=3.0), drive_of(6, 50, 8)
    for module, constants in ((BiologicalLIF(params), params), (BiologicalLIF(), None)):
        first, state = module(drive[:20])
        second, _ = module(drive[20:], state)
        assert torch.equal(torch.cat([first, second]), biological_lif_sequence(drive, None, constants)[0])


ONE = torch.zeros(3, dtype=torch.int32)


@pytest.mark.parametrize(
    ("drive", "state", "said"),
    [
        (torch.zeros(0, 3), None, r"drive .*at least one step.*\(0, 3\)"),
        (torch.tensor(1.0), None, r"drive .*\(\)"),
        (torch.zeros(2, 3, dtype=torch.int32), None, "drive .*int32"),
        (torch.tensor([[1.0, 2.0, float("nan")]]), None, "drive must be finite"),
        (torch.full((1, 3), float("inf")), None, "drive must be finite"),
        (torch.zeros(2, 3), (torch.zeros(4), ONE), r"state.membrane .*\(4,\).*\(3,\)"),
        (torch.zeros(2, 3), (torch.zeros(3).double(), ONE), "state.membrane .*float64"),
        (torch.zeros(2, 3), (torch.zeros(3, device="meta"), ONE), "state.membrane .*meta"),
        (torch.zeros(2, 3), (torch.full((3,), float("nan")), ONE), "state.membrane must be finite"),
        (torch.zeros(2, 3), (torch.zeros(3), torch.zeros(3)), "state.refractory .*float32.*int32"),
        (torch.zeros(2, 3), (torch.zeros(3), ONE[:2]), r"state.refractory .*\(2,\)"),
        (torch.zeros(2, 3), (torch.full((3,), -3e38), ONE), "the membrane potential must be finite"),
    ],
)
def test_input_that_does_not_fit_is_refused(drive: Tensor, state: tuple[Tensor, Tensor] | None, said: str) -> None:
    params = BiologicalLIFParams(v_rest=3e38, v_threshold=3.3e38) if said.startswith("the membrane") else None
    with pytest.raises(ModelError, match=said):
        biological_lif_sequence(drive, None if state is None else BiologicalLIFState(*state), params)


@pytest.mark.parametrize(
    ("constants", "said"),
    [
        ({"tau_m": 0.0}, "tau_m .*above 0, not 0.0"),
        ({"tau_m": math.nan}, "tau_m .*nan"),
        ({"dt": -1.0}, "dt .*above 0, not -1.0"),
        ({"dt": math.inf}, "dt .*inf"),
        ({"alpha": 0.0}, "alpha .*above 0"),
        ({"refractory": -0.1}, "refractory .*not -0.1"),
        ({"refractory": math.inf}, "refractory .*inf"),
        ({"v_rest": -math.inf}, "v_rest .*-inf"),
        ({"v_reset": math.nan}, "v_reset .*nan"),
        ({"v_threshold": math.inf}, "v_threshold .*inf"),
        ({"v_threshold": -70.0}, "v_threshold must lie above"),
        ({"v_reset": -55.0}, "v_threshold must lie above .*-55.0"),
    ],
)
def test_constants_that_make_no_neuron_are_refused(constants: dict[str, float], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        biological_lif_sequence(torch.zeros(2, 3), None, BiologicalLIFParams(**constants))

r"""The leaky integrate-and-fire neuron in biological units, with an absolute refractory period.

.. math::
    \tau_m \frac{dV}{dt} = -(V - V_\text{rest}) + R I

integrated exactly for a drive that is constant within a step:

.. math::
    V \leftarrow V_\text{rest} + (V - V_\text{rest}) e^{-\Delta t / \tau_m} + R I\,(1 - e^{-\Delta t / \tau_m})

Where V exceeds the threshold the neuron fires, and for the refractory period V is held at the reset potential and
hears nothing. Source: Gerstner et al. 2014, *Neuronal Dynamics*, section 1.3. Under a constant drive above threshold
it fires at :math:`1 / (t_\text{ref} + \tau_m \ln\frac{RI + V_\text{rest} - V_\text{reset}}{RI + V_\text{rest} -
V_\text{th}})`, up to the rounding of spike times to whole steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.checks import finite, number, positive, sequence, step_of
from brainnet.snn.neurons.surrogate import arctan_spike


class BiologicalLIFParams(NamedTuple):
    """Potentials in mV, times in ms. The refractory period is rounded up to whole steps of `dt`, but not for less
    than a billionth of a step.

    `alpha` is the steepness of the surrogate gradient, in units of 1 / (threshold - rest).
    """

    v_rest: float = -70.0
    v_threshold: float = -55.0
    v_reset: float = -70.0
    tau_m: float = 20.0
    refractory: float = 2.0
    dt: float = 1.0
    alpha: float = 2.0


class BiologicalLIFState(NamedTuple):
    """The membrane potential in mV, and the steps (int32) for which the neuron is still refractory; of one step."""

    membrane: Tensor
    refractory: Tensor


def biological_lif_sequence(
    drive: Tensor, state: BiologicalLIFState | None, params: BiologicalLIFParams | None = None
) -> tuple[Tensor, BiologicalLIFState]:
    """Run neurons over `drive` [T, ...], R times I in mV: spikes [T, ...] (0/1) and the state after step T.

    `state` None starts at rest. Running two halves with the state carried over equals running the whole.
    Differentiable in the drive and the initial membrane; no gradient passes through the reset. Any device, any
    floating-point type. Raises ModelError, naming the argument, for what does not fit or (on CPU) is not finite.
    """
    params = params or BiologicalLIFParams()
    membrane, refractory = _checked(drive, state, params)
    # a period that is a whole number of steps must not become one more by rounding (2.1 / 0.3 > 7)
    held_steps = math.ceil(params.refractory / params.dt - 1e-9)
    decay = math.exp(-params.dt / params.tau_m)
    spikes = []
    for current in drive.unbind(0):
        integrated = params.v_rest + (membrane - params.v_rest) * decay + current * (1 - decay)
        held = refractory > 0
        membrane = torch.where(held, params.v_reset, integrated)
        over = (membrane - params.v_threshold) / (params.v_threshold - params.v_rest)
        spike = arctan_spike(over, params.alpha)
        spikes.append(spike)
        fired = spike.detach() > 0
        membrane = torch.where(fired, params.v_reset, membrane)
        refractory = torch.where(fired, held_steps, (refractory - 1).clamp(min=0))
    return torch.stack(spikes), BiologicalLIFState(finite("the membrane potential", membrane), refractory)


class BiologicalLIF(nn.Module):
    """:func:`biological_lif_sequence` with its constants."""

    def __init__(self, params: BiologicalLIFParams | None = None) -> None:
        super().__init__()
        self.params = params or BiologicalLIFParams()

    def forward(self, drive: Tensor, state: BiologicalLIFState | None = None) -> tuple[Tensor, BiologicalLIFState]:
        return biological_lif_sequence(drive, state, self.params)


def _checked(drive: Tensor, state: BiologicalLIFState | None, params: BiologicalLIFParams) -> tuple[Tensor, Tensor]:
    sequence("drive", drive)
    for name in ("tau_m", "dt", "alpha"):
        positive(name, getattr(params, name))
    for name in ("v_rest", "v_threshold", "v_reset"):
        number(name, getattr(params, name))
    if not 0 <= params.refractory < math.inf:
        raise ModelError(f"refractory must be a finite time of 0 ms or more, not {params.refractory}")
    if not max(params.v_rest, params.v_reset) < params.v_threshold:
        raise ModelError(
            f"v_threshold must lie above v_rest and v_reset, not {params.v_threshold} with {params.v_rest} "
            f"and {params.v_reset}"
        )
    if state is None:
        return torch.full_like(drive[0], params.v_rest), torch.zeros_like(drive[0], dtype=torch.int32)
    return (
        step_of("state.membrane", state.membrane, "drive", drive),
        step_of("state.refractory", state.refractory, "drive", drive, torch.int32),
    )

r"""The leaky integrate-and-fire neuron in biological units, with an absolute refractory period.

$$
\tau_m \frac{dV}{dt} = -(V - V_\text{rest}) + R I
$$

integrated exactly for a drive that is constant within a step:

$$
V \leftarrow V_\text{rest} + (V - V_\text{rest}) e^{-\Delta t / \tau_m} + R I\,(1 - e^{-\Delta t / \tau_m})
$$

Where V exceeds the threshold the neuron fires, and for the refractory period V stays at the reset potential and
ignores the input. Source: Gerstner et al. 2014, *Neuronal Dynamics*, section 1.3. Under a constant drive above
threshold it fires at $1 / (t_\text{ref} + \tau_m \ln\frac{RI + V_\text{rest} - V_\text{reset}}{RI + V_\text{rest} -
V_\text{th}})$, up to the rounding of spike times to whole steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.checks import check_finite, check_number, check_positive, check_sequence, check_step
from brainnet.snn.neurons.surrogate import arctan_spike


class BiologicalLIFParams(NamedTuple):
    """Constants: potentials in mV, times in ms.

    Attributes:
        v_rest: resting potential.
        v_threshold: firing threshold.
        v_reset: reset potential.
        tau_m: membrane time constant.
        refractory: absolute refractory period, rounded up to whole steps; an excess of up to 1e-9 steps is ignored.
        dt: one step.
        alpha: steepness of the surrogate gradient, in units of 1 / (threshold - rest).
    """

    v_rest: float = -70.0
    v_threshold: float = -55.0
    v_reset: float = -70.0
    tau_m: float = 20.0
    refractory: float = 2.0
    dt: float = 1.0
    alpha: float = 2.0


class BiologicalLIFState(NamedTuple):
    """The state after a step, each of the shape of one step.

    Attributes:
        membrane: membrane potential in mV.
        refractory: int32, the steps for which the neuron is still refractory.
    """

    membrane: Tensor
    refractory: Tensor


def biological_lif_sequence(
    drive: Tensor, state: BiologicalLIFState | None, params: BiologicalLIFParams | None = None
) -> tuple[Tensor, BiologicalLIFState]:
    """Return the spikes [T, ...] (0/1) of neurons under `drive` [T, ...], and the state after step T.

    Two halves with the state carried over give the same result as the whole. It is differentiable in the drive and the
    initial membrane; no gradient passes through the reset. Any device, any floating-point type.

    Args:
        drive: R times I in mV, [T, ...].
        state: the state before the first step; None for rest.
        params: the constants.

    Raises:
        ModelError: arguments that do not fit or (on CPU) are not finite.
    """
    params = params or BiologicalLIFParams()
    membrane, refractory = _initial_state(drive, state, params)
    # floating-point rounding must not add a step to a period of whole steps (2.1 / 0.3 > 7)
    refractory_steps = math.ceil(params.refractory / params.dt - 1e-9)
    decay = math.exp(-params.dt / params.tau_m)
    spikes = []
    for current in drive.unbind(0):
        integrated = params.v_rest + (membrane - params.v_rest) * decay + current * (1 - decay)
        is_refractory = refractory > 0
        membrane = torch.where(is_refractory, params.v_reset, integrated)
        # in units of the distance from rest to threshold, so that alpha does not depend on the millivolts
        excess = (membrane - params.v_threshold) / (params.v_threshold - params.v_rest)
        spike = arctan_spike(excess, params.alpha)
        spikes.append(spike)
        fired = spike.detach() > 0
        membrane = torch.where(fired, params.v_reset, membrane)
        refractory = torch.where(fired, refractory_steps, (refractory - 1).clamp(min=0))
    return torch.stack(spikes), BiologicalLIFState(check_finite("the membrane potential", membrane), refractory)


class BiologicalLIF(nn.Module):
    """A layer of `biological_lif_sequence` with fixed constants."""

    def __init__(self, params: BiologicalLIFParams | None = None) -> None:
        super().__init__()
        self.params = params or BiologicalLIFParams()

    def forward(self, drive: Tensor, state: BiologicalLIFState | None = None) -> tuple[Tensor, BiologicalLIFState]:
        """Return spikes and state as `biological_lif_sequence`."""
        return biological_lif_sequence(drive, state, self.params)


def _initial_state(
    drive: Tensor, state: BiologicalLIFState | None, params: BiologicalLIFParams
) -> tuple[Tensor, Tensor]:
    check_sequence("drive", drive)
    for name in ("tau_m", "dt", "alpha"):
        check_positive(name, getattr(params, name))
    for name in ("v_rest", "v_threshold", "v_reset"):
        check_number(name, getattr(params, name))
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
        check_step("state.membrane", state.membrane, "drive", drive),
        check_step("state.refractory", state.refractory, "drive", drive, torch.int32),
    )

r"""Leaky integrate-and-fire neurons whose threshold rises with every spike and decays again.

.. math::
    u_t &= \beta u_{t-1} + x_t - \theta s_{t-1} \quad\text{(or another reset of }\mathtt{neurons.lif}\text{)} \\
    a_t &= \rho a_{t-1} + s_{t-1} \\
    s_t &= 1 \text{ if } u_t > \theta + \kappa a_t \text{ else } 0

The ALIF neuron of Bellec et al. 2020, *A solution to the learning dilemma for recurrent networks of spiking neurons*,
Nature Communications 11, 3625. With :math:`\kappa = 0` it is the neuron of :mod:`brainnet.snn.neurons.lif`.
Dimensionless: u, x and :math:`\theta` share a unit, one step is one unit of time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.checks import finite, number, parameter, positive, sequence, step_of
from brainnet.snn.neurons.lif import Reset
from brainnet.snn.neurons.surrogate import arctan_spike


class AdaptiveLIFParams(NamedTuple):
    """Constants: decays a step of membrane `beta` and adaptation `rho` (0..1), strength of adaptation `kappa`.

    Each of the three is a number or a tensor that broadcasts against one step.
    """

    beta: Tensor | float
    rho: Tensor | float
    kappa: Tensor | float
    threshold: float = 1.0
    reset: Reset = "subtract"
    alpha: float = 2.0


class AdaptiveLIFState(NamedTuple):
    """Membrane potential and adaptation of the last step, each of the shape of one step."""

    membrane: Tensor
    adaptation: Tensor


def adaptive_lif_sequence(
    currents: Tensor, state: AdaptiveLIFState | None, params: AdaptiveLIFParams
) -> tuple[Tensor, AdaptiveLIFState]:
    """Run neurons over `currents` [T, ...]: their spikes [T, ...] (0/1, same dtype) and the state after step T.

    `state` None starts from zero. Running two halves with the state carried over equals running the whole.
    Differentiable in currents, state, beta, rho and kappa: gradients flow through the adaptation, which is what lets
    it carry credit over long times, but not through the reset. Any device, any floating-point type. Raises
    ModelError, naming the argument, for what does not fit or (on CPU) is not finite.
    """
    sequence("currents", currents)
    if params.reset not in ("subtract", "zero", "none"):
        raise ModelError(f"reset must be 'subtract', 'zero' or 'none', not {params.reset!r}")
    threshold, alpha = number("threshold", params.threshold), positive("alpha", params.alpha)
    beta, rho, kappa = (
        parameter(name, getattr(params, name), "currents", currents) for name in ("beta", "rho", "kappa")
    )
    rest = torch.zeros_like(currents[0])
    membrane, adaptation = (rest, rest) if state is None else state
    step_of("state.membrane", membrane, "currents", currents)
    step_of("state.adaptation", adaptation, "currents", currents)
    # the spike of the step before is a function of the state, so that the state need not hold it
    spike = arctan_spike(membrane - threshold - kappa * adaptation, alpha)
    spikes = []
    for current in currents.unbind(0):
        fired = spike.detach()
        adaptation = rho * adaptation + spike
        if params.reset == "zero":
            membrane = (1 - fired) * membrane
        membrane = beta * membrane + current
        if params.reset == "subtract":
            membrane = membrane - fired * threshold
        spike = arctan_spike(membrane - threshold - kappa * adaptation, alpha)
        spikes.append(spike)
    return torch.stack(spikes), AdaptiveLIFState(finite("membrane", membrane), finite("adaptation", adaptation))


class AdaptiveLIF(nn.Module):
    """A layer with learned decays: beta = sigmoid(`decay`), rho = sigmoid(`slow_decay`); `kappa` is learned, too.

    Each broadcasts against one step.
    """

    def __init__(self, decay: Tensor, slow_decay: Tensor, kappa: Tensor) -> None:
        super().__init__()
        self.decay, self.slow_decay, self.kappa = nn.Parameter(decay), nn.Parameter(slow_decay), nn.Parameter(kappa)

    def forward(self, currents: Tensor, state: AdaptiveLIFState | None = None) -> tuple[Tensor, AdaptiveLIFState]:
        params = AdaptiveLIFParams(torch.sigmoid(self.decay), torch.sigmoid(self.slow_decay), self.kappa)
        return adaptive_lif_sequence(currents, state, params)

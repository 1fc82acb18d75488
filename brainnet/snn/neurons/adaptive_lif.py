r"""Leaky integrate-and-fire neurons whose threshold rises with every spike and decays again.

$$
\begin{aligned}
u_t &= \beta u_{t-1} + x_t - \theta s_{t-1} \quad\text{(or another reset of }\mathtt{neurons.lif}\text{)} \\
a_t &= \rho a_{t-1} + s_{t-1} \\
s_t &= 1 \text{ if } u_t > \theta + \kappa a_t \text{ else } 0
\end{aligned}
$$

The ALIF neuron of Bellec et al. 2020, *A solution to the learning dilemma for recurrent networks of spiking neurons*,
Nature Communications 11, 3625. With $\kappa = 0$ it is the neuron of `brainnet.snn.neurons.lif`.
Dimensionless: u, x and $\theta$ share a unit, one step is one unit of time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.checks import as_parameter, check_finite, check_number, check_positive, check_sequence, check_step
from brainnet.snn.neurons.lif import Reset
from brainnet.snn.neurons.surrogate import arctan_spike


class AdaptiveLIFParams(NamedTuple):
    """Constants of the neurons; the first three are numbers or tensors that broadcast against one step.

    Attributes:
        beta: decay of the membrane per step, 0..1.
        rho: decay of the adaptation per step, 0..1.
        kappa: strength of the adaptation.
        threshold: theta.
        reset: as in `brainnet.snn.neurons.lif`.
        alpha: steepness of the surrogate gradient.
    """

    beta: Tensor | float
    rho: Tensor | float
    kappa: Tensor | float
    threshold: float = 1.0
    reset: Reset = "subtract"
    alpha: float = 2.0


class AdaptiveLIFState(NamedTuple):
    """Membrane potential and adaptation after the last step, each of the shape of one step."""

    membrane: Tensor
    adaptation: Tensor


def adaptive_lif_sequence(
    currents: Tensor, state: AdaptiveLIFState | None, params: AdaptiveLIFParams
) -> tuple[Tensor, AdaptiveLIFState]:
    """Return the spikes [T, ...] (0/1, same type) of neurons under `currents` [T, ...], and the state after step T.

    Two halves with the state carried over give the same result as the whole. It is differentiable in currents, state,
    beta, rho and kappa. Gradients pass through the adaptation, which carries credit over long times, but not through
    the reset. Any device, any floating-point type.

    Args:
        currents: [T, ...].
        state: the state before the first step; None for zero.
        params: the constants.

    Raises:
        ModelError: arguments that do not fit or (on CPU) are not finite.
    """
    check_sequence("currents", currents)
    if params.reset not in ("subtract", "zero", "none"):
        raise ModelError(f"reset must be 'subtract', 'zero' or 'none', not {params.reset!r}")
    threshold, alpha = check_number("threshold", params.threshold), check_positive("alpha", params.alpha)
    beta, rho, kappa = (
        as_parameter(name, getattr(params, name), "currents", currents) for name in ("beta", "rho", "kappa")
    )
    rest = torch.zeros_like(currents[0])
    membrane, adaptation = (rest, rest) if state is None else state
    check_step("state.membrane", membrane, "currents", currents)
    check_step("state.adaptation", adaptation, "currents", currents)
    # the spike of the previous step follows from the state, so it is not stored in the state
    spike = arctan_spike(membrane - threshold - kappa * adaptation, alpha)
    spikes = []
    for current in currents.unbind(0):
        # detached for the reset, attached for the adaptation: see the docstring
        fired = spike.detach()
        adaptation = rho * adaptation + spike
        if params.reset == "zero":
            membrane = (1 - fired) * membrane
        membrane = beta * membrane + current
        if params.reset == "subtract":
            membrane = membrane - fired * threshold
        spike = arctan_spike(membrane - threshold - kappa * adaptation, alpha)
        spikes.append(spike)
    return torch.stack(spikes), AdaptiveLIFState(
        check_finite("membrane", membrane), check_finite("adaptation", adaptation)
    )


class AdaptiveLIF(nn.Module):
    """A layer with learned constants: beta = sigmoid(`decay`), rho = sigmoid(`slow_decay`), and `kappa`.

    Each broadcasts against one step.
    """

    def __init__(self, decay: Tensor, slow_decay: Tensor, kappa: Tensor) -> None:
        super().__init__()
        self.decay, self.slow_decay, self.kappa = nn.Parameter(decay), nn.Parameter(slow_decay), nn.Parameter(kappa)

    def forward(self, currents: Tensor, state: AdaptiveLIFState | None = None) -> tuple[Tensor, AdaptiveLIFState]:
        """Return spikes and state as `adaptive_lif_sequence`."""
        params = AdaptiveLIFParams(torch.sigmoid(self.decay), torch.sigmoid(self.slow_decay), self.kappa)
        return adaptive_lif_sequence(currents, state, params)

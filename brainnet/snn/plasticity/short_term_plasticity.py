r"""Short-term plasticity: a synapse whose effect grows (facilitation) or shrinks (depression) with use.

u is the release probability and x the fraction of resources left. Between spikes

$$
\frac{du}{dt} = -\frac{u}{\tau_f}, \qquad \frac{dx}{dt} = \frac{1 - x}{\tau_d}
$$

and at a presynaptic spike, in this order,

$$
u \leftarrow u + U (1 - u), \qquad \text{efficacy} = u x, \qquad x \leftarrow x - u x
$$

integrated exactly from step to step. Under regular firing with interval T it settles at
$u = U / (1 - (1 - U) e^{-T/\tau_f})$ and $x = (1 - e^{-T/\tau_d}) / (1 - (1 - u) e^{-T/\tau_d})$.
Source: Tsodyks, Pawelzik and Markram 1998, *Neural Networks with Dynamic Synapses*, Neural Computation 10(4).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import check_positive, check_sequence, check_step


class ShortTermParams(NamedTuple):
    """Constants of a synapse.

    Attributes:
        utilisation: U, above 0 and at most 1.
        tau_facilitation: time constant of facilitation in ms.
        tau_depression: time constant of depression in ms.
        dt: one step in ms.
    """

    utilisation: float
    tau_facilitation: float
    tau_depression: float
    dt: float = 1.0


class ShortTermState(NamedTuple):
    """The state after the last step: `release` u and `resources` x, each of the shape of one step."""

    release: Tensor
    resources: Tensor


DEPRESSING = ShortTermParams(0.45, 50.0, 750.0)
FACILITATING = ShortTermParams(0.15, 750.0, 50.0)
"""The two synapses that Wu, Wong and Tsodyks show in *Short-term synaptic plasticity* (Scholarpedia 2013)."""


def short_term_plasticity(
    spikes: Tensor, state: ShortTermState | None, params: ShortTermParams
) -> tuple[Tensor, ShortTermState]:
    """Return the efficacy [T, ...] of presynaptic spikes [T, ...] (0/1), and the state after step T.

    The efficacy multiplies the weights; it is zero where there is no spike. Two halves with the state carried over give
    the same result as the whole.

    Args:
        spikes: presynaptic spikes [T, ...].
        state: the state before the first step; None for an unused synapse (u = 0, x = 1).
        params: the constants.

    Raises:
        ModelError: arguments that do not fit, or constants out of range.
    """
    check_sequence("spikes", spikes)
    if not 0 < params.utilisation <= 1:
        raise ModelError(f"utilisation must be above 0 and at most 1, not {params.utilisation}")
    dt = check_positive("dt", params.dt)
    facilitation_decay = math.exp(-dt / check_positive("tau_facilitation", params.tau_facilitation))
    depression_decay = math.exp(-dt / check_positive("tau_depression", params.tau_depression))
    release, resources = (torch.zeros_like(spikes[0]), torch.ones_like(spikes[0])) if state is None else state
    check_step("state.release", release, "spikes", spikes)
    check_step("state.resources", resources, "spikes", spikes)
    efficacies = []
    for fired in spikes.unbind(0):
        # exact solutions of the two differential equations over one step
        release, resources = release * facilitation_decay, 1 - (1 - resources) * depression_decay
        release = release + params.utilisation * (1 - release) * fired
        efficacy = release * resources * fired
        resources = resources - efficacy
        efficacies.append(efficacy)
    return torch.stack(efficacies), ShortTermState(release, resources)

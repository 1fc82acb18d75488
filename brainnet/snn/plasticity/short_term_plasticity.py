r"""Short-term plasticity: a synapse whose effect grows (facilitation) or tires (depression) with use.

u is the release probability and x the fraction of resources left. Between spikes

.. math::
    \frac{du}{dt} = -\frac{u}{\tau_f}, \qquad \frac{dx}{dt} = \frac{1 - x}{\tau_d}

and at a presynaptic spike, in this order,

.. math::
    u \leftarrow u + U (1 - u), \qquad \text{efficacy} = u x, \qquad x \leftarrow x - u x

integrated exactly from step to step. Under regular firing with interval T it settles at
:math:`u = U / (1 - (1 - U) e^{-T/\tau_f})` and :math:`x = (1 - e^{-T/\tau_d}) / (1 - (1 - u) e^{-T/\tau_d})`.
Source: Tsodyks, Pawelzik and Markram 1998, *Neural Networks with Dynamic Synapses*, Neural Computation 10(4).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import positive, sequence, step_of


class ShortTermParams(NamedTuple):
    """`utilisation` U (0..1], the time constants of facilitation and depression and the step, in ms."""

    utilisation: float
    tau_facilitation: float
    tau_depression: float
    dt: float = 1.0


class ShortTermState(NamedTuple):
    """u and x just after the last step, each of the shape of one step."""

    release: Tensor
    resources: Tensor


DEPRESSING = ShortTermParams(0.45, 50.0, 750.0)
FACILITATING = ShortTermParams(0.15, 750.0, 50.0)
"""The two synapses that Wu, Wong and Tsodyks show in *Short-term synaptic plasticity* (Scholarpedia 2013)."""


def short_term_plasticity(
    spikes: Tensor, state: ShortTermState | None, params: ShortTermParams
) -> tuple[Tensor, ShortTermState]:
    """The efficacy [T, ...] of each presynaptic spike [T, ...] (0/1), zero where there is none, and the state after T.

    Multiply the weights by it. `state` None starts unused (u = 0, x = 1). Running two halves with the state carried
    over equals running the whole. Raises ModelError, naming the argument, for what does not fit.
    """
    sequence("spikes", spikes)
    if not 0 < params.utilisation <= 1:
        raise ModelError(f"utilisation must be above 0 and at most 1, not {params.utilisation}")
    dt = positive("dt", params.dt)
    forget = math.exp(-dt / positive("tau_facilitation", params.tau_facilitation))
    tired = math.exp(-dt / positive("tau_depression", params.tau_depression))
    release, resources = (torch.zeros_like(spikes[0]), torch.ones_like(spikes[0])) if state is None else state
    step_of("state.release", release, "spikes", spikes)
    step_of("state.resources", resources, "spikes", spikes)
    efficacies = []
    for fired in spikes.unbind(0):
        release, resources = release * forget, 1 - (1 - resources) * tired
        release = release + params.utilisation * (1 - release) * fired
        efficacy = release * resources * fired
        resources = resources - efficacy
        efficacies.append(efficacy)
    return torch.stack(efficacies), ShortTermState(release, resources)

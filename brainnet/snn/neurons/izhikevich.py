r"""Izhikevich's neuron: two equations that reproduce the firing patterns of cortical cells.

.. math::
    \frac{dv}{dt} &= 0.04 v^2 + 5 v + 140 - u + I \\
    \frac{du}{dt} &= a (b v - u) \\
    v &\ge 30\,\text{mV}: \quad s = 1,\ v \leftarrow c,\ u \leftarrow u + d

v and c in mV, t in ms. Both equations take one Euler step of `dt` from the same state; then the spike is tested.
Source: Izhikevich 2003, *Simple Model of Spiking Neurons*, IEEE Transactions on Neural Networks 14(6), 1569-1572,
whose own program integrates v in steps of 0.5 ms, the default here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.checks import finite, parameter, positive, sequence, step_of
from brainnet.snn.neurons.surrogate import arctan_spike

PEAK_MV = 30.0


class IzhikevichParams(NamedTuple):
    """Constants of the neurons; a, b, c and d are numbers or tensors that broadcast against one step.

    `a` (1/ms) is the rate of recovery, `b` its sensitivity to v, `c` (mV) the reset of v, `d` the increment of
    u at a spike, `dt` (ms) the step. `alpha` is the steepness of the surrogate gradient, in 1 / (30 mV - c).
    """

    a: Tensor | float = 0.02
    b: Tensor | float = 0.2
    c: Tensor | float = -65.0
    d: Tensor | float = 8.0
    dt: float = 0.5
    alpha: float = 2.0


class IzhikevichState(NamedTuple):
    """Membrane potential v (mV) and recovery u after the last step, each of the shape of one step."""

    v: Tensor
    u: Tensor


PATTERNS = {
    "regular spiking": IzhikevichParams(),
    "intrinsically bursting": IzhikevichParams(c=-55.0, d=4.0),
    "chattering": IzhikevichParams(c=-50.0, d=2.0),
    "fast spiking": IzhikevichParams(a=0.1, d=2.0),
    "low-threshold spiking": IzhikevichParams(b=0.25, d=2.0),
    "thalamo-cortical": IzhikevichParams(b=0.25, d=0.05),
    "resonator": IzhikevichParams(a=0.1, b=0.26, d=2.0),
}
"""The cells of figure 2 of the paper."""


def izhikevich_sequence(
    currents: Tensor, state: IzhikevichState | None, params: IzhikevichParams | None = None
) -> tuple[Tensor, IzhikevichState]:
    """Run neurons over `currents` [T, ...]: their spikes [T, ...] (0/1, same dtype) and the state after step T.

    `state` None starts at rest (:func:`resting_state`). Running two halves with the state carried over equals
    running the whole. Differentiable in currents, state and constants; no gradient passes through the reset of v.
    Any device, any floating-point type. Raises ModelError, naming the argument, for what does not fit or (on CPU) is
    not finite.
    """
    params = params or IzhikevichParams()
    sequence("currents", currents)
    dt = positive("dt", params.dt)
    alpha = positive("alpha", params.alpha)
    a, b, c, d = (parameter(name, getattr(params, name), "currents", currents) for name in "abcd")
    if c.device.type == "cpu" and not bool((c < PEAK_MV).all()):
        raise ModelError(f"c must lie below the peak of {PEAK_MV:g} mV, where a spike is")
    v, u = resting_state(b) if state is None else state
    step_of("state.v", v, "currents", currents)
    step_of("state.u", u, "currents", currents)
    spikes = []
    for current in currents.unbind(0):
        v, u = v + dt * (0.04 * v**2 + 5 * v + 140 - u + current), u + dt * a * (b * v - u)
        spike = arctan_spike((v - PEAK_MV) / (PEAK_MV - c), alpha, inclusive=True)
        spikes.append(spike)
        fired = spike.detach() > 0
        v, u = torch.where(fired, c, v), torch.where(fired, u + d, u)
    return torch.stack(spikes), IzhikevichState(finite("v", v), finite("u", u))


def resting_state(b: Tensor) -> IzhikevichState:
    """The lower equilibrium without current: the smaller root of 0.04 v^2 + (5 - b) v + 140 = 0, with u = b v.

    It is stable for every cell of :data:`PATTERNS`. Raises ModelError where there is none: such neurons fire on their
    own and need a state to start from.
    """
    slope = 5 - b
    discriminant = slope**2 - 4 * 0.04 * 140
    if not bool((discriminant >= 0).all()):
        raise ModelError(f"b must be at most {5 - math.sqrt(22.4):.4f} for a rest to exist; pass a state to start from")
    v = (-slope - discriminant.sqrt()) / (2 * 0.04)
    return IzhikevichState(v, b * v)


class Izhikevich(nn.Module):
    """:func:`izhikevich_sequence` with its constants."""

    def __init__(self, params: IzhikevichParams | None = None) -> None:
        super().__init__()
        self.params = params or IzhikevichParams()

    def forward(self, currents: Tensor, state: IzhikevichState | None = None) -> tuple[Tensor, IzhikevichState]:
        return izhikevich_sequence(currents, state, self.params)

r"""Izhikevich's neuron: two equations that reproduce the firing patterns of cortical cells.

$$
\begin{aligned}
\frac{dv}{dt} &= 0.04 v^2 + 5 v + 140 - u + I \\
\frac{du}{dt} &= a (b v - u) \\
v &\ge 30\,\text{mV}: \quad s = 1,\ v \leftarrow c,\ u \leftarrow u + d
\end{aligned}
$$

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
from brainnet.snn.checks import as_parameter, check_finite, check_positive, check_sequence, check_step
from brainnet.snn.neurons.surrogate import arctan_spike

PEAK_MV = 30.0


class IzhikevichParams(NamedTuple):
    """Constants of the neurons; a, b, c and d are numbers or tensors that broadcast against one step.

    Attributes:
        a: rate of the recovery in 1/ms.
        b: sensitivity of the recovery to v.
        c: reset potential of v in mV.
        d: increment of u at a spike.
        dt: one step in ms.
        alpha: steepness of the surrogate gradient, in 1 / (30 mV - c).
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
    """Return the spikes [T, ...] (0/1, same type) of neurons under `currents` [T, ...], and the state after step T.

    Two halves with the state carried over give the same result as the whole. It is differentiable in currents, state
    and constants; no gradient passes through the reset of v. Any device, any floating-point type.

    Args:
        currents: [T, ...].
        state: the state before the first step; None for `resting_state`.
        params: the constants.

    Raises:
        ModelError: arguments that do not fit or (on CPU) are not finite.
    """
    params = params or IzhikevichParams()
    check_sequence("currents", currents)
    dt = check_positive("dt", params.dt)
    alpha = check_positive("alpha", params.alpha)
    a, b, c, d = (as_parameter(name, getattr(params, name), "currents", currents) for name in "abcd")
    if c.device.type == "cpu" and not bool((c < PEAK_MV).all()):
        raise ModelError(f"c must lie below the peak of {PEAK_MV:g} mV, where a spike is")
    v, u = resting_state(b) if state is None else state
    check_step("state.v", v, "currents", currents)
    check_step("state.u", u, "currents", currents)
    spikes = []
    for current in currents.unbind(0):
        # one assignment: both equations use the v and u of the previous step
        v, u = v + dt * (0.04 * v**2 + 5 * v + 140 - u + current), u + dt * a * (b * v - u)
        spike = arctan_spike((v - PEAK_MV) / (PEAK_MV - c), alpha, inclusive=True)
        spikes.append(spike)
        fired = spike.detach() > 0
        v, u = torch.where(fired, c, v), torch.where(fired, u + d, u)
    return torch.stack(spikes), IzhikevichState(check_finite("v", v), check_finite("u", u))


def resting_state(b: Tensor) -> IzhikevichState:
    """Return the stable equilibrium without current: the smaller root of 0.04 v^2 + (5 - b) v + 140 = 0, with u = b v.

    It is stable for every cell of `PATTERNS`.

    Raises:
        ModelError: there is no equilibrium; such neurons fire without input and need an initial state.
    """
    slope = 5 - b
    discriminant = slope**2 - 4 * 0.04 * 140
    if not bool((discriminant >= 0).all()):
        raise ModelError(f"b must be at most {5 - math.sqrt(22.4):.4f} for a rest to exist; pass a state to start from")
    v = (-slope - discriminant.sqrt()) / (2 * 0.04)
    return IzhikevichState(v, b * v)


class Izhikevich(nn.Module):
    """A layer of `izhikevich_sequence` with fixed constants."""

    def __init__(self, params: IzhikevichParams | None = None) -> None:
        super().__init__()
        self.params = params or IzhikevichParams()

    def forward(self, currents: Tensor, state: IzhikevichState | None = None) -> tuple[Tensor, IzhikevichState]:
        """Return spikes and state as `izhikevich_sequence`."""
        return izhikevich_sequence(currents, state, self.params)

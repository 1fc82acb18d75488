r"""Leaky integrate-and-fire neurons with synaptic currents that decay exponentially, or with voltage jumps.

$$
\tau_m \frac{dv}{dt} = -(v - v_\text{rest}) + \frac{\tau_m}{C} (I_e + I_i + I_0), \qquad
\tau_s \frac{dI_s}{dt} = -I_s + \tau_s \sum_k w_k \, \delta(t - t_k)
$$

The equations are linear, and each step is their exact solution for a constant step. What arrives in a step is added to
the currents at its end, so it moves the potential from the next step on. At $v \ge v_\text{threshold}$ the neuron
fires and is held at $v_\text{reset}$ for its refractory time. Without currents (`synapses: delta`), what arrives is
added to v at once, in mV, before the test for a spike.

Source: Rotter and Diesmann 1999, *Exact digital simulation of time-invariant linear systems with applications to
neuronal modeling*, Biological Cybernetics 81, 381-402.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import (
    EXCITATORY,
    INHIBITORY,
    Model,
    ModelParameters,
    Noise,
    Setting,
    Values,
    Window,
    described,
)
from brainnet.simulation.random import decay, draw, poisson_count
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled

_BLOCK = 512
"""Neurons of one block: its state stays in the first-level cache, and only blocks in which somebody reached the
threshold are looked through."""


class LIFParameters(ModelParameters):
    """Constants of the neurons; a value may be one number, a distribution or a list."""

    v_rest_mv: Values = Field(-65.0, description="potential without input")
    v_reset_mv: Values = Field(-65.0, description="potential after a spike")
    v_threshold_mv: Values = Field(-50.0, description="potential at which the neuron fires")
    tau_m_ms: float = Field(10.0, gt=0, allow_inf_nan=False, description="time constant of the membrane")
    c_nf: float = Field(0.25, gt=0, allow_inf_nan=False, description="capacitance of the membrane")
    refractory_ms: float = Field(2.0, ge=0, allow_inf_nan=False, description="time after a spike without another one")
    synapses: Literal["exponential", "delta"] = Field(
        "exponential", description="weights are currents in pA that decay, or jumps of the potential in mV"
    )
    tau_excitatory_ms: float = Field(0.5, gt=0, allow_inf_nan=False, description="decay of excitatory currents")
    tau_inhibitory_ms: float = Field(0.5, gt=0, allow_inf_nan=False, description="decay of inhibitory currents")
    current_pa: Values = Field(0.0, description="constant current")
    v_initial_mv: Values | None = Field(None, description="potential before the first step; v_rest_mv without it")
    noise: Noise | None = Field(None, description="Poisson spikes from outside, of each neuron its own")


class LIF(Model):
    """A population of leaky integrate-and-fire neurons."""

    Parameters: ClassVar[type[ModelParameters]] = LIFParameters
    parameters: LIFParameters

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        p, n = self.parameters, setting.size
        spread = setting.spread
        self._rest = spread("v_rest_mv", p.v_rest_mv)
        self._reset = spread("v_reset_mv", p.v_reset_mv)
        self._threshold = spread("v_threshold_mv", p.v_threshold_mv)
        if not (self._reset < self._threshold).all():
            raise ModelError(
                f"{described(self)}: v_reset_mv must lie below v_threshold_mv, or a neuron would fire for ever"
            )
        dt, farad = setting.dt_ms, p.c_nf * 1000.0  # pF, so that pA and ms give mV
        self._leak = decay(dt, p.tau_m_ms)
        drive = spread("current_pa", p.current_pa) * (p.tau_m_ms / farad) * (1.0 - self._leak)
        # what a step adds besides the leak: v <- leak * v + offset + currents
        self._offset = self._rest * (1.0 - self._leak) + drive
        self._refractory = setting.steps(p.refractory_ms)
        taus = (p.tau_excitatory_ms, p.tau_inhibitory_ms)
        self._decays = np.array([decay(dt, tau) for tau in taus])
        self._gains = np.array([_gain(dt, p.tau_m_ms, tau, farad) for tau in taus])
        self._noise = setting.noise(p.noise)
        self._noise_port = 0 if self._noise.weight >= 0 else 1
        initial = p.v_initial_mv if p.v_initial_mv is not None else p.v_rest_mv
        self.state = {
            "v": spread("v_initial_mv" if p.v_initial_mv is not None else "v_rest_mv", initial).copy(),
            "currents": np.zeros((2, n)),
            "wait": np.zeros(n, np.int32),
        }
        self._kernel: Any = _advance_exponential if p.synapses == "exponential" else _advance_delta

    def advance(self, window: Window) -> Spikes:
        """Compute the steps of one window, and return what fired."""
        n, steps = self.setting.size, window.steps
        offsets = np.zeros(steps + 1, np.int32)
        fired = np.empty(n * steps, np.int32)
        state = self.state
        self._kernel(
            window.first_step,
            window.sums[EXCITATORY],
            window.sums[INHIBITORY],
            state["v"],
            state["currents"],
            state["wait"],
            self._leak,
            self._offset,
            self._gains,
            self._decays,
            self._threshold,
            self._reset,
            self._refractory,
            self._noise.key,
            self._noise.thresholds,
            self._noise.weight,
            self._noise_port,
            offsets,
            fired,
        )
        return Spikes(window.first_step, offsets, fired[: offsets[-1]].copy())


def _gain(dt_ms: float, tau_m_ms: float, tau_ms: float, farad: float) -> float:
    """Return by how much 1 pA of a decaying current raises v in one step, correctly rounded.

    It is the convolution of the two exponentials, divided by the capacitance in pF; its limit for equal time constants.
    """
    with localcontext() as context:
        context.prec = 60
        h, m, s, c = map(Decimal, (dt_ms, tau_m_ms, tau_ms, farad))
        if m == s:
            return float(h * (-h / m).exp() / c)
        return float(m * s / (m - s) * ((-h / m).exp() - (-h / s).exp()) / c)


@compiled
def _advance_exponential(  # type: ignore[no-untyped-def]
    first_step, excitatory, inhibitory, v, currents, wait, leak, offset, gains, decays, threshold, reset, refractory,
    key, noise, noise_weight, noise_port, offsets, fired,
):  # fmt: skip
    n = v.size
    scale = 1.0 / UNIT
    count = 0
    e, i = currents[0], currents[1]
    for s in range(excitatory.shape[0]):
        into_e, into_i = excitatory[s], inhibitory[s]
        for low in range(0, n, _BLOCK):
            high = min(n, low + _BLOCK)
            reached = np.int64(0)
            for j in range(low, high):
                u = leak * v[j] + offset[j] + gains[0] * e[j] + gains[1] * i[j]
                held = wait[j] > 0
                u = reset[j] if held else u
                wait[j] -= np.int32(held)
                v[j] = u
                e[j] = decays[0] * e[j] + scale * into_e[j]
                i[j] = decays[1] * i[j] + scale * into_i[j]
                reached += np.int64(u >= threshold[j])
            if noise.size:
                for j in range(low, high):
                    events = poisson_count(draw(key, first_step + s, j), noise)
                    if events:
                        currents[noise_port, j] += events * noise_weight
            if reached:
                for j in range(low, high):
                    if v[j] >= threshold[j]:
                        v[j] = reset[j]
                        wait[j] = refractory
                        fired[count] = j
                        count += 1
        offsets[s + 1] = count


@compiled
def _advance_delta(  # type: ignore[no-untyped-def]
    first_step, excitatory, inhibitory, v, currents, wait, leak, offset, gains, decays, threshold, reset, refractory,
    key, noise, noise_weight, noise_port, offsets, fired,
):  # fmt: skip
    n = v.size
    scale = 1.0 / UNIT
    count = 0
    for s in range(excitatory.shape[0]):
        into_e, into_i = excitatory[s], inhibitory[s]
        for low in range(0, n, _BLOCK):
            high = min(n, low + _BLOCK)
            reached = np.int64(0)
            for j in range(low, high):
                u = leak * v[j] + offset[j] + scale * (into_e[j] + into_i[j])
                if noise.size:
                    u += noise_weight * poisson_count(draw(key, first_step + s, j), noise)
                held = wait[j] > 0
                u = reset[j] if held else u
                wait[j] -= np.int32(held)
                v[j] = u
                reached += np.int64(u >= threshold[j])
            if reached:
                for j in range(low, high):
                    if v[j] >= threshold[j]:
                        v[j] = reset[j]
                        wait[j] = refractory
                        fired[count] = j
                        count += 1
        offsets[s + 1] = count

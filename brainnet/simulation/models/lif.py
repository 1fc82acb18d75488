r"""Leaky integrate-and-fire neurons with synaptic currents that decay exponentially, or with voltage jumps.

$$
\tau_m \frac{dv}{dt} = -(v - v_\text{rest}) + \frac{\tau_m}{C} (I_e + I_i + I_0), \qquad
\tau_s \frac{dI_s}{dt} = -I_s + \tau_s \sum_k w_k \, \delta(t - t_k)
$$

The equations are linear, and each step is their exact solution for a constant step. What arrives in a step is added to
the currents at its end, so it moves the potential from the next step on. At $v \ge v_\text{threshold}$ the neuron
fires and is held at $v_\text{reset}$ for its refractory time, rounded to steps, which begins after the step of the
spike: with 20 steps, two spikes are at least 21 apart, as in NEST (Brian2 counts the step of the spike, and has one
less). The currents go on while v is held. Without currents (`synapses: delta`), what arrives is added to v at once, in
mV, before the test for a spike.

Source: Rotter and Diesmann 1999, *Exact digital simulation of time-invariant linear systems with applications to
neuronal modeling*, Biological Cybernetics 81, 381-402.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import ModelParameters, Setting, Values, described
from brainnet.simulation.models.compiled_model import CompiledModel, Kernels, NeuronParameters, add_noise, sort_by_step
from brainnet.simulation.plasticity.homeostasis import Thresholds
from brainnet.simulation.plasticity.learning_window import learn
from brainnet.simulation.random import decay
from brainnet.snn.kernels import compiled

_BLOCK = 512
"""Neurons of one block: its state stays in the first-level cache, and only blocks in which somebody reached the
threshold are looked through."""


class LIFParameters(NeuronParameters):
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


class LIF(CompiledModel):
    """A population of leaky integrate-and-fire neurons."""

    Parameters: ClassVar[type[ModelParameters]] = LIFParameters
    parameters: LIFParameters

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        p, n = self.parameters, setting.size
        spread = setting.spread
        rest, reset = spread("v_rest_mv", p.v_rest_mv), spread("v_reset_mv", p.v_reset_mv)
        threshold = spread("v_threshold_mv", p.v_threshold_mv).copy()
        if not (reset < threshold).all():
            raise ModelError(
                f"{described(self)}: v_reset_mv must lie below v_threshold_mv, or a neuron would fire for ever"
            )
        self.thresholds = Thresholds(threshold, reset)
        dt, farad = setting.dt_ms, p.c_nf * 1000.0  # pF, so that pA and ms give mV
        leak = decay(dt, p.tau_m_ms)
        drive = spread("current_pa", p.current_pa) * (p.tau_m_ms / farad) * (1.0 - leak)
        # what a step adds besides the leak: v <- leak * v + offset + currents
        offset = rest * (1.0 - leak) + drive
        taus = (p.tau_excitatory_ms, p.tau_inhibitory_ms)
        decays = np.array([decay(dt, tau) for tau in taus])
        gains = np.array([_gain(dt, p.tau_m_ms, tau, farad) for tau in taus])
        initial = p.v_initial_mv if p.v_initial_mv is not None else p.v_rest_mv
        self.state = {
            "v": spread("v_initial_mv" if p.v_initial_mv is not None else "v_rest_mv", initial).copy(),
            "currents": np.zeros((2, n)),
            "wait": np.zeros(n, np.int32),
        }
        self.kernels = _EXPONENTIAL if p.synapses == "exponential" else _DELTA
        refractory, noise_port = setting.steps(p.refractory_ms), 0 if self.noise.weight >= 0 else 1
        constants = (leak, offset, gains, decays, threshold, reset, refractory, noise_port)
        self.arguments = (*self.state.values(), *constants)


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
def _fire(low, high, v, threshold, reset, wait, refractory, fired, count):  # type: ignore[no-untyped-def]
    """Let those neurons of a block fire that have reached their threshold; returns the number of spikes so far."""
    for j in range(low, high):
        if v[j] >= threshold[j]:
            v[j] = reset[j]
            wait[j] = refractory
            fired[count] = j
            count += 1
    return count


@compiled
def _advance_exponential(  # type: ignore[no-untyped-def]
    first_step, excitatory, inhibitory, v, currents, wait, leak, offset, gains, decays, threshold, reset, refractory,
    noise_port, key, noise, noise_weight, offsets, fired,
):  # fmt: skip
    scale = 1.0 / UNIT
    steps, n = excitatory.shape
    count = 0
    e, i = currents[0], currents[1]
    gain_e, gain_i, decay_e, decay_i = gains[0], gains[1], decays[0], decays[1]
    bits = np.empty(_BLOCK, np.uint64)
    when = np.empty(fired.size, np.int32)
    # All steps of one block of neurons before the next block: what belongs to a neuron is then read from the memory
    # once a window, and not in every step.
    for low in range(0, n, _BLOCK):
        high = min(n, low + _BLOCK)
        # Parts of the arrays: an index that cannot be negative lets the loop become vector instructions.
        part_v, part_e, part_i, part_wait = v[low:high], e[low:high], i[low:high], wait[low:high]
        part_offset, part_reset, part_threshold = offset[low:high], reset[low:high], threshold[low:high]
        for s in range(steps):
            into_e, into_i = excitatory[s, low:high], inhibitory[s, low:high]
            reached = np.int64(0)
            for j in range(part_v.size):
                u = leak * part_v[j] + part_offset[j] + gain_e * part_e[j] + gain_i * part_i[j]
                held = part_wait[j] > 0
                u = part_reset[j] if held else u
                part_wait[j] -= np.int32(held)
                part_v[j] = u
                part_e[j] = decay_e * part_e[j] + scale * into_e[j]
                part_i[j] = decay_i * part_i[j] + scale * into_i[j]
                reached += np.int64(u >= part_threshold[j])
            if noise.size:
                add_noise(key, noise, noise_weight, first_step + s, low, bits, part_i if noise_port else part_e)
            if reached:
                before = count
                count = _fire(low, high, v, threshold, reset, wait, refractory, fired, count)
                when[before:count] = s
    sort_by_step(fired, when, count, offsets)


@compiled
def _advance_delta(  # type: ignore[no-untyped-def]
    first_step, excitatory, inhibitory, v, currents, wait, leak, offset, gains, decays, threshold, reset, refractory,
    noise_port, key, noise, noise_weight, offsets, fired,
):  # fmt: skip
    scale = 1.0 / UNIT
    steps, n = excitatory.shape
    count = 0
    bits, arrived = np.empty(_BLOCK, np.uint64), np.zeros(_BLOCK)
    when = np.empty(fired.size, np.int32)
    for low in range(0, n, _BLOCK):  # as above
        high = min(n, low + _BLOCK)
        part_v, part_wait, part_arrived = v[low:high], wait[low:high], arrived[: high - low]
        part_offset, part_reset, part_threshold = offset[low:high], reset[low:high], threshold[low:high]
        for s in range(steps):
            into_e, into_i = excitatory[s, low:high], inhibitory[s, low:high]
            if noise.size:
                part_arrived[:] = 0.0
                add_noise(key, noise, noise_weight, first_step + s, low, bits, part_arrived)
            reached = np.int64(0)
            for j in range(part_v.size):
                u = leak * part_v[j] + part_offset[j] + scale * (into_e[j] + into_i[j])
                u += part_arrived[j]
                held = part_wait[j] > 0
                u = part_reset[j] if held else u
                part_wait[j] -= np.int32(held)
                part_v[j] = u
                reached += np.int64(u >= part_threshold[j])
            if reached:
                before = count
                count = _fire(low, high, v, threshold, reset, wait, refractory, fired, count)
                when[before:count] = s
    sort_by_step(fired, when, count, offsets)


@compiled
def _learn_exponential(first_step, excitatory, inhibitory, constants, projections, offsets, fired):  # type: ignore[no-untyped-def]
    learn(_advance_exponential, first_step, excitatory, inhibitory, constants, projections, offsets, fired)


@compiled
def _learn_delta(first_step, excitatory, inhibitory, constants, projections, offsets, fired):  # type: ignore[no-untyped-def]
    learn(_advance_delta, first_step, excitatory, inhibitory, constants, projections, offsets, fired)


_EXPONENTIAL: Final = Kernels(_advance_exponential, _learn_exponential)
_DELTA: Final = Kernels(_advance_delta, _learn_delta)

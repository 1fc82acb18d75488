r"""Leaky integrate-and-fire neurons in biological units, as in `brainnet.snn.neurons.biological_lif`.

$$
V \leftarrow V_\text{rest} + (V - V_\text{rest}) e^{-\Delta t / \tau_m} + R I\,(1 - e^{-\Delta t / \tau_m})
$$

the exact solution for a drive that is constant within a step. Weights are drives R I in mV, for the one step in which
a spike arrives. Where V exceeds the threshold the neuron fires, and for the refractory period, which begins after the
step of the spike, V stays at the reset potential and ignores the input: with n steps, two spikes are at least n + 1
apart.

Source: Gerstner et al. 2014, *Neuronal Dynamics*, section 1.3.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import ModelParameters, Setting, Values, described
from brainnet.simulation.models.compiled_model import CompiledModel, Kernels, NeuronParameters, noise_of
from brainnet.simulation.plasticity.homeostasis import Thresholds
from brainnet.simulation.plasticity.learning_window import learn
from brainnet.simulation.random import decay
from brainnet.snn.kernels import compiled


class BiologicalLIFParameters(NeuronParameters):
    """Constants of the neurons; a value may be one number, a distribution or a list."""

    v_rest_mv: Values = Field(-70.0, description="potential without input")
    v_threshold_mv: Values = Field(-55.0, description="potential above which a neuron fires")
    v_reset_mv: Values = Field(-70.0, description="potential after a spike")
    tau_m_ms: float = Field(20.0, gt=0, allow_inf_nan=False, description="time constant of the membrane")
    refractory_ms: float = Field(
        2.0, ge=0, allow_inf_nan=False, description="time after a spike without another one, rounded up to whole steps"
    )
    drive_mv: Values = Field(0.0, description="constant drive R I")


class BiologicalLIF(CompiledModel):
    """A population of biological neurons; each begins at rest."""

    Parameters: ClassVar[type[ModelParameters]] = BiologicalLIFParameters
    parameters: BiologicalLIFParameters

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        p, spread = self.parameters, setting.spread
        rest, reset = spread("v_rest_mv", p.v_rest_mv), spread("v_reset_mv", p.v_reset_mv)
        threshold = spread("v_threshold_mv", p.v_threshold_mv).copy()
        if not (np.maximum(rest, reset) < threshold).all():
            raise ModelError(f"{described(self)}: v_threshold_mv must lie above v_rest_mv and v_reset_mv")
        self.thresholds = Thresholds(threshold, np.maximum(rest, reset))
        # rounding must not add a step to a period of whole steps (2.1 / 0.3 > 7)
        held_for = math.ceil(p.refractory_ms / setting.dt_ms - 1e-9)
        if held_for > np.iinfo(np.int32).max:
            raise ModelError(f"{described(self)}: refractory_ms {p.refractory_ms:g} is too many steps")
        self.state = {"membrane": rest.copy(), "refractory": np.zeros(setting.size, np.int32)}
        self.kernels = Kernels(_advance, _learn)
        leak = decay(setting.dt_ms, p.tau_m_ms)
        drive = spread("drive_mv", p.drive_mv)
        self.arguments = (*self.state.values(), leak, rest, threshold, reset, held_for, drive)


@compiled
def _advance(  # type: ignore[no-untyped-def]
    first_step, excitatory, inhibitory, membrane, refractory, leak, rest, threshold, reset, held_for, constant,
    key, noise, noise_weight, offsets, fired,
):  # fmt: skip
    scale = 1.0 / UNIT
    gain = 1.0 - leak
    count = 0
    for s in range(excitatory.shape[0]):
        into_e, into_i = excitatory[s], inhibitory[s]
        for j in range(membrane.size):
            drive = constant[j] + scale * (into_e[j] + into_i[j])
            drive += noise_of(key, noise, noise_weight, first_step + s, j)
            v = rest[j] + (membrane[j] - rest[j]) * leak + drive * gain
            held = refractory[j] > 0
            v = reset[j] if held else v
            refractory[j] -= np.int32(held)
            if v > threshold[j]:
                v = reset[j]
                refractory[j] = held_for
                fired[count] = j
                count += 1
            membrane[j] = v
        offsets[s + 1] = count


@compiled
def _learn(first_step, excitatory, inhibitory, constants, projections, offsets, fired):  # type: ignore[no-untyped-def]
    learn(_advance, first_step, excitatory, inhibitory, constants, projections, offsets, fired)

r"""Leaky integrate-and-fire neurons with a threshold that rises with every spike.

$$
\begin{aligned}
a_t &= \rho a_{t-1} + s_{t-1} \\
u_t &= \beta u_{t-1} + x_t - \theta s_{t-1} \quad\text{(or another reset)} \\
s_t &= 1 \text{ if } u_t > \theta + \kappa a_t \text{ else } 0
\end{aligned}
$$

with $\beta = e^{-\Delta t / \tau_m}$ and $\rho = e^{-\Delta t / \tau_a}$. u, x and $\theta$ share a unit; x is what
arrives in the step, plus the constant input. It is the neuron of `brainnet.snn.neurons.adaptive_lif`.

Source: Bellec et al. 2020, *A solution to the learning dilemma for recurrent networks of spiking neurons*, Nature
Communications 11, 3625.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import ModelParameters, Setting, Values, described
from brainnet.simulation.models.compiled_model import CompiledModel, Kernels, NeuronParameters, noise_of
from brainnet.simulation.plasticity.learning_window import learn
from brainnet.simulation.random import decay
from brainnet.snn.kernels import compiled


class AdaptiveLIFParameters(NeuronParameters):
    """Constants of the neurons; a value may be one number, a distribution or a list."""

    tau_m_ms: float = Field(20.0, gt=0, allow_inf_nan=False, description="time constant of the membrane")
    tau_adaptation_ms: float = Field(200.0, gt=0, allow_inf_nan=False, description="time constant of the adaptation")
    kappa: Values = Field(0.1, description="by how much a spike raises the threshold")
    threshold: Values = Field(1.0, description="threshold without adaptation")
    reset: Literal["subtract", "zero", "none"] = Field("subtract", description="what a spike does to the potential")
    current: Values = Field(0.0, description="constant input of a step")


class AdaptiveLIF(CompiledModel):
    """A population of adaptive neurons."""

    Parameters: ClassVar[type[ModelParameters]] = AdaptiveLIFParameters
    parameters: AdaptiveLIFParameters

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        p, n = self.parameters, setting.size
        threshold = setting.spread("threshold", p.threshold)
        if not (threshold >= 0).all():
            raise ModelError(f"{described(self)}: threshold must be at least 0, or a neuron would fire at rest")
        self.state = {"membrane": np.zeros(n), "adaptation": np.zeros(n)}
        self.kernels = Kernels(_advance, _learn)
        self.arguments = (
            *self.state.values(),
            decay(setting.dt_ms, p.tau_m_ms),
            decay(setting.dt_ms, p.tau_adaptation_ms),
            setting.spread("kappa", p.kappa),
            threshold,
            float(p.reset == "subtract"),
            float(p.reset == "zero"),
            setting.spread("current", p.current),
        )


@compiled
def _advance(  # type: ignore[no-untyped-def]
    first_step, excitatory, inhibitory, membrane, adaptation, beta, rho, kappa, threshold, subtracted, zeroed, current,
    key, noise, noise_weight, offsets, fired,
):  # fmt: skip
    scale = 1.0 / UNIT
    count = 0
    for s in range(excitatory.shape[0]):
        into_e, into_i = excitatory[s], inhibitory[s]
        for j in range(membrane.size):
            u, a = membrane[j], adaptation[j]
            drive = current[j] + scale * (into_e[j] + into_i[j])
            drive += noise_of(key, noise, noise_weight, first_step + s, j)
            # the spike of the step before follows from the state, so it is not stored in the state
            before = 1.0 if (u - threshold[j]) - kappa[j] * a > 0.0 else 0.0
            a = rho * a + before
            u = beta * ((1.0 - zeroed * before) * u) + drive
            u = u - subtracted * before * threshold[j]
            membrane[j], adaptation[j] = u, a
            if (u - threshold[j]) - kappa[j] * a > 0.0:
                fired[count] = j
                count += 1
        offsets[s + 1] = count


@compiled
def _learn(first_step, excitatory, inhibitory, constants, projections, offsets, fired):  # type: ignore[no-untyped-def]
    learn(_advance, first_step, excitatory, inhibitory, constants, projections, offsets, fired)

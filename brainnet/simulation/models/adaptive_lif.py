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


class AdaptiveLIFParameters(ModelParameters):
    """Constants of the neurons; a value may be one number, a distribution or a list."""

    tau_m_ms: float = Field(20.0, gt=0, allow_inf_nan=False, description="time constant of the membrane")
    tau_adaptation_ms: float = Field(200.0, gt=0, allow_inf_nan=False, description="time constant of the adaptation")
    kappa: Values = Field(0.1, description="by how much a spike raises the threshold")
    threshold: Values = Field(1.0, description="threshold without adaptation")
    reset: Literal["subtract", "zero", "none"] = Field("subtract", description="what a spike does to the potential")
    current: Values = Field(0.0, description="constant input of a step")
    noise: Noise | None = Field(None, description="Poisson spikes from outside, of each neuron its own")


class AdaptiveLIF(Model):
    """A population of adaptive neurons."""

    Parameters: ClassVar[type[ModelParameters]] = AdaptiveLIFParameters
    parameters: AdaptiveLIFParameters

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        p, n = self.parameters, setting.size
        self._beta, self._rho = decay(setting.dt_ms, p.tau_m_ms), decay(setting.dt_ms, p.tau_adaptation_ms)
        self._kappa, self._threshold = setting.spread("kappa", p.kappa), setting.spread("threshold", p.threshold)
        if not (self._threshold >= 0).all():
            raise ModelError(f"{described(self)}: threshold must be at least 0, or a neuron would fire at rest")
        self._current = setting.spread("current", p.current)
        self._noise = setting.noise(p.noise)
        self.state = {"membrane": np.zeros(n), "adaptation": np.zeros(n)}

    def advance(self, window: Window) -> Spikes:
        """Compute the steps of one window, and return what fired."""
        reset, noise = self.parameters.reset, self._noise
        offsets = np.zeros(window.steps + 1, np.int32)
        fired = np.empty(self.setting.size * window.steps, np.int32)
        _advance(
            window.first_step, window.sums[EXCITATORY], window.sums[INHIBITORY], self.state["membrane"],
            self.state["adaptation"], self._beta, self._rho, self._kappa, self._threshold, float(reset == "subtract"),
            float(reset == "zero"), self._current, noise.key, noise.thresholds, noise.weight, offsets, fired,
        )  # fmt: skip
        return Spikes(window.first_step, offsets, fired[: offsets[-1]].copy())


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
            if noise.size:
                drive += noise_weight * poisson_count(draw(key, first_step + s, j), noise)
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

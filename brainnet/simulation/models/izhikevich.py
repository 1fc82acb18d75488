r"""Izhikevich's neurons: two equations that reproduce the firing patterns of cortical cells.

$$
\frac{dv}{dt} = 0.04 v^2 + 5 v + 140 - u + I, \qquad \frac{du}{dt} = a (b v - u); \qquad
v \ge 30\,\text{mV}: \quad v \leftarrow c,\ u \leftarrow u + d
$$

Steps are Euler's, of 0.5 ms at most as in the author's own program: a longer step of the network is divided, and a
neuron may fire in each of its parts. What arrives in a step is the input I during that step. With dt of 0.5 ms or less
the arithmetic is that of `brainnet.snn.neurons.izhikevich` in float64.

Source: Izhikevich 2003, *Simple Model of Spiking Neurons*, IEEE Transactions on Neural Networks 14(6), 1569-1572.
"""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import ModelParameters, Setting, Values, described
from brainnet.simulation.models.compiled_model import CompiledModel, Kernels, NeuronParameters, noise_of
from brainnet.simulation.plasticity.learning_window import learn
from brainnet.snn.kernels import compiled

_LONGEST_STEP_MS = 0.5
_PEAK_MV = 30.0


class IzhikevichParameters(NeuronParameters):
    """Constants of the neurons; a value may be one number, a distribution or a list."""

    a: Values = Field(0.02, description="rate of the recovery in 1/ms")
    b: Values = Field(0.2, description="sensitivity of the recovery to v")
    c_mv: Values = Field(-65.0, description="potential after a spike")
    d: Values = Field(8.0, description="what a spike adds to the recovery")
    current: Values = Field(0.0, description="constant input")
    v_initial_mv: Values = Field(-65.0, description="potential before the first step; the recovery begins at b v")


class Izhikevich(CompiledModel):
    """A population of Izhikevich's neurons."""

    Parameters: ClassVar[type[ModelParameters]] = IzhikevichParameters
    parameters: IzhikevichParameters

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        p, spread = self.parameters, setting.spread
        parts = max(1, math.ceil(setting.dt_ms / _LONGEST_STEP_MS))
        b, c = spread("b", p.b), spread("c_mv", p.c_mv)
        if not (c < _PEAK_MV).all():
            raise ModelError(f"{described(self)}: c_mv must lie below the peak of {_PEAK_MV:g} mV, where a spike is")
        v = spread("v_initial_mv", p.v_initial_mv).copy()
        self.state = {"v": v, "u": b * v}
        self.most_in_step = parts
        self.kernels = Kernels(_advance, _learn)
        constants = (spread("a", p.a), b, c, spread("d", p.d), spread("current", p.current))
        self.arguments = (*self.state.values(), *constants, setting.dt_ms / parts, parts)


@compiled
def _advance(  # type: ignore[no-untyped-def]
    first_step, excitatory, inhibitory, v, u, a, b, c, d, current, part_ms, parts, key, noise, noise_weight, offsets,
    fired,
):  # fmt: skip
    scale = 1.0 / UNIT
    count = 0
    for s in range(excitatory.shape[0]):
        for j in range(v.size):
            drive = current[j] + scale * (excitatory[s, j] + inhibitory[s, j])
            drive += noise_of(key, noise, noise_weight, first_step + s, j)
            x, y = v[j], u[j]
            for _ in range(parts):
                # in the order of the reference, because rounding depends on it
                dx = 0.04 * (x * x) + 5.0 * x + 140.0 - y + drive
                y += part_ms * a[j] * (b[j] * x - y)
                x += part_ms * dx
                if x >= _PEAK_MV:
                    x = c[j]
                    y += d[j]
                    fired[count] = j
                    count += 1
            v[j], u[j] = x, y
        offsets[s + 1] = count


@compiled
def _learn(first_step, excitatory, inhibitory, constants, projections, offsets, fired):  # type: ignore[no-untyped-def]
    learn(_advance, first_step, excitatory, inhibitory, constants, projections, offsets, fired)

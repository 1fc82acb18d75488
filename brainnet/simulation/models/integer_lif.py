r"""Leaky integrate-and-fire neurons in integers, as in `brainnet.snn.neurons.integer_lif`.

$$
V \leftarrow \operatorname{clamp}(\lfloor V \cdot \text{leak} / 256 \rfloor + I,\ -32768,\ 32767), \qquad
V \ge \theta: \quad \text{spike},\ V \leftarrow V_\text{reset}
$$

The potential is int16. I is a whole number: the sum of all weights that arrive in the step, rounded down, plus the
constant current. Nothing is rounded where the weights are whole numbers.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from pydantic import Field

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT, to_fixed
from brainnet.simulation.models.base import ModelParameters, Setting, described
from brainnet.simulation.models.compiled_model import CompiledModel, Kernels, NeuronParameters, noise_of
from brainnet.simulation.plasticity.learning_window import learn
from brainnet.snn.kernels import compiled

_LOW: Final = -32768
_HIGH: Final = 32767
_SHIFT: Final = UNIT.bit_length() - 1
_CURRENT_BOUND: Final = _HIGH - _LOW
"""A larger input clamps V to the same end as this one."""


class IntegerLIFParameters(NeuronParameters):
    """Constants of the neurons, whole numbers."""

    leak: int = Field(230, ge=0, le=256, description="what remains of V after a step, in 256ths")
    threshold: int = Field(1024, ge=_LOW, le=_HIGH, description="potential at which a neuron fires")
    reset: int = Field(0, ge=_LOW, le=_HIGH, description="potential after a spike")
    current: int = Field(0, ge=-_CURRENT_BOUND, le=_CURRENT_BOUND, description="constant input of a step")
    v_initial: int = Field(0, ge=_LOW, le=_HIGH, description="potential before the first step")


class IntegerLIF(CompiledModel):
    """A population of integer neurons."""

    Parameters: ClassVar[type[ModelParameters]] = IntegerLIFParameters
    parameters: IntegerLIFParameters

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        p = self.parameters
        try:
            self.noise = self.noise._replace(weight=np.int64(to_fixed(self.noise.weight)))
        except ModelError as error:
            raise ModelError(f"{described(self)}: noise: {error}") from None
        self.state = {"v": np.full(setting.size, p.v_initial, np.int16)}
        self.kernels = Kernels(_advance, _learn)
        self.arguments = (*self.state.values(), p.leak, p.threshold, p.reset, p.current)


@compiled
def _advance(  # type: ignore[no-untyped-def]
    first_step,
    excitatory,
    inhibitory,
    membrane,
    leak,
    threshold,
    reset,
    current,
    key,
    noise,
    noise_weight,
    offsets,
    fired,
):
    count = 0
    for s in range(excitatory.shape[0]):
        into_e, into_i = excitatory[s], inhibitory[s]
        for j in range(membrane.size):
            arrived = into_e[j] + into_i[j] + noise_of(key, noise, noise_weight, first_step + s, j)
            # >> on a signed integer rounds down
            drive = min(max((arrived >> _SHIFT) + current, -_CURRENT_BOUND), _CURRENT_BOUND)
            v = ((np.int64(membrane[j]) * leak) >> 8) + drive
            v = min(max(v, _LOW), _HIGH)
            if v >= threshold:
                v = reset
                fired[count] = j
                count += 1
            membrane[j] = v
        offsets[s + 1] = count


@compiled
def _learn(first_step, excitatory, inhibitory, constants, projections, offsets, fired):  # type: ignore[no-untyped-def]
    learn(_advance, first_step, excitatory, inhibitory, constants, projections, offsets, fired)

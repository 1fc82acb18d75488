r"""STDP with reward: the constants of synapses that change when a modulator follows their spikes.

Source: Izhikevich 2007, *Solving the distal reward problem through linkage of STDP and dopamine signaling*, Cerebral
Cortex 17(10), 2443-2452; the time constants and the amount of a reward are his, the amplitudes those of Song, Miller
and Abbott 2000.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from brainnet.simulation.plasticity.base import ModulatedRule, PlasticSynapses

if TYPE_CHECKING:
    from brainnet.simulation.rows import Rows


Amplitude = Annotated[float, Field(ge=-1e9, le=1e9)]


class DopamineSTDP(ModulatedRule):
    """Constants of the rule.

    The pairs of STDP change an eligibility trace c of each synapse in place of its weight; c decays with `tau_c_ms`.
    The modulator d decays with `tau_d_ms`. The weight changes by dw/dt = c d, with the time in seconds: the
    amplitudes are in units of the weight per second, for d = 1.
    """

    rule: Literal["dopamine_stdp"] = "dopamine_stdp"
    potentiation: Amplitude = Field(0.005, description="A+, of pairs in which the target fires later")
    depression: Amplitude = Field(0.00525, description="A-, of pairs in which the target fires first")
    tau_plus_ms: float = Field(20.0, gt=0, allow_inf_nan=False, description="of the presynaptic trace")
    tau_minus_ms: float = Field(20.0, gt=0, allow_inf_nan=False, description="of the postsynaptic trace")
    tau_c_ms: float = Field(1000.0, gt=0, allow_inf_nan=False, description="of the eligibility c; at least one step")
    tau_d_ms: float = Field(200.0, gt=0, allow_inf_nan=False, description="of the modulator d")
    w_min: float = Field(0.0, allow_inf_nan=False, description="the smallest weight")
    w_max: float = Field(1.0, allow_inf_nan=False, description="the largest weight")

    def synapses(self, rows: Rows, targets: int, dt_ms: float) -> PlasticSynapses:
        """Make the synapses of a projection.

        Raises:
            ModelError: The bounds are the wrong way round, a weight lies outside of them, or `tau_c_ms` is shorter
                than a step.
        """
        from brainnet.simulation.plasticity.eligibility import EligibleSynapses  # compiled code

        return EligibleSynapses(rows, targets, self, dt_ms)

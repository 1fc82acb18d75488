r"""Plasticity that depends on the times of spikes: the constants of the pair and of the triplet rule.

Sources: Song, Miller and Abbott 2000, *Competitive Hebbian learning through spike-timing-dependent synaptic
plasticity*, Nature Neuroscience 3; Pfister and Gerstner 2006, *Triplets of Spikes in a Model of Spike Timing-Dependent
Plasticity*, Journal of Neuroscience 26(38).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from brainnet.simulation.plasticity.base import PlasticityRule, PlasticSynapses

if TYPE_CHECKING:
    from brainnet.simulation.rows import Rows


class STDP(PlasticityRule):
    """Constants of the rule; amplitudes are in the unit of the weights.

    The defaults of the pair rule are those of Song, Miller and Abbott 2000 for weights between 0 and 1. With
    `triplet_*` it is the rule of Pfister and Gerstner 2006.
    """

    rule: Literal["stdp"] = "stdp"
    potentiation: float = Field(0.005, allow_inf_nan=False, description="A2+, of pairs in which the target fires later")
    depression: float = Field(0.00525, allow_inf_nan=False, description="A2-, of pairs in which the target fires first")
    triplet_potentiation: float = Field(0.0, allow_inf_nan=False, description="A3+")
    triplet_depression: float = Field(0.0, allow_inf_nan=False, description="A3-")
    tau_plus_ms: float = Field(20.0, gt=0, allow_inf_nan=False, description="of the presynaptic trace r1")
    tau_minus_ms: float = Field(20.0, gt=0, allow_inf_nan=False, description="of the postsynaptic trace o1")
    tau_x_ms: float = Field(101.0, gt=0, allow_inf_nan=False, description="of the slow presynaptic trace r2")
    tau_y_ms: float = Field(125.0, gt=0, allow_inf_nan=False, description="of the slow postsynaptic trace o2")
    w_min: float = Field(0.0, allow_inf_nan=False, description="the smallest weight")
    w_max: float = Field(1.0, allow_inf_nan=False, description="the largest weight")

    def synapses(self, rows: Rows, targets: int, dt_ms: float) -> PlasticSynapses:
        """Make the synapses of a projection.

        Raises:
            ModelError: The bounds are the wrong way round, or a weight lies outside of them.
        """
        from brainnet.simulation.plasticity.pair_and_triplet import STDPSynapses  # compiled code

        return STDPSynapses(rows, targets, self, dt_ms)

r"""Short-term plasticity: the constants of synapses whose effect grows or shrinks with use.

Sources: Tsodyks, Pawelzik and Markram 1998, *Neural Networks with Dynamic Synapses*, Neural Computation 10(4); the
values without any others are those of the depressing synapse of Wu, Wong and Tsodyks 2013, *Short-term synaptic
plasticity*, Scholarpedia 8(10).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brainnet.simulation.plasticity.base import Efficacies, EfficacyRule


class ShortTerm(EfficacyRule):
    """Constants of the rule, which are those of `brainnet.snn.plasticity.short_term_plasticity`.

    A spike adds its weight times the efficacy u x: the first spike of a neuron, or one after a long time, w U. It is
    not normalised, so that a weight of 1 / U times that of a static synapse gives the same first spike.

    With a rule that learns on the same projection, that rule changes w, and neither u nor x.
    """

    rule: Literal["short_term"] = "short_term"
    utilisation: float = Field(
        0.45, gt=0, le=1, description="U: part of the resources that the first spike uses, above 0 and at most 1"
    )
    tau_facilitation_ms: float = Field(50.0, gt=0, allow_inf_nan=False, description="tau_f: decay of the release u")
    tau_depression_ms: float = Field(750.0, gt=0, allow_inf_nan=False, description="tau_d: return of the resources x")

    def efficacies(self, sources: int, dt_ms: float) -> Efficacies:
        """Make the state of a projection: u and x of each source neuron."""
        from brainnet.simulation.plasticity.release import Release  # compiled code

        return Release(sources, self, dt_ms)

"""Synapses that change: by the times of spikes, for a while after a spike, and by reward.

The rules here are descriptions; the compiled code that follows them is imported when a network is built.
"""

from brainnet.simulation.plasticity.base import (
    Efficacies,
    EfficacyRule,
    ModulatedRule,
    ModulatedSynapses,
    PlasticityRule,
    PlasticSynapses,
    Rule,
)
from brainnet.simulation.plasticity.dopamine_stdp import DopamineSTDP
from brainnet.simulation.plasticity.short_term import ShortTerm
from brainnet.simulation.plasticity.stdp import STDP

__all__ = [
    "STDP",
    "DopamineSTDP",
    "Efficacies",
    "EfficacyRule",
    "ModulatedRule",
    "ModulatedSynapses",
    "PlasticSynapses",
    "PlasticityRule",
    "Rule",
    "ShortTerm",
]

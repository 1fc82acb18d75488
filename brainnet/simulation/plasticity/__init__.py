"""Synapses that change: by the times of spikes, for a while after a spike, and by reward.

The rules here are descriptions; the compiled code that follows them is imported when a network is built.
"""

from brainnet.simulation.plasticity.base import PlasticityRule, PlasticSynapses
from brainnet.simulation.plasticity.stdp import STDP

__all__ = ["STDP", "PlasticSynapses", "PlasticityRule"]

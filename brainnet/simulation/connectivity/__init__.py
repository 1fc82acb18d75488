"""Which neurons of two populations are connected, how strongly, and with which delays.

Guarantee: the synapses of a projection depend on its rule, the sizes of its populations, the seed of the network and
the name of the projection alone. Those of a part of the targets can be made alone, and are the same as in the whole.
"""

from brainnet.simulation.connectivity.all_to_all import AllToAll
from brainnet.simulation.connectivity.base import MAX_DELAY_STEPS, Delays, Ends, Estimate, SynapseRule
from brainnet.simulation.connectivity.distance_dependent import DistanceDependent
from brainnet.simulation.connectivity.explicit import Explicit
from brainnet.simulation.connectivity.fixed_in_degree import FixedInDegree
from brainnet.simulation.connectivity.fixed_probability import FixedProbability
from brainnet.simulation.connectivity.fixed_total_number import FixedTotalNumber
from brainnet.simulation.connectivity.one_to_one import OneToOne
from brainnet.simulation.connectivity.positions import Grid, PositionFile
from brainnet.simulation.connectivity.procedural import Procedural
from brainnet.simulation.connectivity.rules import Rule, build, check, estimate, rule_of
from brainnet.simulation.connectivity.small_world import SmallWorld
from brainnet.simulation.connectivity.values import Drawn

__all__ = [
    "MAX_DELAY_STEPS",
    "AllToAll",
    "Delays",
    "DistanceDependent",
    "Drawn",
    "Ends",
    "Estimate",
    "Explicit",
    "FixedInDegree",
    "FixedProbability",
    "FixedTotalNumber",
    "Grid",
    "OneToOne",
    "PositionFile",
    "Procedural",
    "Rule",
    "SmallWorld",
    "SynapseRule",
    "build",
    "check",
    "estimate",
    "rule_of",
]

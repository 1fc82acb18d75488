"""One synapse for each pair of neurons."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brainnet.simulation.connectivity.base import Ends, Pairs, SynapseRule

SELF_CONNECTIONS = "whether neuron i of the source may be connected to neuron i of the target; false needs equal sizes"


class AllToAll(SynapseRule):
    """Every neuron of the source is connected to every neuron of the target."""

    connect: Literal["all_to_all"] = "all_to_all"
    self_connections: bool = Field(True, description=SELF_CONNECTIONS)

    def expected(self, ends: Ends) -> float:
        """Return the number of synapses."""
        if not self.self_connections:
            ends.need_one_population("self_connections")
        return (ends.sources - (not self.self_connections)) * (ends.high - ends.low)

    def pairs(self, ends: Ends) -> Pairs:
        """Return which neurons are connected."""
        from brainnet.simulation.connectivity.kernels import all_pairs

        self.expected(ends)
        pairs: Pairs = all_pairs(ends.sources, ends.low, ends.high, not self.self_connections)
        return pairs

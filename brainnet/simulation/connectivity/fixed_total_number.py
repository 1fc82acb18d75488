"""A given number of synapses between two populations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from brainnet.simulation.connectivity.all_to_all import SELF_CONNECTIONS
from brainnet.simulation.connectivity.base import Ends, Pairs, SynapseRule


class FixedTotalNumber(SynapseRule):
    """Each of n synapses draws a source and a target, so two neurons may have more than one.

    This is how the cortical microcircuit of Potjans and Diesmann 2014 is connected.
    """

    connect: Literal["fixed_total_number"] = "fixed_total_number"
    n: int = Field(ge=0, description="synapses of the projection")
    self_connections: bool = Field(True, description=SELF_CONNECTIONS)

    def expected(self, ends: Ends) -> float:
        """Return the number of synapses; the mean one of a part of the targets."""
        if not self.self_connections:
            ends.need_one_population("self_connections")
        if self.n and ends.sources - (not self.self_connections) == 0:
            raise ends.error("n", "there is no source neuron besides the target itself")
        return self.n * (ends.high - ends.low) / ends.targets

    def pairs(self, ends: Ends) -> Pairs:
        """Return which neurons are connected."""
        from brainnet.simulation.connectivity.kernels import draw_pairs, transposed

        self.expected(ends)
        without_self = not self.self_connections
        by_target, sources = draw_pairs(
            ends.sources, ends.targets, ends.low, ends.high, self.n, without_self, ends.key("pairs")
        )
        pairs: Pairs = transposed(by_target, sources, ends.sources)
        return pairs

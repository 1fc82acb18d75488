"""Each target neuron has the same number of synapses."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from brainnet.simulation.connectivity.all_to_all import SELF_CONNECTIONS
from brainnet.simulation.connectivity.base import Ends, Pairs, SynapseRule


class FixedInDegree(SynapseRule):
    """Each neuron of the target draws n neurons of the source, all with the same probability."""

    connect: Literal["fixed_in_degree"] = "fixed_in_degree"
    n: int = Field(ge=0, description="synapses of each target neuron")
    multiple_synapses: bool = Field(False, description="whether a source may be drawn more than once by one target")
    self_connections: bool = Field(True, description=SELF_CONNECTIONS)

    def expected(self, ends: Ends) -> float:
        """Return the number of synapses."""
        if not self.self_connections:
            ends.need_one_population("self_connections")
        choices = ends.sources - (not self.self_connections)
        if self.n > choices and not self.multiple_synapses:
            raise ends.error(
                "n",
                f"{self.n} different sources of each target are asked for, and there are {choices}; ask for at most as "
                "many, or allow multiple_synapses",
            )
        if self.n and not choices:
            raise ends.error("n", "there is no source neuron besides the target itself")
        return float(self.n * (ends.high - ends.low))

    def pairs(self, ends: Ends) -> Pairs:
        """Return which neurons are connected."""
        from brainnet.simulation.connectivity.kernels import draw_sources, transposed

        self.expected(ends)
        sources = draw_sources(
            ends.sources, ends.low, ends.high, self.n, not self.self_connections, self.multiple_synapses,
            ends.key("sources"),
        )  # fmt: skip
        by_target = self.n * np.arange(ends.high - ends.low + 1, dtype=np.int64)
        pairs: Pairs = transposed(by_target, sources, ends.sources)
        return pairs

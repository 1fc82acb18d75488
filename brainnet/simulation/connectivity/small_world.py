"""Small-world networks: a ring of neighbours, of whose edges some lead anywhere."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from brainnet.simulation.connectivity.base import Ends, Pairs, SynapseRule


class SmallWorld(SynapseRule):
    """The network of Watts and Strogatz 1998, with directed edges, within a population or between two of one size.

    Neuron i is connected to the k neurons of the target whose numbers are nearest to i on a ring, i itself left out.
    Each of these edges then leads, with probability beta, to another target, which is drawn among those to which i has
    no edge. So each source has k different targets, and none of its own number.
    """

    connect: Literal["small_world"] = "small_world"
    k: int = Field(ge=2, multiple_of=2, description="targets of each source, an even number below the size")
    beta: float = Field(ge=0, le=1, allow_inf_nan=False, description="probability that an edge is drawn anew, 0 to 1")

    def expected(self, ends: Ends) -> float:
        """Return the number of synapses; the mean one of a part of the targets."""
        if ends.sources != ends.targets:
            raise ends.error(
                "connect",
                f"small_world needs two populations of one size; the source has {ends.sources} neurons and the target "
                f"{ends.targets}",
            )
        if self.k >= ends.sources:
            raise ends.error("k", f"must be below the size {ends.sources}, got {self.k}")
        return float(self.k * (ends.high - ends.low))

    def pairs(self, ends: Ends) -> Pairs:
        """Return which neurons are connected."""
        from brainnet.simulation.connectivity.kernels import part_of, rewired_ring, transposed

        self.expected(ends)
        start = self.k * np.arange(ends.sources + 1, dtype=np.int64)
        targets = rewired_ring(ends.sources, self.k, self.beta, ends.key("targets"))
        if (ends.low, ends.high) != (0, ends.targets):
            start, targets, _ = part_of(start, targets, ends.low, ends.high)
        # Turned twice, the targets of each row are in order.
        by_target, sources = transposed(start, targets, ends.high - ends.low)
        pairs: Pairs = transposed(by_target, sources, ends.sources)
        return pairs

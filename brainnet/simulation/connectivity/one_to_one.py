"""One synapse from each neuron to the one of the same number."""

from __future__ import annotations

from typing import Literal

import numpy as np

from brainnet.simulation.connectivity.base import Ends, Pairs, SynapseRule


class OneToOne(SynapseRule):
    """Neuron i of the source is connected to neuron i of the target; both have the same size."""

    connect: Literal["one_to_one"] = "one_to_one"

    def expected(self, ends: Ends) -> float:
        """Return the number of synapses."""
        if ends.sources != ends.targets:
            raise ends.error(
                "connect",
                f"one_to_one needs two populations of one size; the source has {ends.sources} neurons and the target "
                f"{ends.targets}",
            )
        return ends.high - ends.low

    def pairs(self, ends: Ends) -> Pairs:
        """Return which neurons are connected."""
        self.expected(ends)
        start = np.clip(np.arange(ends.sources + 1, dtype=np.int64) - ends.low, 0, ends.high - ends.low)
        return start, np.arange(ends.high - ends.low, dtype=np.int32)

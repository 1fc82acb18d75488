"""Each pair of neurons is connected with one probability."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Literal

import numpy as np
from pydantic import Field

from brainnet.simulation.connectivity.all_to_all import SELF_CONNECTIONS
from brainnet.simulation.connectivity.base import Ends, Pairs, SynapseRule

_LEAST_BLOCK = 1 << 10
_LARGEST_BLOCK = 1 << 30


class FixedProbability(SynapseRule):
    """Each pair is connected with probability p, independently of all others and at most once."""

    connect: Literal["fixed_probability"] = "fixed_probability"
    p: float = Field(ge=0, le=1, allow_inf_nan=False, description="probability of a synapse of a pair, 0 to 1")
    self_connections: bool = Field(True, description=SELF_CONNECTIONS)

    def expected(self, ends: Ends) -> float:
        """Return the mean number of synapses."""
        if not self.self_connections:
            ends.need_one_population("self_connections")
        return self.p * (ends.sources - (not self.self_connections)) * (ends.high - ends.low)

    def pairs(self, ends: Ends) -> Pairs:
        """Return which neurons are connected."""
        from brainnet.simulation.connectivity.kernels import all_pairs, random_pairs

        self.expected(ends)
        without_self = not self.self_connections
        if self.p == 1.0:
            start, targets = all_pairs(ends.sources, ends.low, ends.high, without_self)
            return start, targets
        with localcontext() as context:
            context.prec = 40
            logarithm = float((1 - Decimal(self.p)).ln())  # the same on every machine
        if logarithm == 0.0 or ends.low == ends.high:
            return np.zeros(ends.sources + 1, np.int64), np.zeros(0, np.int32)
        # Each block costs one draw that hits nothing: at p it holds about 16 that do. It is part of the rule's meaning.
        block = _LEAST_BLOCK
        while block * self.p < 16 and block < _LARGEST_BLOCK:
            block *= 2
        key = ends.key("targets")
        start, targets = random_pairs(ends.sources, ends.low, ends.high, block, 1.0 / logarithm, without_self, key)
        return start, targets

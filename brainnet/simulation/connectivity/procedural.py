"""Synapses of which nothing is stored: they are computed anew for each spike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from brainnet.simulation.connectivity.base import Delays, Ends, Estimate, Pairs, SynapseRule
from brainnet.simulation.connectivity.values import Drawn
from brainnet.simulation.fixed_point import MAX_WEIGHT

if TYPE_CHECKING:
    from brainnet.simulation.connectivity.procedural_synapses import ProceduralSynapses


class Procedural(SynapseRule):
    """Each target draws `in_degree` sources, or each source `out_degree` targets; one of the two is given.

    Two neurons may have several synapses, and a neuron one with that of its own number. Targets, weights and delays are
    hashes of the seed, computed when a spike is delivered; such synapses cannot learn. The number of synapses of each
    source is stored, and nothing else. A part of the targets costs as much time as the whole.
    """

    connect: Literal["procedural"] = "procedural"
    in_degree: int | None = Field(None, ge=0, description="synapses of each target neuron")
    out_degree: int | None = Field(None, ge=0, description="synapses of each source neuron")

    @model_validator(mode="after")
    def _one_of_them(self) -> Procedural:
        if (self.in_degree is None) == (self.out_degree is None):
            raise ValueError("exactly one of in_degree and out_degree is needed")
        return self

    def expected(self, ends: Ends) -> float:
        """Return the number of synapses; the mean one of a part of the targets."""
        if self.in_degree is not None:
            return float(self.in_degree * (ends.high - ends.low))
        assert self.out_degree is not None
        return ends.sources * self.out_degree * (ends.high - ends.low) / ends.targets

    def estimate(self, ends: Ends) -> Estimate:
        """Return the number of synapses, and the bytes that are stored."""
        return Estimate(round(self.expected(ends)), 8 * (ends.sources + 1))

    def check(self, ends: Ends) -> Delays:
        """Check everything that can be checked without making synapses, and return between what their delays lie.

        Raises:
            ModelError: As for `synapses`.
        """
        delays = super().check(ends)
        if isinstance(self.weight, Drawn) and not self.weight.largest() <= MAX_WEIGHT:
            largest = self.weight.largest()
            raise ends.error("weight", f"up to {largest:g} may be drawn; at most {MAX_WEIGHT:g} is possible")
        return delays

    def sample(self, ends: Ends) -> ProceduralSynapses:
        """Return one synapse, for checks of what is made of it."""
        return self.model_copy(update={"in_degree": None, "out_degree": 1}).synapses(
            replace(ends, sources=1, targets=1, low=0, high=1)
        )

    def synapses(self, ends: Ends) -> ProceduralSynapses:
        """Return the synapses, which compute themselves.

        Raises:
            ModelError: A weight or a delay is not possible.
        """
        from brainnet.simulation.connectivity.procedural_synapses import ProceduralSynapses

        self.check(ends)
        return ProceduralSynapses(self, ends)

    def pairs(self, ends: Ends) -> Pairs:
        """Return which neurons are connected."""
        rows = self.synapses(ends).rows()
        order = np.lexsort((rows.targets, np.repeat(np.arange(rows.sources), np.diff(rows.start))))
        return rows.start, rows.targets[order]

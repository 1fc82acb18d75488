"""Near neurons are connected with a higher probability than far ones."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.simulation.connectivity.all_to_all import SELF_CONNECTIONS
from brainnet.simulation.connectivity.base import Ends, Pairs, SynapseRule
from brainnet.simulation.connectivity.positions import Positions

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_SAMPLED = 256
"""Sources from which the number of synapses is estimated."""
_SAMPLED_PAIRS = 1 << 22


class DistanceDependent(SynapseRule):
    r"""Each pair is connected with a probability that falls with its distance d, independently of all others.

    $$
    p(d) = p_{max} \exp(-d^2 / 2 \sigma^2) \quad \text{(gaussian)} \qquad
    p(d) = p_{max} \exp(-d / \sigma) \quad \text{(exponential)}
    $$

    Beyond `radius` p is 0. Without a `radius` it is cut where it is below 2**-53 of p_max, which no random number
    reaches: at 8.6 sigma and 36.7 sigma. The time to build grows with the number of pairs within the radius.
    """

    connect: Literal["distance_dependent"] = "distance_dependent"
    source_positions: Positions = Field(description="of the source neurons: {grid: [x, y]} or {file: FILE.npz}")
    target_positions: Positions = Field(description="of the target neurons: {grid: [x, y]} or {file: FILE.npz}")
    profile: Literal["gaussian", "exponential"] = Field("gaussian", description="how the probability falls")
    p_max: float = Field(1.0, ge=0, le=1, allow_inf_nan=False, description="probability at distance 0, 0 to 1")
    sigma: Positive = Field(description="width of the profile, in the unit of the positions")
    radius: Positive | None = Field(None, description="distance beyond which there are no synapses; without it, no end")
    periodic: bool = Field(False, description="whether opposite edges of the box are joined")
    extent: tuple[Positive, ...] | None = Field(
        None, description="edges of a periodic box that begins at 0; without it, those of the grids"
    )
    self_connections: bool = Field(True, description=SELF_CONNECTIONS)

    def _reach(self) -> float:
        bits = 53 * math.log(2)
        end = self.sigma * (math.sqrt(2 * bits) if self.profile == "gaussian" else bits)
        return end if self.radius is None else min(self.radius, end)

    def _places(self, ends: Ends) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return positions of sources and targets [neurons, 3], and the periods [3], 0 where there is none."""
        if not self.self_connections:
            ends.need_one_population("self_connections")
        source = self.source_positions.positions(ends, "source_positions", ends.sources)
        target = self.target_positions.positions(ends, "target_positions", ends.targets)
        axes = source.shape[1]
        if target.shape[1] != axes:
            raise ends.error("target_positions", f"has {target.shape[1]} axes, and source_positions has {axes}")
        period = np.zeros(3)
        if self.periodic:
            extent = self._box(ends)
            if len(extent) != axes:
                raise ends.error("extent", f"has {len(extent)} axes, and the positions have {axes}")
            period[:axes] = extent
            for field, places in (("source_positions", source), ("target_positions", target)):
                if places.min() < 0 or (places > period[:axes]).any():
                    raise ends.error(field, f"a position lies outside of the periodic box from 0 to {list(extent)}")
        elif self.extent is not None:
            raise ends.error("extent", "is used with periodic: true alone")
        wide = [np.zeros((places.shape[0], 3)) for places in (source, target)]
        wide[0][:, :axes], wide[1][:, :axes] = source, target
        return wide[0], wide[1], period

    def _box(self, ends: Ends) -> tuple[float, ...]:
        if self.extent is not None:
            return self.extent
        boxes = {box for box in (self.source_positions.extent(), self.target_positions.extent()) if box is not None}
        if len(boxes) != 1:
            raise ends.error("extent", "a periodic box needs its edges, unless they are those of the grids, and equal")
        return boxes.pop()

    def expected(self, ends: Ends) -> float:
        """Return the mean number of synapses, estimated from some of the pairs."""
        source, target, period = self._places(ends)
        if ends.low == ends.high:
            return 0.0
        chosen = np.unique(np.linspace(0, ends.sources - 1, min(ends.sources, _SAMPLED)).astype(np.int64))
        fewer = max(1, -(-(ends.high - ends.low) // (_SAMPLED_PAIRS // chosen.size)))
        among = np.arange(ends.low, ends.high, fewer)
        total, pairs = 0.0, 0
        for i in chosen:
            apart = np.abs(target[among] - source[i])
            apart = np.where(period > 0, np.minimum(apart, period - apart), apart)
            square = (apart**2).sum(1)
            if self.profile == "gaussian":
                p = np.exp(-0.5 * square / self.sigma**2)
            else:
                p = np.exp(-np.sqrt(square) / self.sigma)
            p[square > self._reach() ** 2] = 0
            if not self.self_connections:
                p[among == i] = 0
            total += float(p.sum())
            pairs += among.size
        return self.p_max * total / pairs * ends.sources * (ends.high - ends.low)

    def pairs(self, ends: Ends) -> Pairs:
        """Return which neurons are connected."""
        from brainnet.simulation.connectivity.kernels import EXPONENTIAL, GAUSSIAN, near_pairs, transposed

        source, target, period = self._places(ends)
        reach = self._reach()
        cells, origin, cell_size = _cells(source, period, reach)
        at = np.minimum(((source - origin) / cell_size).astype(np.int64), cells - 1)
        cell = (at[:, 0] * cells[1] + at[:, 1]) * cells[2] + at[:, 2]
        cell_start, in_cell = transposed(
            np.arange(ends.sources + 1, dtype=np.int64), cell.astype(np.int32), int(cells.prod())
        )
        profile = GAUSSIAN if self.profile == "gaussian" else EXPONENTIAL
        by_target, sources = near_pairs(
            source[in_cell], target, in_cell, cell_start, cells, origin, cell_size, period, profile, self.p_max,
            self.sigma, reach, ends.low, ends.high, not self.self_connections, ends.key("pairs"),
        )  # fmt: skip
        pairs: Pairs = transposed(by_target, sources, ends.sources)
        return pairs


def _cells(source: NDArray[np.float64], period: NDArray[np.float64], reach: float) -> tuple[Any, Any, Any]:
    """Return number of cells, origin and cell edges by axis, so that what is within reach is in the cells around."""
    origin = np.where(period > 0, 0.0, source.min(0))
    span = np.where(period > 0, period, source.max(0) - origin)
    used = int((span > 0).sum())
    most = max(1, math.ceil(source.shape[0] ** (1 / max(1, used))))
    reach *= 1 + 1e-9  # a cell may be too large, and never too small by a rounding error
    cells = np.clip(np.minimum(span / reach, most).astype(np.int64), 1, None)
    cells[(period > 0) & (cells < 3)] = 1  # the cell before and the one after would be the same
    size = np.where(span > 0, span / cells, 1.0)
    return cells, origin, size

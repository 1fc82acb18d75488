r"""Occupancy of space: the cells in which points lie.

The cell of a point p has the indices $\lfloor (p - p_\text{low}) / (p_\text{high} - p_\text{low}) \cdot n \rfloor$ on
the three axes, so each cell holds its lower faces and not its upper ones. Source: Moravec and Elfes 1985, *High
resolution maps from wide angle sonar*, ICRA, 116-121 (occupancy grids).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block
from brainnet.sensors.encoders.base import Encoder, spikes_at
from brainnet.simulation.spikes import Spikes

Point = tuple[float, float, float]


class Voxels(Encoder):
    """Clouds of points as occupied cells.

    In the step of a cloud, each cell with at least `min_points` of its points fires once; the neuron of the cell (i, j,
    k) is (i n_y + j) n_z + k. Points outside the box, and those that are not finite, as depth cameras give them where
    they see nothing, are left out.

    Args:
        low: Lower corner of the box.
        high: Upper corner of the box.
        cells: How many there are along each axis.
        dt_us: A step in microseconds.
        min_points: Points of an occupied cell.

    Raises:
        SensorError: A box without extent, no cell, or `min_points` below 1.
    """

    def __init__(
        self, low: Point, high: Point, cells: tuple[int, int, int], dt_us: int, *, min_points: int = 1
    ) -> None:
        if not (len(low) == len(high) == len(cells) == 3 and all(n >= 1 for n in cells)):
            raise SensorError(
                f"Voxels: corners and cells have three numbers, cells at least 1; got {low} {high} {cells}"
            )
        if not all(math.isfinite(b - a) and a < b for a, b in zip(low, high, strict=True)):
            raise SensorError(f"Voxels: the corner {low} must lie below {high} on each axis")
        super().__init__(math.prod(cells), dt_us)
        if min_points < 1:
            raise SensorError(f"{self.name}: min_points must be at least 1, not {min_points}")
        self._low, self._cells, self._min_points = np.array(low, np.float64), np.array(cells, np.int64), min_points
        self._extent = np.array(high, np.float64) - self._low

    def _encode(self, first_step: int, steps: int, at: Sequence[int], payloads: Sequence[Block]) -> Spikes:
        found = [np.zeros(0, np.int64)]
        for step, block in zip(at, payloads, strict=True):
            found.append((step - first_step) * self.size + self._occupied(block))
        # two clouds in one step may occupy the same cell
        both = np.unique(np.concatenate(found))
        return spikes_at(first_step, steps, both // self.size + first_step, both % self.size)

    def _occupied(self, block: Block) -> NDArray[np.int64]:
        points = self.values(block, (-1, 3), finite=False)
        with np.errstate(over="ignore", invalid="ignore"):
            place = np.floor((points - self._low) / self._extent * self._cells)
        inside = ((place >= 0) & (place < self._cells)).all(axis=1)
        i, j, k = place[inside].astype(np.int64).T
        cells, counts = np.unique((i * self._cells[1] + j) * self._cells[2] + k, return_counts=True)
        return cells[counts >= self._min_points]

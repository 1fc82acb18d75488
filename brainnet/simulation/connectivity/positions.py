"""Where neurons are: on a grid, or as a file says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from brainnet.simulation.connectivity.base import Ends
from brainnet.simulation.connectivity.npz import read_arrays

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Grid(BaseModel):
    """Neurons in the middle of the fields of a grid of 1 to 3 axes, numbered along the last axis first."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    grid: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        min_length=1, max_length=3, description="fields along each axis; their product is the size of the population"
    )
    spacing: Positive = Field(1.0, description="edge of a field, in the unit of sigma")

    def positions(self, ends: Ends, field: str, size: int) -> NDArray[np.float64]:
        """Return positions [neurons, axes].

        Raises:
            ModelError: The grid has another number of fields than the population has neurons.
        """
        if math.prod(self.grid) != size:
            raise ends.error(field, f"the grid has {math.prod(self.grid)} fields for {size} neurons")
        axes = np.indices(self.grid).reshape(len(self.grid), -1)
        return np.ascontiguousarray((axes.T + 0.5) * self.spacing)

    def extent(self) -> tuple[float, ...]:
        """Return the edges of the grid."""
        return tuple(count * self.spacing for count in self.grid)


class PositionFile(BaseModel):
    """Positions of neurons in an array [neurons, axes] of an npz file, with 1 to 3 axes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: Path = Field(description="an npz file")
    array: str = Field("positions", description="name of the array in the file")

    def positions(self, ends: Ends, field: str, size: int) -> NDArray[np.float64]:
        """Return positions [neurons, axes].

        Raises:
            ModelError: The file cannot be used, or holds positions of another number of neurons.
        """
        found = read_arrays(ends, field, self.file, [self.array])[self.array]
        if found.dtype.kind not in "fiu" or found.ndim != 2 or found.shape[0] != size or not 1 <= found.shape[1] <= 3:
            raise ends.error(
                field,
                f"{self.file}: {self.array} must be numbers [{size} neurons, 1 to 3 axes], found {found.dtype} "
                f"{list(found.shape)}",
            )
        if not np.isfinite(found).all():
            raise ends.error(field, f"{self.file}: a position is not a finite number")
        return found.astype(np.float64)

    def extent(self) -> None:
        """Return None: a file does not say where its box ends."""


Positions = Grid | PositionFile

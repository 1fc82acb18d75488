"""Exact nearest-neighbour search over the vectors of a store: derived data, held in memory only."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

__all__ = ["VectorIndex"]


class VectorIndex:
    """Unit vectors by id, searched exhaustively by cosine similarity. The first vector fixes the width."""

    def __init__(self) -> None:
        self._vectors = np.zeros((0, 0), np.float32)
        self._ids = np.zeros(0, np.int64)
        self._kinds = np.zeros(0, np.int64)
        self._kind_codes: dict[str, int] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def width(self) -> int | None:
        """Length of the vectors, None while there is none."""
        return self._vectors.shape[1] if self._size else None

    def add(self, item: int, kind: str, vector: NDArray[np.floating]) -> None:
        """Adds one vector [D]; ids must come in rising order. Raises ValueError for another width."""
        if self._size and vector.shape != (self.width,):
            raise ValueError(f"the index holds vectors of {self.width} numbers, got shape {vector.shape}")
        if self._size == len(self._ids):
            self._grow(len(vector))
        self._vectors[self._size] = unit(vector)
        self._ids[self._size] = item
        self._kinds[self._size] = self._kind_codes.setdefault(kind, len(self._kind_codes))
        self._size += 1

    def search(
        self, vector: NDArray[np.floating], limit: int, kinds: Collection[str] | None = None
    ) -> list[tuple[int, float]]:
        """At most `limit` (id, cosine similarity), most similar first, of equal ones the newest first.

        A zero vector is similar to nothing and finds nothing, and what is not similar at all is not found.
        """
        query = unit(vector)
        if not self._size or not query.any():
            return []
        similarity = self._vectors[: self._size] @ query
        found = similarity > 0
        if kinds is not None:
            codes = [self._kind_codes[kind] for kind in kinds if kind in self._kind_codes]
            found &= np.isin(self._kinds[: self._size], codes)
        at = np.flatnonzero(found)
        if len(at) > limit:
            # Keep every tie with the last one kept, so that the order below is what decides.
            least = np.partition(similarity[at], len(at) - limit)[len(at) - limit]
            at = at[similarity[at] >= least]
        order = at[np.lexsort((-self._ids[at], -similarity[at]))][:limit]
        return [(int(self._ids[i]), float(similarity[i])) for i in order]

    def _grow(self, width: int) -> None:
        capacity = max(256, 2 * self._size)
        vectors = np.zeros((capacity, width), np.float32)
        ids, kinds = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
        if self._size:
            vectors[: self._size] = self._vectors
            ids[: self._size], kinds[: self._size] = self._ids, self._kinds
        self._vectors, self._ids, self._kinds = vectors, ids, kinds


def unit(vector: NDArray[np.floating]) -> NDArray[np.float32]:
    """The vector at length 1 in float32; a zero vector stays zero."""
    wide = np.asarray(vector, np.float64)
    norm = float(np.linalg.norm(wide))
    return (wide / norm if norm else wide).astype(np.float32)

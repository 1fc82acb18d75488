"""Exact nearest-neighbour search over the vectors of a store: derived data, held in memory only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError

__all__ = ["VectorIndex", "whole", "whole_rows"]

LEVELS = 127
COMPILED_FROM = 4096
"""How many vectors make it worth to load compiled code."""


class VectorIndex:
    """Vectors, numbered from 0 as they are added, compared by cosine similarity. The first fixes the width.

    The search is exhaustive, and exact for what is kept: a vector is kept as int8, so that 100,000 of 256 entries are
    26 MB, which one core reads in a few milliseconds.
    """

    def __init__(self) -> None:
        self._rows = np.zeros((0, 0), np.int8)
        self._norms = np.zeros(0, np.float32)
        self._present = np.zeros(0, np.bool_)
        self._size = 0
        self._held = 0

    def __len__(self) -> int:
        """How many numbers there are, with those that have no vector."""
        return self._size

    @property
    def held(self) -> int:
        """How many vectors there are."""
        return self._held

    @property
    def width(self) -> int | None:
        """Length of the vectors, None while there is none."""
        return self._rows.shape[1] if self._held else None

    @property
    def rows(self) -> NDArray[np.int8]:
        """The vectors as they are kept, [numbers, D], zero where there is none; not to be written to."""
        return self._rows[: self._size]

    @property
    def norms(self) -> NDArray[np.float32]:
        """Their lengths; not to be written to."""
        return self._norms[: self._size]

    def add(self, vector: NDArray[np.integer | np.floating] | None) -> None:
        """Adds the next vector [D], or that the next number has none.

        Whole numbers up to 127 in size, such as spike counts, are kept exactly; other vectors are rounded to 127ths
        of their largest entry.

        Raises:
            ModelError: the vector has another width.
        """
        if self._size == len(self._norms):
            self._grow()
        self._size += 1
        if vector is not None:
            self.replace(self._size - 1, vector)

    def extend(self, rows: NDArray[np.int8]) -> None:
        """Adds the next vectors, [N, D], one a row.

        Raises:
            ModelError: they have another width.
        """
        if self._held and rows.shape[1] != self.width:
            raise ModelError(f"the index holds vectors of {self.width} numbers, got rows of {rows.shape[1]}")
        first, self._size = self._size, self._size + len(rows)
        if self._size > len(self._norms):
            self._grow(self._size - len(self._norms))
        if not self._held:
            self._rows = np.zeros((len(self._norms), rows.shape[1]), np.int8)
        self._rows[first : self._size], self._present[first : self._size] = rows, True
        wide = rows.astype(np.float32)
        self._norms[first : self._size] = np.sqrt(np.einsum("nd,nd->n", wide, wide))
        self._held += len(rows)

    def replace(self, number: int, vector: NDArray[np.integer | np.floating]) -> None:
        """Gives a number another vector, as :meth:`add` does."""
        if not self._held:
            self._rows = np.zeros((len(self._norms), len(vector)), np.int8)
        elif vector.shape != (self.width,):
            raise ModelError(f"the index holds vectors of {self.width} numbers, got shape {vector.shape}")
        row = whole(vector)
        self._held += not self._present[number]
        self._rows[number], self._present[number] = row, True
        wide = row.astype(np.float32)
        self._norms[number] = math.sqrt(wide @ wide)

    def has(self, number: int) -> bool:
        """Whether there is a vector, other than zero, of this number."""
        return bool(self._norms[number] > 0)

    def similarities(
        self, query: NDArray[np.integer | np.floating], numbers: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Cosine similarity of `query` [D], rounded as vectors are, to the vectors of `numbers`, or of all.

        It is 0 where one of the two is zero or missing.

        Raises:
            ModelError: the query has another width.
        """
        rows, norms = self._rows[: self._size], self._norms[: self._size]
        if numbers is not None:
            rows, norms = rows[numbers], norms[numbers]
        if not self._held:
            return np.zeros(len(norms), np.float32)
        if query.shape != (self.width,):
            raise ModelError(f"the index holds vectors of {self.width} numbers, got a query of shape {query.shape}")
        asked = whole(query)
        if len(rows) < COMPILED_FROM:
            found = rows.astype(np.float32) @ asked.astype(np.float32)
        else:
            from brainnet.memory.kernels import products

            whole_products = np.empty(len(rows), np.int32)
            products(rows, asked, whole_products)
            found = whole_products.astype(np.float32)
        length = np.float32(np.linalg.norm(asked.astype(np.float32)))
        similar: NDArray[np.float32] = np.divide(
            found, norms * length, out=np.zeros_like(found), where=norms * length > 0
        )
        return similar

    def _grow(self, least: int = 256) -> None:
        more = max(least, self._size)
        self._rows = np.pad(self._rows, ((0, more), (0, 0)))
        self._norms, self._present = np.pad(self._norms, (0, more)), np.pad(self._present, (0, more))


def whole(vector: NDArray[np.integer | np.floating]) -> NDArray[np.int8]:
    """The vector in int8: itself where it is made of whole numbers up to 127 in size, else in 127ths of its largest."""
    if vector.dtype == np.int8:
        return vector.astype(np.int8, copy=False)
    wide = np.asarray(vector, np.float64)
    largest = float(np.abs(wide).max(initial=0.0))
    if largest > LEVELS or not np.array_equal(wide, np.rint(wide)):
        wide = np.rint(wide * (LEVELS / largest))
    return wide.astype(np.int8)


def whole_rows(rows: NDArray[np.float32]) -> NDArray[np.int8]:
    """Rows [N, D] in int8, each in 127ths of its largest entry."""
    largest = np.abs(rows).max(1, initial=0.0)
    scale = np.divide(np.float32(LEVELS), largest, out=np.zeros(len(rows), np.float32), where=largest > 0)
    rounded: NDArray[np.int8] = np.rint(rows * scale[:, None]).astype(np.int8)
    return rounded

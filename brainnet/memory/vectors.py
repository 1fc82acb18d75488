"""Exact nearest-neighbour search over the vectors of a store; derived data, held in memory only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError

__all__ = ["Vector", "VectorIndex", "quantize", "quantize_rows"]

Vector = NDArray[np.integer | np.floating]
"""A vector of any numbers, [D]; an index keeps it quantized."""
INT8_MAX = 127
MIN_COMPILED_ROWS = 1024
"""From this number of rows on compiled kernels are used; loading Numba takes longer than a smaller search."""


class VectorIndex:
    """Vectors, numbered from 0 in the order they are added, compared by cosine similarity.

    The first vector sets the width. Vectors are stored as int8: 100,000 of 256 entries take 26 MB, which one core
    reads in a few milliseconds. The search is exhaustive, and exact for the stored values.
    """

    def __init__(self) -> None:
        # _rows, _norms and _present have room for more rows than _size, so that adding does not copy every time
        self._rows = np.zeros((0, 0), np.int8)
        self._norms = np.zeros(0, np.float32)
        self._present = np.zeros(0, np.bool_)
        self._size = 0
        self._vector_count = 0

    def __len__(self) -> int:
        """Return the number of rows, including those without a vector."""
        return self._size

    @property
    def vector_count(self) -> int:
        """The number of rows that have a vector."""
        return self._vector_count

    @property
    def width(self) -> int | None:
        """The length of the vectors; None while there is none."""
        return self._rows.shape[1] if self._vector_count else None

    @property
    def rows(self) -> NDArray[np.int8]:
        """The stored vectors, int8 [rows, D], zero where there is none; a read-only view by convention."""
        return self._rows[: self._size]

    @property
    def norms(self) -> NDArray[np.float32]:
        """The norms of the stored vectors, float32 [rows]; a read-only view by convention."""
        return self._norms[: self._size]

    def add(self, vector: Vector | None) -> None:
        """Add the next vector [D], or a row without a vector.

        Vectors of integers up to 127 in magnitude, such as spike counts, are stored exactly. Other vectors are
        rounded to 1/127 of their largest entry.

        Raises:
            ModelError: the vector has another width.
        """
        if self._size == len(self._norms):
            self._grow()
        self._size += 1
        if vector is not None:
            self.replace(self._size - 1, vector)

    def extend(self, rows: NDArray[np.int8]) -> None:
        """Add the rows of an int8 matrix [N, D].

        Raises:
            ModelError: the rows have another width.
        """
        if self._vector_count and rows.shape[1] != self.width:
            raise ModelError(f"the index holds vectors of {self.width} numbers, got rows of {rows.shape[1]}")
        first, self._size = self._size, self._size + len(rows)
        if self._size > len(self._norms):
            self._grow(self._size - len(self._norms))
        if not self._vector_count:
            self._rows = np.zeros((len(self._norms), rows.shape[1]), np.int8)
        self._rows[first : self._size], self._present[first : self._size] = rows, True
        wide = rows.astype(np.float32)
        self._norms[first : self._size] = np.sqrt(np.einsum("nd,nd->n", wide, wide))
        self._vector_count += len(rows)

    def replace(self, row: int, vector: Vector) -> None:
        """Set the vector of a row, rounded as in `add`.

        Raises:
            ModelError: the vector has another width.
        """
        if not self._vector_count:
            self._rows = np.zeros((len(self._norms), len(vector)), np.int8)
        elif vector.shape != (self.width,):
            raise ModelError(f"the index holds vectors of {self.width} numbers, got shape {vector.shape}")
        quantized = quantize(vector)
        self._vector_count += not self._present[row]
        self._rows[row], self._present[row] = quantized, True
        # int8 products would overflow
        wide = quantized.astype(np.float32)
        self._norms[row] = math.sqrt(wide @ wide)

    def remove(self, row: int) -> None:
        """Make a row one without a vector."""
        self._vector_count -= int(self._present[row])
        self._rows[row], self._norms[row], self._present[row] = 0, 0.0, False

    def missing(self) -> NDArray[np.bool_]:
        """Return which rows have no vector, bool [rows]."""
        return ~self._present[: self._size]

    def has(self, row: int) -> bool:
        """Return whether the row has a vector other than zero."""
        return bool(self._norms[row] > 0)

    def similarities(self, query: Vector, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the cosine similarity of `query` [D], rounded as in `add`, to the vectors of `rows` (None: all).

        It is 0 where one of the two is zero or missing.

        Raises:
            ModelError: the query has another width.
        """
        stored, norms = self._rows[: self._size], self._norms[: self._size]
        if rows is not None:
            stored, norms = stored[rows], norms[rows]
        if not self._vector_count:
            return np.zeros(len(norms), np.float32)
        if query.shape != (self.width,):
            raise ModelError(f"the index holds vectors of {self.width} numbers, got a query of shape {query.shape}")
        quantized = quantize(query)
        if len(stored) < MIN_COMPILED_ROWS:
            # float32 goes to BLAS; numpy has no fast product for integers
            dot_products = stored.astype(np.float32) @ quantized.astype(np.float32)
        else:
            from brainnet.memory.kernels import int8_matvec

            exact = np.empty(len(stored), np.int32)
            int8_matvec(stored, quantized, exact)
            dot_products = exact.astype(np.float32)
        norm = np.float32(np.linalg.norm(quantized.astype(np.float32)))
        similarities: NDArray[np.float32] = np.divide(
            dot_products, norms * norm, out=np.zeros_like(dot_products), where=norms * norm > 0
        )
        return similarities

    def _grow(self, at_least: int = 256) -> None:
        # A share of the size keeps the cost of N additions proportional to N; an eighth wastes less than doubling.
        more = max(at_least, self._size // 8)
        self._rows = np.pad(self._rows, ((0, more), (0, 0)))
        self._norms, self._present = np.pad(self._norms, (0, more)), np.pad(self._present, (0, more))


def quantize(vector: Vector) -> NDArray[np.int8]:
    """Return the vector in int8: unchanged if it holds integers up to 127 in magnitude, else in 1/127 of its maximum.

    Cosine similarity does not depend on the length of a vector, so the scale is not returned.
    """
    if vector.dtype == np.int8:
        return vector.astype(np.int8, copy=False)
    wide = np.asarray(vector, np.float64)
    largest = float(np.abs(wide).max(initial=0.0))
    if largest > INT8_MAX or not np.array_equal(wide, np.rint(wide)):
        wide = np.rint(wide * (INT8_MAX / largest))
    return wide.astype(np.int8)


def quantize_rows(rows: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return rows [N, D] in int8, each in 1/127 of its largest entry."""
    largest = np.abs(rows).max(1, initial=0.0)
    scale = np.divide(np.float32(INT8_MAX), largest, out=np.zeros(len(rows), np.float32), where=largest > 0)
    quantized: NDArray[np.int8] = np.rint(rows * scale[:, None]).astype(np.int8)
    return quantized

"""Nearest-neighbour search over the vectors of a store: derived data, held in memory only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError

__all__ = ["VectorIndex", "whole"]

CANDIDATES = 2048
"""How many vectors, at least, are compared in full; an index of no more than that is searched exhaustively."""
LEVELS = 127


class VectorIndex:
    """Vectors, numbered from 0 as they are added, compared by cosine similarity. The first fixes the width.

    A vector is kept as int8 and as the signs of its entries, a bit each. A search takes the vectors whose signs differ
    least from the query's, by Hamming distance, at least ``candidates`` of them, and compares those in full:
    Charikar 2002, *Similarity estimation techniques from rounding algorithms*, with the axes as hyperplanes.
    """

    def __init__(self, candidates: int = CANDIDATES) -> None:
        self.candidates = candidates
        self._rows = np.zeros((0, 0), np.int8)
        self._signs = np.zeros((0, 0), np.uint64)
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

    def replace(self, number: int, vector: NDArray[np.integer | np.floating]) -> None:
        """Gives a number another vector, as :meth:`add` does."""
        if not self._held:
            self._rows = np.zeros((len(self._norms), len(vector)), np.int8)
            self._signs = np.zeros((-(-len(vector) // 64), len(self._norms)), np.uint64)
        elif vector.shape != (self.width,):
            raise ModelError(f"the index holds vectors of {self.width} numbers, got shape {vector.shape}")
        row = whole(vector)
        self._held += not self._present[number]
        self._rows[number], self._signs[:, number], self._present[number] = row, _signs(row), True
        wide = row.astype(np.float32)
        self._norms[number] = math.sqrt(wide @ wide)

    def has(self, number: int) -> bool:
        """Whether there is a vector, other than zero, of this number."""
        return bool(self._norms[number] > 0)

    def nearest(
        self, query: NDArray[np.integer | np.floating], allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """The numbers of the candidates for ``query`` [D], rising, among those that ``allowed`` [N] marks."""
        has = self._norms[: self._size] > 0
        if allowed is not None:
            has &= allowed
        at = np.flatnonzero(has)
        if len(at) <= self.candidates:
            return at
        differing = np.zeros(self._size, np.uint16)
        for stored, asked in zip(self._signs, _signs(query), strict=True):
            differing += np.bitwise_count(stored[: self._size] ^ asked)
        within = np.bincount(differing[at]).cumsum()
        return at[differing[at] <= np.searchsorted(within, self.candidates)]

    def similarities(self, query: NDArray[np.integer | np.floating], numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosine similarity of ``query`` to the vectors of these numbers; 0 where either is zero or missing."""
        found = np.zeros(len(numbers), np.float32)
        length = float(np.linalg.norm(np.asarray(query, np.float64)))
        if not length or not self._held:
            return found
        products = self._rows[numbers].astype(np.float32) @ (np.asarray(query, np.float64) / length).astype(np.float32)
        norms = self._norms[numbers]
        return np.divide(products, norms, out=found, where=norms > 0)

    def _grow(self) -> None:
        more = max(256, self._size)
        self._rows = np.pad(self._rows, ((0, more), (0, 0)))
        self._signs = np.pad(self._signs, ((0, 0), (0, more)))
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


def _signs(vector: NDArray[np.integer | np.floating]) -> NDArray[np.uint64]:
    bits = np.zeros(-(-len(vector) // 64) * 64, np.bool_)
    bits[: len(vector)] = vector > 0
    return np.packbits(bits).view(np.uint64)

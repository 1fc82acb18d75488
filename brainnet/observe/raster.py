"""Draws a [neurons, steps] array with characters: one row per neuron, one column per step."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_HALVES: Final = np.array([" ", "▀", "▄", "█"])
_SHADES: Final = np.array(list(" ░▒▓█"))
_BRAILLE: Final = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bit of each dot of a braille character [rows, columns] in its code point, which is U+2800 plus the bits."""


def draw(data: NDArray[Any], width: int, height: int) -> list[str]:
    """Draw an array in at most `height` lines of at most `width` characters.

    Spikes that fit are drawn with two neurons per line, a larger array with braille dots of 4 neurons x 2 steps per
    character. In a still larger array each character is a cell of the array, with the firing rate relative to the
    highest as its shade. Graded values are shades of their magnitude.
    """
    neurons, steps = data.shape
    if data.size == 0:
        return ["(empty)"]
    if data.dtype.kind == "f" or (data.dtype != np.bool_ and data.max() > 1):
        return _shades(np.abs(data.astype(np.float32)), width, height)
    spikes = data != 0
    if neurons <= 2 * height and steps <= width:
        return _halves(spikes)
    if neurons <= 4 * height and steps <= 2 * width:
        return _braille(spikes)
    return _shades(spikes.astype(np.float32), width, height)


def _halves(spikes: NDArray[np.bool_]) -> list[str]:
    padded = np.pad(spikes, ((0, spikes.shape[0] % 2), (0, 0)))
    return _lines(_HALVES[padded[0::2] + 2 * padded[1::2]])


def _braille(spikes: NDArray[np.bool_]) -> list[str]:
    neurons, steps = spikes.shape
    padded = np.pad(spikes, ((0, -neurons % 4), (0, -steps % 2)))
    cells = padded.reshape(padded.shape[0] // 4, 4, padded.shape[1] // 2, 2)
    codes = (cells * _BRAILLE[None, :, None, :]).sum(axis=(1, 3))
    return ["".join(chr(0x2800 + int(code)) for code in row) for row in codes]


def _shades(magnitude: NDArray[np.float32], width: int, height: int) -> list[str]:
    pooled = _pool(magnitude, min(magnitude.shape[0], height), min(magnitude.shape[1], width))
    top = float(pooled.max()) or 1.0
    return _lines(_SHADES[np.ceil(pooled / top * (len(_SHADES) - 1)).astype(int)])


def _pool(values: NDArray[np.float32], rows: int, columns: int) -> NDArray[Any]:
    """Return the mean of each cell of a rows x columns grid over the array."""
    edges = [np.arange(n + 1) * size // n for n, size in zip((rows, columns), values.shape, strict=True)]
    sums = np.add.reduceat(np.add.reduceat(values, edges[0][:-1], axis=0), edges[1][:-1], axis=1)
    return sums / np.outer(np.diff(edges[0]), np.diff(edges[1]))


def _lines(cells: NDArray[Any]) -> list[str]:
    return ["".join(row).rstrip() for row in cells]

"""Compiled CPU kernels (Numba) of the picture classifier, driven by events: the work grows with the number of spikes.

A convolution of spikes is a sum of rows of the weights, one for each spike in the window. About one neuron in seven
fires, so that this takes a seventh of the multiplications of a dense convolution, and none of its preparation. All
arrays are C-contiguous, with the channels last, so that the inner loop runs over the outputs.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from brainnet.snn.kernels import compiled, compiled_fastmath

FloatArray = NDArray[np.float32]
Spikes = NDArray[np.uint8]
_ZERO = np.float32(0)
_ONE = np.float32(1)


@numba.njit(inline="always", error_model="numpy")
def _sum_rows(weights: FloatArray, rows: NDArray[np.intp], count: int, total: FloatArray) -> None:
    """Set `total` to the sum of the first `count` of `rows` of `weights`."""
    outputs = total.size
    for o in range(outputs):
        total[o] = _ZERO
    # four at a time: the sum is then read and written once for four rows
    whole = count - count % 4
    for start in range(0, whole, 4):
        a, b = weights[rows[start]], weights[rows[start + 1]]
        c, d = weights[rows[start + 2]], weights[rows[start + 3]]
        for o in range(outputs):
            total[o] += (a[o] + b[o]) + (c[o] + d[o])
    for index in range(whole, count):
        a = weights[rows[index]]
        for o in range(outputs):
            total[o] += a[o]


@numba.njit(inline="always", error_model="numpy")
def _put(total: FloatArray, out: FloatArray, larger: bool) -> None:
    """Set `out` to `total`, or to the larger of the two."""
    for o in range(total.size):
        out[o] = max(out[o], total[o]) if larger else total[o]


@compiled_fastmath
def image_currents(image: FloatArray, weights: FloatArray, pooled: bool, currents: FloatArray) -> None:
    """Fill `currents` [h, w, O] with the convolution of an image [H, W, 3], and its maximum over 2 x 2 if `pooled`.

    `weights` are [9 * 3, O], row by row of the window of 3 x 3; outside of the image everything is 0.
    """
    height, width, _ = image.shape
    outputs = weights.shape[1]
    stride = 2 if pooled else 1
    total = np.empty(outputs, np.float32)
    # with a border of 0, each row of the window is nine numbers in a row, also at the edges
    padded = np.zeros((height + 2, (width + 2) * 3), np.float32)
    for y in range(height):
        for x in range(width):
            for colour in range(3):
                padded[y + 1, (x + 1) * 3 + colour] = image[y, x, colour]
    for y in range(height):
        for x in range(width):
            for o in range(outputs):
                total[o] = _ZERO
            for dy in range(3):
                p = padded[y + dy, x * 3 : x * 3 + 9]
                p0, p1, p2, p3, p4, p5, p6, p7, p8 = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8]
                w = weights[dy * 9 : dy * 9 + 9]
                a, b, c, d, e = w[0], w[1], w[2], w[3], w[4]
                f, g, h, i = w[5], w[6], w[7], w[8]
                for o in range(outputs):
                    total[o] += (
                        (p0 * a[o] + p1 * b[o] + p2 * c[o])
                        + (p3 * d[o] + p4 * e[o] + p5 * f[o])
                        + (p6 * g[o] + p7 * h[o] + p8 * i[o])
                    )
            _put(total, currents[y // stride, x // stride], pooled and (y % 2 == 1 or x % 2 == 1))


@compiled
def spike_currents(spikes: Spikes, weights: FloatArray, pooled: bool, currents: FloatArray) -> None:
    """Fill `currents` [h, w, O] as `image_currents`, for spikes [H, W, C] of 0 and 1; `weights` are [9 * C, O]."""
    height, width, channels = spikes.shape
    outputs = weights.shape[1]
    stride = 2 if pooled else 1
    total = np.empty(outputs, np.float32)
    # which channels fire at each place, and how many
    fired = np.empty((height, width, channels), np.intp)
    counts = np.empty((height, width), np.intp)
    for y in range(height):
        for x in range(width):
            n = 0
            for c in range(channels):  # without a branch: an entry that does not count is written over
                fired[y, x, n] = c
                n += spikes[y, x, c]
            counts[y, x] = n
    rows = np.empty(9 * channels, np.intp)
    for y in range(height):
        for x in range(width):
            n = 0
            for row in range(max(0, y - 1), min(height, y + 2)):
                for column in range(max(0, x - 1), min(width, x + 2)):
                    first = ((row - y + 1) * 3 + column - x + 1) * channels
                    for index in range(counts[row, column]):
                        rows[n] = first + fired[row, column, index]
                        n += 1
            _sum_rows(weights, rows, n, total)
            _put(total, currents[y // stride, x // stride], pooled and (y % 2 == 1 or x % 2 == 1))


@compiled
def fire(
    currents: FloatArray,
    scale: FloatArray,
    shift: FloatArray,
    beta: np.float32,
    membrane: FloatArray,
    spikes: Spikes,
) -> None:
    """Run one step of LIF neurons [h, w, O] with threshold 1, which a spike subtracts; `membrane` is replaced.

    Their current is scale x `currents` + shift, by channel: the batch normalisation.
    """
    height, width, outputs = currents.shape
    for y in range(height):
        for x in range(width):
            current, u, s = currents[y, x], membrane[y, x], spikes[y, x]
            for o in range(outputs):
                fired = _ONE if u[o] > _ONE else _ZERO
                u[o] = beta * u[o] + (current[o] * scale[o] + shift[o]) - fired
            for o in range(outputs):
                s[o] = u[o] > _ONE

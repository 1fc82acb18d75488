"""Compiled construction of rows: which neurons are connected.

The targets of a row are in rising order, counted from the first one of the part that is made. Every random number is
drawn with two counters of its own, so that a part is equal to the same part of the whole.
"""

from __future__ import annotations

import numba
import numpy as np

from brainnet.simulation.random import draw, exp, log, uniform
from brainnet.snn.kernels import compiled

GAUSSIAN = 0
EXPONENTIAL = 1


@compiled
def transposed(start, columns, width):  # type: ignore[no-untyped-def]
    """Return rows by column: for each column the rows in which it stands, in rising order."""
    turned = np.zeros(width + 1, np.int64)
    for column in columns:
        turned[column + 1] += 1
    for column in range(width):
        turned[column + 1] += turned[column]
    free = turned[:-1].copy()
    rows = np.empty(columns.size, np.int32)
    for row in range(start.size - 1):
        for k in range(start[row], start[row + 1]):
            column = columns[k]
            rows[free[column]] = row
            free[column] += 1
    return turned, rows


@compiled
def ordered(keys, width, order):  # type: ignore[no-untyped-def]
    """Return the items of `order` so that their keys, from 0 to `width`, rise; equal ones stay in the given order."""
    free = np.zeros(width + 1, np.int64)
    for item in order:
        free[keys[item] + 1] += 1
    for key in range(width):
        free[key + 1] += free[key]
    result = np.empty(order.size, np.int64)
    for item in order:
        key = keys[item]
        result[free[key]] = item
        free[key] += 1
    return result


@compiled
def all_pairs(sources, low, high, without_self):  # type: ignore[no-untyped-def]
    """Connect every source with every target."""
    start = np.zeros(sources + 1, np.int64)
    for i in range(sources):
        start[i + 1] = start[i] + (high - low) - (1 if without_self and low <= i < high else 0)
    targets = np.empty(start[sources], np.int32)
    for i in range(sources):
        k = start[i]
        for j in range(low, high):
            if not (without_self and j == i):
                targets[k] = j - low
                k += 1
    return start, targets


@compiled
def _scan_gaps(sources, low, high, block, gap_scale, without_self, key, start, targets):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(sources):
        for b in range(low // block, (high - 1) // block + 1):
            position = b * block - 1
            end = min((b + 1) * block, high)
            index = 0
            while True:
                # an odd multiple of 2**-53: neither 0 nor 1
                u = (float(draw(key, i, (b << 32) | index) >> np.uint64(12)) + 0.5) * 2.0**-52
                index += 1
                gap = log(u) * gap_scale
                if gap >= end - position - 1:
                    break
                position += 1 + int(gap)
                if position >= low and not (without_self and position == i):
                    if targets.size:
                        targets[count] = position - low
                    count += 1
        start[i + 1] = count


@compiled
def random_pairs(sources, low, high, block, gap_scale, without_self, key):  # type: ignore[no-untyped-def]
    """Connect each pair with one probability p, by drawing the gaps between targets.

    The gaps begin anew at each multiple of `block` targets, so that a part needs no gaps from before it.

    Args:
        sources: Number of sources.
        low: First target.
        high: End of the targets.
        block: Targets.
        gap_scale: 1 / log(1 - p).
        without_self: Leave out target i of source i.
        key: Of the random numbers.
    """
    start = np.zeros(sources + 1, np.int64)
    # Counting first costs the draws twice, but no memory beyond the result.
    _scan_gaps(sources, low, high, block, gap_scale, without_self, key, start, np.empty(0, np.int32))
    targets = np.empty(start[sources], np.int32)
    if targets.size:
        _scan_gaps(sources, low, high, block, gap_scale, without_self, key, start, targets)
    return start, targets


@compiled
def draw_sources(sources, low, high, degree, without_self, multiple, key):  # type: ignore[no-untyped-def]
    """Return `degree` sources of each target, [targets x degree]; different ones unless `multiple`."""
    drawn = np.empty((high - low) * degree, np.int32)
    choices = sources - (1 if without_self else 0)
    taken = np.full(0 if multiple else sources, -1, np.int32)
    at = 0
    for j in range(low, high):
        for k in range(degree):
            if multiple:
                i = int(uniform(key, j, k) * choices)
            else:  # Floyd's algorithm: every set of sources has the same probability, with one draw for each
                top = choices - degree + k
                i = int(uniform(key, j, k) * (top + 1))
                if taken[i] == j:
                    i = top
                taken[i] = j
            drawn[at] = i + 1 if without_self and i >= j else i
            at += 1
    return drawn


@compiled
def draw_pairs(sources, targets, low, high, number, without_self, key):  # type: ignore[no-untyped-def]
    """Draw `number` pairs, each independent of the others; return sources by target, in rows."""
    start = np.zeros(high - low + 1, np.int64)
    for k in range(number):
        j = int(uniform(key, k, 1) * targets)
        if low <= j < high:
            start[j - low + 1] += 1
    for j in range(high - low):
        start[j + 1] += start[j]
    free = start[:-1].copy()
    drawn = np.empty(start[high - low], np.int32)
    choices = sources - (1 if without_self else 0)
    for k in range(number):
        j = int(uniform(key, k, 1) * targets)
        if low <= j < high:
            i = int(uniform(key, k, 0) * choices)
            drawn[free[j - low]] = i + 1 if without_self and i >= j else i
            free[j - low] += 1
    return start, drawn


@compiled
def rewired_ring(size, neighbours, beta, key):  # type: ignore[no-untyped-def]
    """Return the targets [size x neighbours] of a ring of which each edge is drawn anew with probability `beta`."""
    targets = np.empty(size * neighbours, np.int32)
    taken = np.full(size, -1, np.int32)
    half = neighbours // 2
    for i in range(size):
        row = targets[i * neighbours : (i + 1) * neighbours]
        for k in range(neighbours):
            step = k - half if k < half else k - half + 1
            row[k] = (i + step + size) % size
            taken[row[k]] = i
        taken[i] = i
        if neighbours == size - 1:
            continue
        index = neighbours
        for k in range(neighbours):
            if uniform(key, i, k) < beta:
                while True:
                    j = int(uniform(key, i, index) * size)
                    index += 1
                    if taken[j] != i:
                        break
                taken[row[k]] = -1
                taken[j] = i
                row[k] = j
    return targets


@compiled
def part_of(start, targets, low, high):  # type: ignore[no-untyped-def]
    """Return the rows of the targets from `low` to `high`, counted from `low`, and where in the whole they stand."""
    part = np.zeros(start.size, np.int64)
    for i in range(start.size - 1):
        count = 0
        for k in range(start[i], start[i + 1]):
            count += 1 if low <= targets[k] < high else 0
        part[i + 1] = part[i] + count
    chosen = np.empty(part[-1], np.int32)
    places = np.empty(part[-1], np.int64)
    at = 0
    for k in range(targets.size):
        if low <= targets[k] < high:
            chosen[at] = targets[k] - low
            places[at] = k
            at += 1
    return part, chosen, places


@numba.njit(inline="always", error_model="numpy")
def _square_distance(source, target, period):  # type: ignore[no-untyped-def]
    square = 0.0
    for axis in range(3):
        apart = abs(source[axis] - target[axis])
        if period[axis] > 0.0:
            apart = min(apart, period[axis] - apart)
        square += apart * apart
    return square


@numba.njit(error_model="numpy")
def _profile(square, profile, sigma):  # type: ignore[no-untyped-def]
    if profile == GAUSSIAN:
        return exp(-0.5 * square / (sigma * sigma))
    return exp(-np.sqrt(square) / sigma)


@numba.njit(error_model="numpy")
def _cells_around(place, origin, cell_size, cells, period, around):  # type: ignore[no-untyped-def]
    """Fill `around` with the cells whose members can be near a place, and return how many they are."""
    first = np.empty(3, np.int64)
    last = np.empty(3, np.int64)
    for axis in range(3):
        cell = int(min(max((place[axis] - origin[axis]) / cell_size[axis], -1.0), float(cells[axis])))
        joined = period[axis] > 0.0 and cells[axis] > 1
        first[axis] = cell - 1 if joined else max(cell - 1, 0)
        last[axis] = cell + 1 if joined else min(cell + 1, cells[axis] - 1)
    count = 0
    for x in range(first[0], last[0] + 1):
        for y in range(first[1], last[1] + 1):
            for z in range(first[2], last[2] + 1):
                around[count] = ((x % cells[0]) * cells[1] + y % cells[1]) * cells[2] + z % cells[2]
                count += 1
    return count


@compiled
def near_pairs(  # type: ignore[no-untyped-def]
    source_at, target_at, in_cell, cell_start, cells, origin, cell_size, period, profile, p_max, sigma, radius, low,
    high, without_self, key,
):  # fmt: skip
    """Connect pairs with a probability that falls with their distance; return sources by target, in rows.

    Args:
        source_at: Positions float64 [sources, 3], in the order of `in_cell`.
        target_at: Positions float64 [targets, 3].
        in_cell: Sources, sorted by the cell in which they lie.
        cell_start: Where the sources of each cell begin.
        cells: Number of cells along each axis.
        origin: Of the first cell.
        cell_size: Edges of a cell, at least `radius`.
        period: Edges of a periodic box that begins at the origin; 0 where it has no end.
        profile: `GAUSSIAN` or `EXPONENTIAL`.
        p_max: Probability at distance 0.
        sigma: Width of the profile.
        radius: Pairs that are farther apart are not connected.
        low: First target.
        high: End of the targets.
        without_self: Leave out source j of target j.
        key: Of the random numbers, whose counters are source and target.
    """
    start = np.zeros(high - low + 1, np.int64)
    drawn = np.empty(1024, np.int32)
    around = np.empty(27, np.int64)
    square_radius = radius * radius
    count = 0
    for j in range(low, high):
        for c in range(_cells_around(target_at[j], origin, cell_size, cells, period, around)):
            begin, end = cell_start[around[c]], cell_start[around[c] + 1]
            if drawn.size < count + end - begin:
                longer = np.empty(2 * (count + end - begin), np.int32)
                longer[:count] = drawn[:count]
                drawn = longer
            for at in range(begin, end):
                square = _square_distance(source_at[at], target_at[j], period)
                i = in_cell[at]
                if square > square_radius or (without_self and i == j):
                    continue
                u = uniform(key, i, j)
                if u < p_max and u < p_max * _profile(square, profile, sigma):
                    drawn[count] = i
                    count += 1
        start[j - low + 1] = count
    return start, drawn[:count].copy()

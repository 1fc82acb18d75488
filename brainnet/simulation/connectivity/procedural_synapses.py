"""Synapses that are computed when a spike is delivered."""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from brainnet.simulation.connectivity.base import MAX_DELAY_STEPS, Ends
from brainnet.simulation.connectivity.drawing import drawn
from brainnet.simulation.connectivity.procedural import Procedural
from brainnet.simulation.connectivity.values import FIXED, constants
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.random import draw, uniform
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled

_ROUNDS: Final = 4
_LEAST_BITS: Final = 8
"""Of a permutation: fewer would not be mixed well."""


class ProceduralSynapses:
    """Synapses that are hashes of the seed, source and number; see `Procedural`.

    With an in-degree n, each target owns n slots. How many slots each source has is drawn, and a permutation, which is
    computed and not stored, says which: so a source finds its targets, and each target has exactly n synapses.

    Args:
        rule: Degree, weight and delay.
        ends: The populations.

    Attributes:
        shortest_delay: Steps.
        longest_delay: Steps.

    Raises:
        ModelError: A delay is too long.
    """

    def __init__(self, rule: Procedural, ends: Ends) -> None:
        slots = 0 if rule.in_degree is None else rule.in_degree * ends.targets
        degree = rule.in_degree if rule.in_degree is not None else rule.out_degree
        assert degree is not None
        if rule.in_degree is None:
            self._start = degree * np.arange(ends.sources + 1, dtype=np.int64)
        else:
            self._start = _starts(ends.sources, slots, ends.key("sources"))
        bits = max(_LEAST_BITS, (slots - 1).bit_length())
        rounds = np.array([[draw(ends.key("rounds"), r, c) for c in range(2)] for r in range(_ROUNDS)], np.uint64)
        rounds[:, 1] |= np.uint64(1)  # multiplication by an odd number can be undone
        of_targets = (rule.in_degree is not None, degree, slots, np.uint64(bits), rounds, ends.key("targets"))
        self._targets = (self._start, *of_targets, ends.targets, ends.low, ends.high)
        self._weights = (*constants(rule.weight), 1 / UNIT, ends.key("weights"))
        self._delays = (*constants(rule.delay_ms), ends.dt_ms, ends.key("delays"))
        shortest, longest = _delay_range(*self._targets, *self._delays)
        if not longest <= MAX_DELAY_STEPS:
            raise ends.error(
                "delay_ms",
                f"a delay of {longest * ends.dt_ms:g} ms was drawn; at most {MAX_DELAY_STEPS * ends.dt_ms:g} ms are "
                "possible",
            )
        self.shortest_delay, self.longest_delay = int(shortest), int(longest)

    @property
    def nbytes(self) -> int:
        """Bytes that are stored."""
        return int(self._start.nbytes)

    def deliver(self, spikes: Spikes, sums: NDArray[np.int64]) -> None:
        """Add the weights of spikes to the sums [length, neurons] of a ring's port."""
        if spikes.count:
            _deliver(
                spikes.first_step, spikes.offsets, spikes.neurons, *self._targets, *self._weights, *self._delays, sums
            )

    def rows(self) -> Rows:
        """Return the same synapses, stored; the targets of a row are in no order."""
        arrays: tuple[Any, Any, Any, Any] = _rows(*self._targets, *self._weights, *self._delays)
        return Rows(*arrays)


@compiled
def _starts(sources, slots, key):  # type: ignore[no-untyped-def]
    """Let each slot draw a source, and return where the slots of each begin when they are sorted by source."""
    start = np.zeros(sources + 1, np.int64)
    for slot in range(slots):
        start[int(uniform(key, slot, 0) * sources) + 1] += 1
    for i in range(sources):
        start[i + 1] += start[i]
    return start


@numba.njit(inline="always", error_model="numpy")
def _permuted(slot, slots, bits, rounds):  # type: ignore[no-untyped-def]
    """Return the image of a slot in a permutation of all slots.

    Additions, odd factors and shifts permute the numbers of `bits` bits; what falls outside of the slots goes on until
    it falls inside.
    """
    mask = (np.uint64(1) << bits) - np.uint64(1)
    half = (bits + np.uint64(1)) >> np.uint64(1)
    x = np.uint64(slot)
    while True:
        for r in range(rounds.shape[0]):
            x = ((x + rounds[r, 0]) * rounds[r, 1]) & mask
            x ^= x >> half
        if x < np.uint64(slots):
            return np.int64(x)


@numba.njit(inline="always", error_model="numpy")
def _target(i, k, start, by_slot, degree, slots, bits, rounds, key, targets):  # type: ignore[no-untyped-def]
    if by_slot:
        return _permuted(k, slots, bits, rounds) // degree
    return np.int64(uniform(key, i, k - start[i]) * targets)


@numba.njit(inline="always", error_model="numpy")
def _weight(i, k, kind, first, second, factor, unit, key):  # type: ignore[no-untyped-def]
    return np.int64(np.floor(drawn(kind, first, second, factor, key, i, k) / unit + 0.5))


@numba.njit(inline="always", error_model="numpy")
def _delay(i, k, kind, first, second, factor, unit, key):  # type: ignore[no-untyped-def]
    return np.int64(max(1.0, np.floor(drawn(kind, first, second, factor, key, i, k) / unit + 0.5)))


@compiled
def _delay_range(  # type: ignore[no-untyped-def]
    start, by_slot, degree, slots, bits, rounds, key, targets, low, high, kind, first, second, factor, unit, delay_key
):
    """Return the shortest and the longest delay in steps; 1 and 1 where there is no synapse."""
    shortest, longest = np.inf, 1.0
    for i in range(start.size - 1):
        for k in range(start[i], start[i + 1]):
            steps = max(1.0, np.floor(drawn(kind, first, second, factor, delay_key, i, k - start[i]) / unit + 0.5))
            shortest, longest = min(shortest, steps), max(longest, steps)
            if kind == FIXED:
                return shortest, longest
    return min(shortest, longest), longest


@compiled
def _deliver(  # type: ignore[no-untyped-def]
    first_step, offsets, neurons, start, by_slot, degree, slots, bits, rounds, key, targets, low, high,
    kind, first, second, factor, unit, weight_key,
    delay_kind, delay_first, delay_second, delay_factor, delay_unit, delay_key, sums,
):  # fmt: skip
    mask = sums.shape[0] - 1
    weight = _weight(0, 0, FIXED, first, second, factor, unit, weight_key)
    delay = _delay(0, 0, FIXED, delay_first, delay_second, delay_factor, delay_unit, delay_key)
    for s in range(offsets.size - 1):
        for x in range(offsets[s], offsets[s + 1]):
            i = neurons[x]
            for k in range(start[i], start[i + 1]):
                j = _target(i, k, start, by_slot, degree, slots, bits, rounds, key, targets)
                if low <= j < high:
                    if kind != FIXED:
                        weight = _weight(i, k - start[i], kind, first, second, factor, unit, weight_key)
                    if delay_kind != FIXED:
                        delay = _delay(
                            i, k - start[i], delay_kind, delay_first, delay_second, delay_factor, delay_unit, delay_key
                        )
                    sums[(first_step + s + delay) & mask, j - low] += weight


@compiled
def _rows(  # type: ignore[no-untyped-def]
    start, by_slot, degree, slots, bits, rounds, key, targets, low, high,
    kind, first, second, factor, unit, weight_key,
    delay_kind, delay_first, delay_second, delay_factor, delay_unit, delay_key,
):  # fmt: skip
    part = np.zeros(start.size, np.int64)
    chosen = np.empty(start[-1], np.int32)
    weights = np.empty(start[-1], np.int32)
    delays = np.empty(start[-1], np.int32)
    count = 0
    for i in range(start.size - 1):
        for k in range(start[i], start[i + 1]):
            j = _target(i, k, start, by_slot, degree, slots, bits, rounds, key, targets)
            if low <= j < high:
                at = k - start[i]
                chosen[count] = j - low
                weights[count] = _weight(i, at, kind, first, second, factor, unit, weight_key)
                delays[count] = _delay(
                    i, at, delay_kind, delay_first, delay_second, delay_factor, delay_unit, delay_key
                )
                count += 1
        part[i + 1] = count
    return part, chosen[:count].copy(), weights[:count].copy(), delays[:count].copy()

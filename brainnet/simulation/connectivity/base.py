"""What a rule of connectivity is: ours, and those of users."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from brainnet.errors import ModelError
from brainnet.simulation.connectivity.values import Drawn, Value
from brainnet.simulation.fixed_point import MAX_WEIGHT, UNIT, to_fixed
from brainnet.simulation.rows import Rows

if TYPE_CHECKING:
    from brainnet.simulation.connectivity.procedural_synapses import ProceduralSynapses

Part = TypeVar("Part", bound=BaseModel)

MAX_SIZE: Final = 2**31 - 1
"""Neurons of a population."""
MAX_DELAY_STEPS: Final = 1 << 20
"""Steps of the longest delay; the sums of as many steps are kept in memory."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int32]]
"""`start` [sources + 1] and `targets` [synapses] of rows; the targets of a row are in rising order."""


class Estimate(NamedTuple):
    """What a projection will need.

    Attributes:
        synapses: Their number; the expected one where it is random.
        nbytes: Bytes of their arrays.
    """

    synapses: int
    nbytes: int


class Delays(NamedTuple):
    """Between what the delays of a projection lie, in steps.

    Attributes:
        shortest: No delay is shorter.
        longest: No delay is longer.
    """

    shortest: int
    longest: int


@dataclass(frozen=True, slots=True)
class Ends:
    """The two populations of a projection, and the part of the target whose synapses are asked for.

    Attributes:
        name: Of the projection.
        sources: Neurons of the source population.
        targets: Neurons of the target population.
        seed: Of the network.
        dt_ms: One step in milliseconds.
        low: The first target neuron of the part.
        high: The first one after the part.
    """

    name: str
    sources: int
    targets: int
    seed: int
    dt_ms: float
    low: int
    high: int

    def key(self, purpose: str) -> np.uint64:
        """Return the key of the projection's random numbers for one purpose."""
        from brainnet.simulation.random import key_of

        return key_of(self.seed, "projection", self.name, purpose)

    def error(self, field: str, problem: str) -> ModelError:
        """Return the error of one field of the projection."""
        return ModelError(f"projection {self.name!r}, {field}: {problem}", field=field.partition(" ")[0])

    def need_one_population(self, field: str) -> None:
        """Refuse two populations that cannot be the same.

        Raises:
            ModelError: Their sizes differ.
        """
        if self.sources != self.targets:
            raise self.error(
                field,
                f"false is for a projection of a population to itself; the source has {self.sources} neurons and the "
                f"target {self.targets}",
            )


class SynapseRule(BaseModel, ABC):
    """A rule that says which neurons are connected, and how strongly.

    A rule of a user's own is a subclass with a field `connect`, and has the same rights as those of this package.

    Guarantees asked of a subclass: the synapses depend on the rule, the sizes, the seed and the name of the projection
    alone; those of a part of the targets are the same as in the whole. So random numbers are drawn with `Ends.key`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    weight: Value = Field(
        description="in the unit of the target model: a number, {normal: [mean, sd]}, {lognormal: [mu, sigma]} or "
        "{uniform: [low, high]}"
    )
    delay_ms: Value = Field(
        description="from spike to arrival, in milliseconds, written like a weight; rounded to steps, at least one"
    )

    def located(self, folder: Path) -> Self:
        """Return the rule with its relative paths beginning at a folder, that of the file which names them."""
        return _located(self, folder)

    @abstractmethod
    def pairs(self, ends: Ends) -> Pairs:
        """Return which neurons are connected, with targets counted from `ends.low`.

        Raises:
            ModelError: The rule does not fit the populations.
        """

    @abstractmethod
    def expected(self, ends: Ends) -> float:
        """Return the number of synapses, or its mean where it is random.

        Raises:
            ModelError: The rule does not fit the populations.
        """

    def synapses(self, ends: Ends) -> Rows | ProceduralSynapses:
        """Return the synapses: those of `pairs`, with weights and delays.

        Raises:
            ModelError: The rule does not fit the populations, or a weight or a delay is not possible.
        """
        check_values(ends, self.weight, self.delay_ms)
        pairs = self.pairs(ends)
        return Rows(*pairs, drawn_weights(ends, pairs, self.weight), drawn_delays(ends, pairs, self.delay_ms))

    def check(self, ends: Ends) -> Delays:
        """Check everything that can be checked without making synapses, and return between what their delays lie.

        Raises:
            ModelError: As for `synapses`.
        """
        check_values(ends, self.weight, self.delay_ms)
        self.expected(ends)
        return delays_of(self.delay_ms, ends.dt_ms)

    def sample(self, ends: Ends) -> Rows | ProceduralSynapses:
        """Return one synapse, for checks of what is made of it; none where only the synapses themselves say its weight.

        It is of the kind that `synapses` returns, with the fixed weight or the median of the drawn ones.

        Raises:
            ModelError: The weight is not possible.
        """
        if self.weight is None:
            none = np.zeros(0, np.int32)
            return Rows(np.zeros(2, np.int64), none, none, none)
        weight = self.weight.median() if isinstance(self.weight, Drawn) else self.weight
        one = np.array([1], np.int32)
        return Rows(np.arange(2), 0 * one, fixed_weights(ends, "weight", np.array([weight])), one)

    def estimate(self, ends: Ends) -> Estimate:
        """Return the number of synapses and the bytes of their arrays.

        Raises:
            ModelError: The rule does not fit the populations.
        """
        count = round(self.expected(ends))
        each = 4 + 4 * isinstance(self.weight, Drawn) + 4 * isinstance(self.delay_ms, Drawn)
        equal = 4 * (not isinstance(self.weight, Drawn)) + 4 * (not isinstance(self.delay_ms, Drawn))
        return Estimate(count, 8 * (ends.sources + 1) + each * count + equal)


def _located(part: Part, folder: Path) -> Part:
    changes: dict[str, Any] = {}
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Path):
            changes[name] = folder / value
        elif isinstance(value, BaseModel):
            changes[name] = _located(value, folder)
    return part.model_copy(update=changes)


def check_values(ends: Ends, weight: Value | None, delay_ms: Value | None) -> None:
    """Check what can be checked of weight and delay before any synapse is made.

    Raises:
        ModelError: A fixed weight does not fit, or a fixed delay is shorter than one step.
    """
    if weight is not None and not isinstance(weight, Drawn):
        fixed_weights(ends, "weight", np.array([weight]))
    if delay_ms is not None and not isinstance(delay_ms, Drawn):
        fixed_delays(ends, "delay_ms", np.array([delay_ms]))


def delays_of(delay_ms: Value, dt_ms: float) -> Delays:
    """Return between what delays lie that are given in milliseconds, or drawn."""
    low, high = delay_ms.bounds() if isinstance(delay_ms, Drawn) else (delay_ms, delay_ms)
    steps = [min(max(1.0, each / dt_ms), float(MAX_DELAY_STEPS)) for each in (low, high)]
    return Delays(math.floor(steps[0] + 0.5), math.floor(steps[1] + 0.5))


def fixed_weights(ends: Ends, field: str, weights: NDArray[Any]) -> NDArray[np.int32]:
    """Return given weights as fixed-point numbers.

    Raises:
        ModelError: A weight is not finite or too large, or all of them are too small to be told from zero.
    """
    try:
        fixed = to_fixed(weights)
    except ModelError as error:
        raise ends.error(field, str(error)) from None
    if weights.any() and not fixed.any():
        raise ends.error(field, f"{float(np.abs(weights).max()):g} is below the smallest weight, {1 / UNIT:g}")
    return fixed


def fixed_delays(ends: Ends, field: str, delays_ms: NDArray[Any]) -> NDArray[np.int32]:
    """Return given delays in steps.

    Raises:
        ModelError: A delay is not finite, shorter than one step, or too long.
    """
    steps = np.asarray(delays_ms, np.float64) / ends.dt_ms
    if not np.isfinite(steps).all():
        raise ends.error(field, "a delay is not a finite number")
    if steps.size and steps.min() < 1 - 1e-9:
        shortest = float(np.min(delays_ms))
        raise ends.error(
            field,
            f"a delay of {shortest:g} ms is below one step of {ends.dt_ms:g} ms, the shortest possible: it would close "
            f"loops within a step; write at least {ends.dt_ms:g}, or a smaller clock.dt_ms",
        )
    if steps.size and steps.max() > MAX_DELAY_STEPS:
        raise ends.error(field, _too_long(float(np.max(delays_ms)), ends.dt_ms))
    return np.floor(steps + 0.5).astype(np.int32)


def drawn_weights(ends: Ends, pairs: Pairs, weight: Value) -> NDArray[np.int32]:
    """Return the weights of rows: [1] for a number, and [synapses] for a distribution.

    A weight depends on source, target, and which of several synapses between these two it is.

    Raises:
        ModelError: A weight does not fit.
    """
    if not isinstance(weight, Drawn):
        return fixed_weights(ends, "weight", np.array([weight]))
    from brainnet.simulation.connectivity.drawing import fill

    weights = np.empty(pairs[1].size, np.int32)
    limit = 2**31 - 1
    worst = fill(*pairs, ends.low, *weight.constants(), 1 / UNIT, -limit, limit, ends.key("weights"), weights)
    if worst:
        raise ends.error("weight", f"a weight of {worst / UNIT:g} was drawn; at most {MAX_WEIGHT:g} is possible")
    return weights


def drawn_delays(ends: Ends, pairs: Pairs, delay_ms: Value) -> NDArray[np.int32]:
    """Return the delays of rows in steps: [1] for a number, and [synapses] for a distribution.

    Raises:
        ModelError: A fixed delay is shorter than one step, or a delay is too long.
    """
    if not isinstance(delay_ms, Drawn):
        return fixed_delays(ends, "delay_ms", np.array([delay_ms]))
    from brainnet.simulation.connectivity.drawing import fill

    delays = np.empty(pairs[1].size, np.int32)
    constants = delay_ms.constants()
    worst = fill(*pairs, ends.low, *constants, ends.dt_ms, 1, MAX_DELAY_STEPS, ends.key("delays"), delays)
    if worst:
        raise ends.error("delay_ms", _too_long(worst * ends.dt_ms, ends.dt_ms))
    return delays


def _too_long(delay_ms: float, dt_ms: float) -> str:
    return f"a delay of {delay_ms:g} ms is too long; at most {MAX_DELAY_STEPS * dt_ms:g} ms are possible"


def checked_ends(
    name: str, source_size: int, target_size: int, seed: int, dt_ms: float, part: tuple[int, int] | None
) -> Ends:
    """Return the ends of a projection.

    Raises:
        ModelError: A size, the step or the part is not possible.
    """
    low, high = (0, target_size) if part is None else part
    ends = Ends(name, source_size, target_size, seed, dt_ms, low, high)
    for which, size in (("source", source_size), ("target", target_size)):
        if not 1 <= size <= MAX_SIZE:
            raise ends.error(which, f"a population has 1 to {MAX_SIZE} neurons, got {size}")
    if not (math.isfinite(dt_ms) and dt_ms > 0):
        raise ends.error("dt_ms", f"a step is a positive number of milliseconds, got {dt_ms}")
    if not 0 <= low <= high <= target_size:
        raise ends.error("part", f"{low} to {high} is no range of {target_size} target neurons")
    return ends

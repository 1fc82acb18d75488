"""What an encoder is, and what all of them share: their steps, their state, and the check of payloads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import MICROSECONDS, Block
from brainnet.simulation.spikes import Spikes

MAX_NEURONS: Final = 1 << 26
MAX_VALUES: Final = 1 << 27
"""Neurons times steps of one window."""
MAX_PAYLOAD: Final = 1 << 23
"""Values of a payload whose rows have times of their own."""
MAX_TIME_US: Final = 1 << 50
"""Microseconds that are counted: 35 years."""


class Encoder(ABC):
    """Neurons whose spikes say what a sensor has measured.

    Step s is the time from s dt to (s + 1) dt, its end excluded, and what a sensor measures in that time belongs to it.

    Guarantee: the spikes depend on the payloads, the parameters and the seed alone, and not on how the steps are cut
    into windows, nor, where rows of a payload are samples over time, on how these are cut into blocks. `save` holds all
    that goes from one window to the next.

    Args:
        size: Neurons.
        dt_us: A step in microseconds.

    Attributes:
        size: Neurons.
        dt_us: A step in microseconds.
        state: Arrays by name.

    Raises:
        SensorError: No neuron or too many, or a step that is not positive.
    """

    def __init__(self, size: int, dt_us: int) -> None:
        self.name = type(self).__name__
        if not 1 <= size <= MAX_NEURONS:
            raise SensorError(f"{self.name}: an encoder has 1 to {MAX_NEURONS} neurons, not {size}")
        if not 1 <= dt_us <= 60 * MICROSECONDS:
            raise SensorError(f"{self.name}: a step has 1 us to 60 s, not {dt_us} us")
        self.size, self.dt_us = size, dt_us
        # -1: no window yet, so that the first one may begin at any step
        self.state: dict[str, NDArray[Any]] = {"next_step": np.full(1, -1, np.int64)}

    @property
    def dt_ms(self) -> float:
        """A step in milliseconds, as networks count it."""
        return self.dt_us / 1000

    @property
    def variable(self) -> frozenset[str]:
        """Names of the arrays of the state whose first axis may have any length."""
        return frozenset()

    def window(self, first_step: int, steps: int, payloads: Sequence[Block]) -> Spikes:
        """Return what fires in a window.

        Windows follow each other without a gap; the first one may begin at any step. On an error nothing has changed,
        and the window may be asked for again without the payload that is wrong.

        Args:
            first_step: Number of its first step.
            steps: How many there are.
            payloads: In order of time, each of a time within the window. A clock that gets a payload too late gives it
                the time at which the next window begins.

        Raises:
            SensorError: The window does not follow the one before, or a payload has another time, shape or type than
                this encoder takes; names the payload.
        """
        following = int(self.state["next_step"][0])
        if steps < 1 or steps * self.size > MAX_VALUES:
            raise SensorError(
                f"{self.name}: a window has at least one step, and at most {MAX_VALUES} steps times neurons, not "
                f"{steps} steps of {self.size} neurons"
            )
        if (
            not (first_step == following or (following < 0 <= first_step))
            or (first_step + steps) * self.dt_us > MAX_TIME_US
        ):
            expected = following if following >= 0 else "0 or a later one"
            raise SensorError(
                f"{self.name}: the window begins with step {first_step}; expected is {expected}, and an end before "
                f"{MAX_TIME_US} us"
            )
        at = [self._step_of(block, first_step, steps) for block in payloads]
        for block, following_block in pairwise(payloads):
            if following_block.t_us < block.t_us:
                raise self.error(following_block, f"comes after one of {block.t_us} us; sort them by time")
        spikes = self._encode(first_step, steps, at, payloads)
        self.state["next_step"][0] = first_step + steps
        return spikes

    @abstractmethod
    def _encode(self, first_step: int, steps: int, at: Sequence[int], payloads: Sequence[Block]) -> Spikes:
        """Compute a window; `at` has the step of each payload. On an error the state must be as before."""

    def save(self) -> dict[str, NDArray[Any]]:
        """Return everything that the next windows depend on: copies of the arrays of `state`."""
        return {name: array.copy() for name, array in self.state.items()}

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `save` of an encoder with the same parameters returned; on an error nothing has changed.

        Raises:
            SensorError: It is the state of another encoder.
        """
        if saved.keys() != self.state.keys():
            raise SensorError(
                f"{self.name}: the saved state has {', '.join(sorted(saved)) or 'nothing'}, and must have "
                f"{', '.join(sorted(self.state))}; it is of another encoder"
            )
        for name, array in self.state.items():
            found = saved[name]
            begin = 1 if name in self.variable else 0
            if found.dtype != array.dtype or found.ndim != array.ndim or found.shape[begin:] != array.shape[begin:]:
                raise SensorError(
                    f"{self.name}: {name!r} is {found.dtype} {list(found.shape)} in the saved state, and must be like "
                    f"{array.dtype} {list(array.shape)}; it is of another encoder"
                )
        for name in self.state:
            self.state[name] = np.array(saved[name])

    def error(self, block: Block, problem: str) -> SensorError:
        """Make the error for a payload."""
        return SensorError(f"{self.name}: payload {block.sequence} of {block.t_us} us {problem}")

    def values(self, block: Block, shape: tuple[int, ...], *, finite: bool = True) -> NDArray[np.float64]:
        """Return the payload of a block as float64 numbers.

        Args:
            block: What a sensor gave.
            shape: The shape that it must have; -1 stands for any length.
            finite: Whether its numbers must be finite.

        Raises:
            SensorError: It has another shape, holds no numbers, or one that is not finite.
        """
        payload = block.payload
        if not isinstance(payload, np.ndarray) or payload.dtype.kind not in "biuf":
            raise self.error(block, f"must be an array of numbers, not {getattr(payload, 'dtype', type(payload))}")
        fits = payload.ndim == len(shape) and all(n in (m, -1) for m, n in zip(payload.shape, shape, strict=True))
        if not fits:
            wanted = ", ".join("any" if n < 0 else str(n) for n in shape)
            raise self.error(block, f"has the shape {list(payload.shape)}, and must have [{wanted}]")
        values: NDArray[np.float64] = payload.astype(np.float64)
        if finite and payload.dtype.kind == "f" and not np.isfinite(values).all():
            raise self.error(block, "holds a number that is not finite")
        return values

    def _step_of(self, block: Block, first_step: int, steps: int) -> int:
        if not isinstance(block.t_us, int | np.integer):
            raise self.error(block, "has a time that is no whole number of microseconds")
        step = int(block.t_us) // self.dt_us
        if not first_step <= step < first_step + steps:
            low, high = first_step * self.dt_us, (first_step + steps) * self.dt_us - 1
            raise self.error(block, f"does not lie in the window from {low} to {high} us")
        return step


def spikes_at(first_step: int, steps: int, at: NDArray[Any], neurons: NDArray[Any]) -> Spikes:
    """Return the spikes of a window from steps and neurons in any order; a pair that is there n times fires n times.

    Args:
        first_step: Of the window.
        steps: Of the window.
        at: Steps [spikes], counted as `first_step`, within the window.
        neurons: [spikes].
    """
    within = at.astype(np.int64) - first_step
    order = np.lexsort((neurons, within))
    offsets = np.zeros(steps + 1, np.int32)
    np.cumsum(np.bincount(within, minlength=steps), out=offsets[1:])
    return Spikes(first_step, offsets, neurons[order].astype(np.int32))


def in_effect(first_step: int, steps: int, at: Sequence[int]) -> NDArray[np.int64]:
    """Return for each step of a window which payload holds: int64 [steps], 0 for the one before the window, else 1 + k.

    Of several payloads in one step the last one counts.
    """
    return np.searchsorted(np.asarray(at, np.int64), np.arange(first_step, first_step + steps), side="right")

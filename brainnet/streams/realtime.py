"""Real time for one process: the clock on the wall says which window is due, and nothing waits for anybody."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.network import Network
from brainnet.simulation.spikes import Spikes
from brainnet.streams.lockstep import Lockstep, Plan

_SMALLEST_MS: Final = 0.01
_BUCKETS_PER_DECADE: Final = 20
_BUCKETS: Final = 7 * _BUCKETS_PER_DECADE + 1  # the last one is for all that is longer


class Lateness:
    """How long after their end the windows of a source came: a histogram with buckets 12 % wide.

    Attributes:
        windows: Windows that came.
        late: Those of them that came after they were needed.
        missed: Windows that were needed and had not come; those that came late are among them.
        longest_ms: The longest time of all.
    """

    def __init__(self) -> None:
        self.windows = 0
        self.late = 0
        self.missed = 0
        self.longest_ms = 0.0
        self._counts = np.zeros(_BUCKETS, np.int64)

    def add(self, ms: float) -> None:
        """Count one window."""
        self.windows += 1
        self.longest_ms = max(self.longest_ms, ms)
        bucket = math.ceil(math.log10(max(ms, _SMALLEST_MS) / _SMALLEST_MS) * _BUCKETS_PER_DECADE)
        self._counts[min(bucket, _BUCKETS - 1)] += 1

    def percentile(self, share: float) -> float:
        """Return the time in ms within which this share of the windows came, rounded up to the edge of a bucket."""
        if not self.windows:
            return 0.0
        bucket = int(np.searchsorted(np.cumsum(self._counts), share * self.windows))
        if bucket >= _BUCKETS - 1:  # the last one has no upper edge
            return self.longest_ms
        return min(self.longest_ms, float(_SMALLEST_MS * 10 ** (bucket / _BUCKETS_PER_DECADE)))


@dataclass(frozen=True, slots=True)
class Anchor:
    """When the steps are due: step `step` ends at `at_ns` of the wall clock, and the others `scale` times as slowly.

    Attributes:
        step: A step.
        at_ns: When all steps before it are over, in nanoseconds since 1970.
        scale: Time on the wall by simulated time; 2 is half as fast as the wall.
    """

    step: int
    at_ns: int
    scale: float


class Realtime(Lockstep):
    """One process in real time. Not thread-safe.

    A window is computed when its last step is over. What has not come by then is left out, and counted; when it comes
    later it is dropped, or delivered in the next window.

    Args:
        network: The populations of this process.
        plan: Its place among the others.
        pack: Writes a window of a population in its form on the wire.
        late: What becomes of a window that comes after it was needed.
        monotonic: The clock that durations are measured with, in seconds.
        wall_ns: The clock on the wall, which the processes have in common, in nanoseconds.

    Attributes:
        lateness: By source.
        anchor: When its steps are due; None until that is agreed on.
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        pack: Callable[[str, Spikes], bytes],
        late: Literal["drop", "deliver"] = "drop",
        monotonic: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(network, plan, pack)
        self.lateness = {source: Lateness() for source in plan.sources}
        self.anchor: Anchor | None = None
        self.overruns = 0
        """Windows that this process itself computed more than one window late."""
        self._dt_s = next(iter(network.populations.values())).model.setting.dt_ms / 1000
        self._late = late
        self._monotonic, self._wall_ns = monotonic, wall_ns
        self._anchored = 0.0  # `monotonic` when the anchor's step is over
        self._belated: dict[str, list[NDArray[np.int32]]] = {source: [] for source in plan.sources}

    def set_anchor(self, anchor: Anchor) -> None:
        """Agree on when the steps are due.

        From here on time is measured with a clock that nobody sets: a step of the wall clock changes nothing.
        """
        self.anchor = anchor
        self._anchored = self._monotonic() + (anchor.at_ns - self._wall_ns()) / 1e9

    def over_at(self, step: int) -> float:
        """Return when all steps before one are over, as `monotonic` says it.

        Raises:
            ModelError: That is not agreed on.
        """
        if self.anchor is None:
            raise ModelError(f"process {self.plan.process} does not know when its steps are due")
        return self._anchored + (step - self.anchor.step) * self._dt_s * self.anchor.scale

    def due_in_s(self) -> float:
        """Return the seconds until the next window is due; negative when it is, infinity when none is."""
        if self.anchor is None or self.finished or self.stopped:
            return math.inf
        return self.over_at(self.window_end) - self._monotonic()

    def receive(self, source: str, spikes: Spikes) -> None:
        """Take a window of another process in.

        Raises:
            ModelError: No population here needs that source.
        """
        lateness = self.lateness.get(source)
        if lateness is not None and self.anchor is not None:
            lateness.add((self._monotonic() - self.over_at(spikes.end_step)) * 1000)
            given = self._given[source]
            if spikes.first_step < given:
                lateness.late += 1
                if self._late == "deliver":
                    overdue = spikes.neurons[: spikes.offsets[min(given, spikes.end_step) - spikes.first_step]]
                    self._belated[source].append(overdue)
        super().receive(source, spikes)

    def missing(self) -> dict[str, int]:
        """Return nothing: nothing is waited for."""
        return {}

    def behind(self) -> list[str]:
        """Return nobody: nobody is waited for."""
        return []

    def has_gap(self, source: str) -> bool:
        """Return False: nothing is asked for again."""
        return False

    @property
    def can_advance(self) -> bool:
        """Whether the next window is due."""
        return self.due_in_s() <= 0

    def advance(self) -> dict[str, Spikes]:
        """Compute the window that is due, with what has come, and return what each population fired in it.

        Raises:
            ModelError: None is due.
        """
        end = self.window_end
        if self.due_in_s() < -self.plan.window * self._dt_s * (1.0 if self.anchor is None else self.anchor.scale):
            self.overruns += 1
        for source, delay in self.plan.sources.items():
            self._fill(source, end - delay)
        for sent in self._sent.values():  # nobody asks for them again
            sent.clear()
        return super().advance()

    def _fill(self, source: str, until: int) -> None:
        """Put silence in the place of what has not come, as far as it is needed now."""
        while self._covered[source] < until:
            first = self._covered[source]
            end = min([until, *self._ahead[source]])
            self.lateness[source].missed += math.ceil((end - first) / self.plan.window)
            super().receive(source, Spikes.none(first, end - first))
        belated, self._belated[source] = self._belated[source], []
        ready = self._ready[source]
        if belated and ready:
            ready[0] = _with_first(ready[0], np.concatenate(belated))
        elif belated:
            self._belated[source] = belated


def _with_first(spikes: Spikes, neurons: NDArray[np.int32]) -> Spikes:
    """Return a window with more spikes in its first step."""
    first = np.sort(np.concatenate([spikes.neurons[: spikes.offsets[1]], neurons]))
    offsets = spikes.offsets.copy()
    offsets[1:] += neurons.size
    return Spikes(spikes.first_step, offsets, np.concatenate([first, spikes.neurons[spikes.offsets[1] :]]))

"""Lock-step of one process with the others, without a network: what may be computed, sent and forgotten, and when.

A process computes a window as soon as all that can arrive in it is there. There is no barrier and no master. Since a
window is at most as long as the shortest delay between processes, the slowest process can always go on, so that they
never wait for each other in a circle.

A sender keeps what its readers may still ask for: all windows since the last saved state of each. It computes at most
`credit` windows more than its slowest reader has taken in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.network import Network
from brainnet.simulation.spikes import Spikes

DEFAULT_CREDIT: Final = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process has to do with the others.

    Attributes:
        process: Its name.
        window: Steps of one window, at most the shortest delay between processes.
        sources: Populations of other processes whose spikes are needed here, each with its shortest delay to here.
        readers: By population of this process, the other processes that need its spikes.
        credit: Windows that may be computed beyond what the slowest reader has taken in.
        last_step: Steps after which the network stops; None to go on.
        sizes: Neurons of each source.
    """

    process: str
    window: int
    sources: Mapping[str, int] = field(default_factory=dict)
    readers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    credit: int = DEFAULT_CREDIT
    last_step: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a process is.

    Attributes:
        next_step: The first step that it has not computed.
        needed_step: The first step of its sources that it would ask for if it were resumed from its last saved state.
    """

    next_step: int = 0
    needed_step: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """A window that was sent, kept in its form on the wire, which is many times smaller than its spikes.

    Attributes:
        first_step: Its first step.
        end_step: The first step after it.
        payload: Its bytes.
    """

    first_step: int
    end_step: int
    payload: bytes


class Lockstep:
    """One process in lock-step. Not thread-safe.

    Args:
        network: The populations of this process.
        plan: Its place among the others.
        pack: Writes a window of a population in its form on the wire; what others may ask for again is kept so.
    """

    def __init__(self, network: Network, plan: Plan, pack: Callable[[str, Spikes], bytes]) -> None:
        self.network = network
        self.plan = plan
        self.next_step = 0
        self.needed_step = 0
        self.stop_at: int | None = None
        """The step that is not computed until it is told otherwise; None to go on."""
        self.repeated = 0
        """Windows that came again and were left out."""
        self._ready: dict[str, deque[Spikes]] = {source: deque() for source in plan.sources}
        """Windows of each source that are not given to the network yet, without a gap."""
        self._ahead: dict[str, dict[int, Spikes]] = {source: {} for source in plan.sources}
        """Windows behind a gap, by their first step."""
        self._covered = dict.fromkeys(plan.sources, 0)
        self._given = dict.fromkeys(plan.sources, 0)
        self._pack = pack
        self._sent: dict[str, deque[Sent]] = {name: deque() for name in plan.readers}
        everybody = {reader for readers in plan.readers.values() for reader in readers}
        self._progress = {reader: Progress() for reader in sorted(everybody)}

    # -- what others say ---------------------------------------------------------------------------------------------

    def receive(self, source: str, spikes: Spikes) -> None:
        """Take a window of another process in, in any order and any number of times.

        Raises:
            ModelError: No population here needs that source.
        """
        ahead = self._ahead.get(source)
        if ahead is None:
            raise ModelError(f"{source} is no source of process {self.plan.process}")
        if spikes.first_step > self._covered[source]:
            self.repeated += spikes.first_step in ahead
            ahead[spikes.first_step] = spikes
            return
        self._append(source, spikes)
        while ahead and min(ahead) <= self._covered[source]:
            self._append(source, ahead.pop(min(ahead)))

    def _append(self, source: str, spikes: Spikes) -> None:
        """Take a window in that begins where the ones before it end, or earlier."""
        covered = self._covered[source]
        if spikes.end_step <= covered:
            self.repeated += 1
            return
        # A process that was paused, or resumed, may divide the same steps in another way.
        self._ready[source].append(spikes.since(covered))
        self._covered[source] = spikes.end_step

    def has_gap(self, source: str) -> bool:
        """Return whether something of a source has come that is later than what is missing."""
        return bool(self._ahead[source])

    def note_progress(self, reader: str, progress: Progress) -> None:
        """Take note of how far a reader is; of one that was restarted it may be less than before."""
        if reader in self._progress:
            self._progress[reader] = progress
            for name, sent in self._sent.items():
                needed = min(self._progress[r].needed_step for r in self.plan.readers[name])
                while sent and sent[0].end_step <= needed:
                    sent.popleft()

    def last_sent(self, population: str) -> bytes:
        """Return the window of a population of this process that was computed last, in its form on the wire."""
        return self._sent[population][-1].payload

    def sent_since(self, population: str, step: int) -> list[Sent]:
        """Return the windows of a population of this process from that which holds a step on, as far as computed.

        Raises:
            ModelError: It is no population that others read, or the step is no longer kept.
        """
        sent = self._sent.get(population)
        if sent is None:
            raise ModelError(f"{population} is no population of process {self.plan.process} that others read")
        if sent and step < sent[0].first_step:
            raise ModelError(f"{population}: step {step} is no longer kept; step {sent[0].first_step} is the first")
        return [window for window in sent if window.end_step > step]

    # -- what is next ------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the last step is computed."""
        return self.plan.last_step is not None and self.next_step >= self.plan.last_step

    @property
    def window_end(self) -> int:
        """The end of the window that is computed next."""
        # Windows lie on a grid that begins at step 0, also after a resume.
        end = (self.next_step // self.plan.window + 1) * self.plan.window
        for limit in (self.plan.last_step, self.stop_at):
            if limit is not None and limit < end:
                end = limit
        return end

    @property
    def stopped(self) -> bool:
        """Whether it was told not to compute the next step."""
        return self.stop_at is not None and self.next_step >= self.stop_at

    def missing(self) -> dict[str, int]:
        """Return the sources of which something is missing for the next window, each with the first missing step."""
        end = self.window_end
        return {
            source: self._covered[source]
            for source, delay in self.plan.sources.items()
            if self._covered[source] < end - delay
        }

    def behind(self) -> list[str]:
        """Return the readers that are too far behind for another window to be computed."""
        limit = self.next_step - self.plan.credit * self.plan.window
        return [reader for reader, progress in self._progress.items() if progress.next_step < limit]

    @property
    def can_advance(self) -> bool:
        """Whether the next window can be computed now."""
        return not (self.finished or self.stopped or self.behind() or self.missing())

    def advance(self) -> dict[str, Spikes]:
        """Compute the next window, and return what each population fired in it.

        Raises:
            ModelError: It cannot be computed yet.
        """
        if not self.can_advance:
            raise ModelError(f"process {self.plan.process} cannot compute step {self.next_step} yet")
        end = self.window_end
        for source, delay in self.plan.sources.items():
            ready = self._ready[source]
            # No more than is needed: what is further ahead does not fit into the rings of the synapses.
            while self._given[source] < end - delay:
                spikes = ready.popleft()
                self.network.receive(source, spikes)
                self._given[source] = spikes.end_step
        fired = self.network.advance(end - self.next_step)
        self.next_step = end
        for name, sent in self._sent.items():
            spikes = fired[name]
            sent.append(Sent(spikes.first_step, spikes.end_step, self._pack(name, spikes)))
        return fired

    # -- saved states ------------------------------------------------------------------------------------------------

    def save(self) -> dict[str, NDArray[Any]]:
        """Return all that a resumed process needs, as arrays by name: its state, and what others may ask for."""
        saved: dict[str, NDArray[Any]] = {"next_step": np.array([self.next_step])}
        for name, population in self.network.populations.items():
            saved |= {f"population/{name}/{key}": array for key, array in population.save().items()}
        for name, sent in self._sent.items():
            if sent:
                steps = [(window.first_step, window.end_step, len(window.payload)) for window in sent]
                saved[f"sent/{name}/steps"] = np.array(steps, np.int64)
                saved[f"sent/{name}/bytes"] = np.frombuffer(b"".join(w.payload for w in sent), np.uint8)
        for source, step in self._given.items():
            saved[f"given/{source}"] = np.array([step])
        return saved

    @property
    def would_need(self) -> int:
        """The first step of its sources that it would ask for if it were resumed from its state as it is now."""
        return min(self._given.values(), default=self.next_step)

    def note_saved(self, would_need: int | None = None) -> None:
        """Take note that a state is on disk.

        Args:
            would_need: What `would_need` was when the state was taken; by default it was taken just now.
        """
        self.needed_step = self.would_need if would_need is None else would_need

    @property
    def progress(self) -> Progress:
        """How far this process is."""
        return Progress(self.next_step, self.needed_step)

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `save` returned for the same process of the same network.

        Raises:
            ModelError: It is the state of another one.
        """
        try:
            for name, population in self.network.populations.items():
                prefix = f"population/{name}/"
                own = {key[len(prefix) :]: array for key, array in saved.items() if key.startswith(prefix)}
                population.load(own)
            for name, sent in self._sent.items():
                sent.clear()
                if f"sent/{name}/steps" in saved:
                    sent.extend(_kept(saved[f"sent/{name}/steps"], saved[f"sent/{name}/bytes"].tobytes()))
            for source in self._given:
                self._given[source] = self._covered[source] = int(saved[f"given/{source}"][0])
                self._ready[source].clear()
                self._ahead[source].clear()
            self.next_step = int(saved["next_step"][0])
            self.note_saved()
        except KeyError as error:
            raise ModelError(f"the saved state is not one of process {self.plan.process}: {error} is missing") from None


def _kept(steps: NDArray[Any], payloads: bytes) -> Iterable[Sent]:
    at = 0
    for first_step, end_step, size in steps.tolist():
        yield Sent(first_step, end_step, payloads[at : at + size])
        at += size

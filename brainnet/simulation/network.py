"""Populations that are computed in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from brainnet.simulation.digest import combined
from brainnet.simulation.population import Incoming, Population
from brainnet.simulation.spikes import Spikes


class Network:
    """Populations of one process, and the projections between them.

    Args:
        populations: The populations; projections whose source is not among them get their spikes by `receive`.
        inner_window: Steps that may be computed at once: the shortest delay of any projection between them.
    """

    def __init__(self, populations: Iterable[Population], inner_window: int) -> None:
        self.populations = {population.name: population for population in populations}
        self._inner_window = inner_window
        self._readers: dict[str, list[tuple[Population, Incoming]]] = {}
        for population in self.populations.values():
            for projection in population.incoming:
                self._readers.setdefault(projection.source, []).append((population, projection))

    @property
    def sources(self) -> set[str]:
        """Populations of other processes whose spikes are needed here."""
        return self._readers.keys() - self.populations.keys()

    def receive(self, source: str, spikes: Spikes) -> None:
        """Take in the next window of a population, of this process or another."""
        for population, projection in self._readers.get(source, ()):
            population.receive(projection, spikes)

    def advance(self, steps: int) -> dict[str, Spikes]:
        """Compute the next steps of all populations, for which all input from elsewhere must have been received."""
        fired: dict[str, list[Spikes]] = {name: [] for name in self.populations}
        left = steps
        while left:
            part = min(left, self._inner_window)
            computed = {name: population.advance(part) for name, population in self.populations.items()}
            for name, spikes in computed.items():
                self.receive(name, spikes)
                fired[name].append(spikes)
            left -= part
        return {name: Spikes.joined(parts) for name, parts in fired.items()}

    def digests(self) -> dict[str, str]:
        """Return the digest of each population's spikes."""
        return {name: population.digest.hexdigest() for name, population in self.populations.items()}

    def digest(self) -> str:
        """Return the digest of all spikes; only a network that holds every population has that of the whole."""
        return combined(self.digests())

    def run(self, steps: int, window: int, each: Callable[[dict[str, Spikes]], None] = lambda fired: None) -> None:
        """Compute steps in windows, and hand over what each of them fired."""
        left = steps
        while left:
            part = min(left, window)
            each(self.advance(part))
            left -= part

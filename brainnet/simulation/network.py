"""Populations that are computed in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from brainnet.errors import ModelError
from brainnet.simulation.digest import combined
from brainnet.simulation.population import Population, Reader
from brainnet.simulation.spikes import Spikes
from brainnet.texts import did_you_mean


class Network:
    """Populations of one process, and the projections between them.

    Args:
        populations: The populations; projections whose source is not among them get their spikes by `receive`.
        inner_window: Steps that may be computed at once: the shortest delay of any projection between them, and from
            any of them to a modulator.
    """

    def __init__(self, populations: Iterable[Population], inner_window: int) -> None:
        self.populations = {population.name: population for population in populations}
        self._inner_window = inner_window
        self._readers: dict[str, list[tuple[Population, Reader]]] = {}
        for population in self.populations.values():
            for source, reader in population.readers:
                self._readers.setdefault(source, []).append((population, reader))

    @property
    def sources(self) -> set[str]:
        """Populations of other processes whose spikes are needed here, by projections or as modulators."""
        return self._readers.keys() - self.populations.keys()

    def receive(self, source: str, spikes: Spikes) -> None:
        """Take in the next window of a population, of this process or another."""
        for population, reader in self._readers.get(source, ()):
            population.receive(reader, spikes)

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

    @property
    def modulators(self) -> set[str]:
        """Modulators of the projections that end here, those that are populations as well."""
        return {each.name for population in self.populations.values() for each in population.modulations}

    def modulate(self, name: str, step: int, amount: float) -> None:
        """Raise a modulator in one step by a value that comes from outside.

        The value takes effect at the beginning of the step, in all projections of this process with that modulator,
        and is part of the saved state until then. Values of one step add up, in any order, as multiples of 2**-24.
        Where a network is divided, the spikes are those of the whole if every process that has the modulator is told
        the same step and amount.

        Args:
            name: Of the modulator.
            step: The step, not yet computed.
            amount: By how much it rises, at most 2**20; it may be negative.

        Raises:
            ModelError: No projection here has such a modulator, the step is past, or the amount is too large or not
                finite.
        """
        found = [(p, each) for p in self.populations.values() for each in p.modulations if each.name == name]
        if not found:
            known = sorted(self.modulators)
            raise ModelError(
                f"there is no modulator {name!r}{did_you_mean(name, known)}; modulators here are "
                f"{', '.join(known) or 'none'}"
            )
        following = max(population.next_step for population, _ in found)
        if step < following:
            raise ModelError(f"modulator {name}: step {step} is past; step {following} is next")
        for _, modulation in found:
            modulation.add(step, amount)

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

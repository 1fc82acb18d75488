"""One population with the synapses that end in it, advanced window by window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.compiled_learning import CompiledLearning
from brainnet.simulation.delivery import Ring
from brainnet.simulation.digest import SpikeDigest
from brainnet.simulation.incoming import Incoming
from brainnet.simulation.models.base import Model, Window, compute, described
from brainnet.simulation.modulation import Modulation
from brainnet.simulation.plasticity.homeostasis import Drift, Homeostasis
from brainnet.simulation.spikes import Spikes
from brainnet.texts import did_you_mean

Reader = Incoming | Modulation
"""What takes in the spikes of a source."""


class Population:
    """Neurons and the synapses that end in them.

    Guarantees: spikes, weights and digest after a step are the same however the steps are cut into windows.

    Args:
        model: The neurons.
        incoming: The projections that end here.
        longest_window: Steps of the longest window that it will be asked for, and that its sources send.

    Raises:
        ModelError: Plastic synapses end in a model whose inputs are not its neurons.
    """

    def __init__(self, model: Model, incoming: list[Incoming], longest_window: int) -> None:
        self.model = model
        self.incoming = incoming
        self.digest = SpikeDigest()
        self.next_step = 0
        longest = max((projection.longest_delay for projection in incoming), default=1)
        self._ring = Ring(len(model.ports), longest + 2 * longest_window, model.inputs)
        self._plastic = [projection for projection in incoming if projection.plastic is not None]
        if self._plastic and not model.learns:
            raise ModelError(
                f"{described(model)}: the projection {self._plastic[0].name} is plastic, but the inputs of this model "
                "are not the neurons that fire; let it end in a population before it"
            )
        self._learning = CompiledLearning.of(model, self._plastic)
        self._drift: Drift | None = None

    def keep_rate(self, rule: Homeostasis) -> None:
        """Let the thresholds of the neurons drift towards a rate, from step 0 on.

        Raises:
            ModelError: The model has no thresholds that may change, or they could fall too far.
        """
        if self.model.thresholds is None:
            raise ModelError(f"{described(self.model)} has no threshold that homeostasis could change")
        self._drift = Drift(rule, self.model.thresholds, self.model.setting.dt_ms)

    @property
    def name(self) -> str:
        """The name of the population."""
        return self.model.setting.name

    @property
    def modulations(self) -> list[Modulation]:
        """What raises the modulators of the projections that end here."""
        return [projection.modulation for projection in self.incoming if projection.modulation is not None]

    @property
    def readers(self) -> list[tuple[str, Reader]]:
        """What takes in spikes here, each with the population that they come from."""
        found: list[tuple[str, Reader]] = [(projection.source, projection) for projection in self.incoming]
        return found + [(each.source, each) for each in self.modulations if each.source is not None]

    def receive(self, reader: Reader, spikes: Spikes) -> None:
        """Take in a window of a source of a projection or of its modulator, the next one.

        Raises:
            ModelError: It is not the next one.
        """
        if isinstance(reader, Modulation):
            reader.receive(spikes)
        else:
            reader.receive(spikes, self._ring.sums[reader.port], self.next_step - reader.longest_delay)

    def weights(self, projection: str) -> NDArray[np.float64]:
        """Return the weights of a projection that ends here, as they are after the last step.

        Args:
            projection: Its name.

        Returns:
            float64 [synapses] in the unit of the model, without the efficacy of short-term plasticity; synapses stand
            in the order of the rows that the rule of connectivity made, by source neuron.

        Raises:
            ModelError: There is no such projection here, or its weights are not stored.
        """
        return self.projection(projection).weights

    def set_weights(self, projection: str, weights: Any) -> None:
        """Set the weights of a plastic projection that ends here, for all that arrives from the next step on.

        Args:
            projection: Its name.
            weights: [synapses] in the order of `weights`, or one number for all.

        Raises:
            ModelError: There is no such projection here, or it does not learn; a weight is not finite, too large or
                outside of the bounds of the rule; or there are more or fewer than synapses. Nothing has changed then.
        """
        self.projection(projection).set_weights(weights)

    def projection(self, name: str) -> Incoming:
        """Return a projection that ends here, by its name.

        Raises:
            ModelError: There is none.
        """
        for projection in self.incoming:
            if projection.name == name:
                return projection
        known = [projection.name for projection in self.incoming]
        raise ModelError(
            f"{self.name}: there is no projection {name!r}{did_you_mean(name, known)}; those that end here are "
            f"{', '.join(known) or 'none'}"
        )

    def advance(self, steps: int) -> Spikes:
        """Compute the next steps, for which all input must have been received, and return what fired."""
        first = self.next_step
        sums = {port: self._ring.take(index, first, steps) for index, port in enumerate(self.model.ports)}
        spikes = self._computed(first, steps, sums) if self._drift is None else self._drifting(first, steps, sums)
        self.next_step = spikes.end_step
        self.digest.add(spikes)
        return spikes

    def _drifting(self, first: int, steps: int, sums: Mapping[str, NDArray[np.int64]]) -> Spikes:
        """Compute steps up to each point of the grid in which the thresholds move."""
        assert self._drift is not None
        parts, at = [], 0
        while at < steps:
            end = min(steps, at + self._drift.grid - (first + at) % self._drift.grid)
            part = {port: values[at:end] for port, values in sums.items()}
            parts.append(self._computed(first + at, end - at, part))
            self._drift.count(first + end, parts[-1].neurons)
            at = end
        return Spikes.joined(parts)

    def _computed(self, first: int, steps: int, sums: Mapping[str, NDArray[np.int64]]) -> Spikes:
        """Compute steps in which no threshold moves."""
        model = self.model
        if not self._plastic:
            return compute(model, Window(first, steps, model.setting.dt_ms, sums))
        if self._learning is not None:
            return self._learning.computed(Window(first, steps, model.setting.dt_ms, sums))
        # step by step: what the neurons fire in one changes the weights in the next
        parts = []
        for at in range(steps):
            row = {port: values[at : at + 1] for port, values in sums.items()}
            for projection in self._plastic:
                projection.modulate(first + at)
                projection.arrive(first + at, row[model.ports[projection.port]][0])
            fired = compute(model, Window(first + at, 1, model.setting.dt_ms, row))
            for projection in self._plastic:
                if projection.plastic is not None and fired.count:
                    projection.plastic.fire(first + at, fired.neurons)
            parts.append(fired)
        return Spikes.joined(parts)

    def save(self) -> dict[str, NDArray[Any]]:
        """Return everything that the next steps depend on, as arrays by name."""
        saved: dict[str, NDArray[Any]] = {"next": np.array([self.next_step]), "ring": self._ring.sums.copy()}
        saved |= {f"model.{name}": array for name, array in self.model.save().items()}
        saved |= {f"digest.{name}": array for name, array in self.digest.save().items()}
        if self._drift is not None:
            saved |= {f"homeostasis.{name}": array for name, array in self._drift.save().items()}
        for index, projection in enumerate(self.incoming):
            saved |= {f"projection.{index}.{name}": array for name, array in projection.save().items()}
        return saved

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `save` returned for the same population.

        Raises:
            ModelError: It is the state of another population.
        """
        try:
            self._ring.sums[:] = saved["ring"]
            self.model.load(_part(saved, "model."))
            self.digest.load({name: saved[f"digest.{name}"] for name in ("chain", "pending", "next")})
            if self._drift is not None:
                self._drift.load(_part(saved, "homeostasis."))
            for index, projection in enumerate(self.incoming):
                projection.load(_part(saved, f"projection.{index}."))
            self.next_step = int(saved["next"][0])
        except (KeyError, ValueError) as error:
            raise ModelError(f"the saved state is not one of {self.name}: {error}") from None


def _part(saved: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in saved.items() if name.startswith(prefix)}

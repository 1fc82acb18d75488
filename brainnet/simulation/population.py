"""One population with the synapses that end in it, advanced window by window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.delivery import Deliverer, Ring
from brainnet.simulation.digest import SpikeDigest
from brainnet.simulation.models.base import Model, Window, compute, described
from brainnet.simulation.plasticity import PlasticSynapses
from brainnet.simulation.spikes import Spikes


@dataclass(slots=True)
class Incoming:
    """The synapses of one projection at its target.

    Attributes:
        name: Of the projection.
        source: Name of the source population.
        port: Index of the target's port.
        longest_delay: Steps.
        static: Synapses that do not learn; None for those that do.
        plastic: Synapses that learn; None for those that do not.
        next_step: The first step of the source that is not taken in yet.
        history: Of a plastic projection, what the source fired lately.
    """

    name: str
    source: str
    port: int
    longest_delay: int
    static: Deliverer | None = None
    plastic: PlasticSynapses | None = None
    next_step: int = 0
    history: Spikes | None = None


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

    @property
    def name(self) -> str:
        """The name of the population."""
        return self.model.setting.name

    def receive(self, projection: Incoming, spikes: Spikes) -> None:
        """Take in a window of a projection's source, the next one.

        Raises:
            ModelError: It is not the next one.
        """
        if spikes.first_step != projection.next_step:
            raise ModelError(
                f"{projection.name}: step {projection.next_step} is next, and the window begins with step "
                f"{spikes.first_step}"
            )
        projection.next_step = spikes.end_step
        if projection.static is not None:
            projection.static.deliver(spikes, self._ring.sums[projection.port])
            return
        history = spikes if projection.history is None else Spikes.joined([projection.history, spikes])
        projection.history = _since(history, self.next_step - projection.longest_delay)

    def advance(self, steps: int) -> Spikes:
        """Compute the next steps, for which all input must have been received, and return what fired."""
        model, first = self.model, self.next_step
        sums = {port: self._ring.take(index, first, steps) for index, port in enumerate(model.ports)}
        if self._plastic:
            spikes = self._advance_by_step(first, steps, sums)
        else:
            spikes = compute(model, Window(first, steps, model.setting.dt_ms, sums))
        self.next_step = spikes.end_step
        self.digest.add(spikes)
        return spikes

    def _advance_by_step(self, first: int, steps: int, sums: Mapping[str, NDArray[np.int64]]) -> Spikes:
        """Compute step by step: what the neurons fire in one changes the weights in the next."""
        model = self.model
        parts = []
        for at in range(steps):
            row = {port: values[at : at + 1] for port, values in sums.items()}
            for projection in self._plastic:
                if projection.history is not None and projection.plastic is not None:
                    into = row[model.ports[projection.port]][0]
                    projection.plastic.arrive(first + at, projection.history, into)
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
        for index, projection in enumerate(self.incoming):
            at = f"projection.{index}"
            saved[f"{at}.next"] = np.array([projection.next_step])
            if projection.plastic is not None:
                saved |= {f"{at}.{name}": array.copy() for name, array in projection.plastic.state.items()}
            if projection.history is not None:
                history = projection.history
                saved[f"{at}.history.first"] = np.array([history.first_step])
                saved[f"{at}.history.offsets"] = history.offsets
                saved[f"{at}.history.neurons"] = history.neurons
        return saved

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `save` returned for the same population.

        Raises:
            ModelError: It is the state of another population.
        """
        try:
            self._ring.sums[:] = saved["ring"]
            model = {name.removeprefix("model."): array for name, array in saved.items() if name.startswith("model.")}
            self.model.load(model)
            self.digest.load({name: saved[f"digest.{name}"] for name in ("chain", "pending", "next")})
            for index, projection in enumerate(self.incoming):
                at = f"projection.{index}"
                projection.next_step = int(saved[f"{at}.next"][0])
                if projection.plastic is not None:
                    for name, array in projection.plastic.state.items():
                        array[:] = saved[f"{at}.{name}"]
                if f"{at}.history.first" in saved:
                    projection.history = Spikes(
                        int(saved[f"{at}.history.first"][0]),
                        saved[f"{at}.history.offsets"],
                        saved[f"{at}.history.neurons"],
                    )
            self.next_step = int(saved["next"][0])
        except (KeyError, ValueError) as error:
            raise ModelError(f"the saved state is not one of {self.name}: {error}") from None


def _since(spikes: Spikes, step: int) -> Spikes:
    """Return the spikes from a step on."""
    if step <= spikes.first_step:
        return spikes
    at = min(step, spikes.end_step) - spikes.first_step
    low = spikes.offsets[at]
    return Spikes(spikes.first_step + at, spikes.offsets[at:] - low, spikes.neurons[low:])

"""The synapses of one projection at its target, and what of its spikes is still to arrive."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.delivery import Deliverer, ScaledSynapses
from brainnet.simulation.fixed_point import from_fixed, to_fixed
from brainnet.simulation.modulation import Modulation
from brainnet.simulation.plasticity import Efficacies, ModulatedSynapses, PlasticSynapses
from brainnet.simulation.spikes import Spikes


@dataclass(slots=True)
class Incoming:
    """The synapses of one projection at its target.

    Exactly one of `static`, `scaled` and `plastic` is given.

    Attributes:
        name: Of the projection.
        source: Name of the source population.
        port: Index of the target's port.
        longest_delay: Steps.
        static: Synapses that do not learn; None for others.
        scaled: Synapses that do not learn, with `efficacies`; None for others.
        plastic: Synapses that learn; None for those that do not.
        efficacies: How strong each spike of the source is; None where all are equal.
        modulation: What raises the modulator of plastic synapses that have one.
        next_step: The first step of the source that is not taken in yet.
        history: Of a plastic projection, what the source fired lately.
        efficacy: Of a plastic projection with `efficacies`, that of each spike of the history.
    """

    name: str
    source: str
    port: int
    longest_delay: int
    static: Deliverer | None = None
    scaled: ScaledSynapses | None = None
    plastic: PlasticSynapses | None = None
    efficacies: Efficacies | None = None
    modulation: Modulation | None = None
    next_step: int = 0
    history: Spikes | None = None
    efficacy: NDArray[np.float64] | None = None

    def receive(self, spikes: Spikes, sums: NDArray[np.int64], since: int) -> None:
        """Take in a window of the source, the next one.

        Args:
            spikes: The window.
            sums: [length, neurons], the ring of the port, which static synapses add to.
            since: The first step of the history that is still needed.

        Raises:
            ModelError: It is not the next one.
        """
        if spikes.first_step != self.next_step:
            raise ModelError(
                f"{self.name}: step {self.next_step} is next, and the window begins with step {spikes.first_step}"
            )
        self.next_step = spikes.end_step
        if self.static is not None:
            self.static.deliver(spikes, sums)
            return
        # The efficacy of a spike follows from earlier ones, so it is known when the spike leaves.
        efficacy = None if self.efficacies is None else self.efficacies.of(spikes)
        if self.scaled is not None:
            assert efficacy is not None
            self.scaled.deliver(spikes, efficacy, sums)
            return
        history = spikes if self.history is None else Spikes.joined([self.history, spikes])
        self.history = history.since(since)
        if efficacy is not None:
            known = efficacy if self.efficacy is None else np.concatenate([self.efficacy, efficacy])
            self.efficacy = known[known.size - self.history.count :]

    def modulate(self, step: int) -> None:
        """Begin a step of plastic synapses: their modulator rises, if they have one."""
        if self.modulation is not None:
            cast(ModulatedSynapses, self.plastic).modulate(step, self.modulation.take(step))

    def arrive(self, step: int, sums: NDArray[np.int64]) -> None:
        """Let what arrives at plastic synapses in one step add to the sums [neurons], and change the synapses."""
        if self.history is None or self.plastic is None:
            return
        if self.efficacies is None:  # also for rules of users whose `arrive` has no such parameter
            self.plastic.arrive(step, self.history, sums)
        else:
            self.plastic.arrive(step, self.history, sums, self.efficacy)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights now [synapses], without efficacy, in the order of the rows that the projection was made of.

        Raises:
            ModelError: They are not stored.
        """
        if self.plastic is not None:
            return from_fixed(self.plastic.weights)
        rows = getattr(self.static or self.scaled, "rows", None)
        if rows is None or callable(rows):
            raise ModelError(f"{self.name}: synapses of which nothing is stored have no weights to read")
        return from_fixed(np.broadcast_to(rows.weights, (rows.count,)))

    def set_weights(self, weights: Any) -> None:
        """Set the weights of synapses that learn, from the next step on.

        Args:
            weights: [synapses] in the order of `weights`, or one number for all.

        Raises:
            ModelError: The synapses do not learn; or a weight is not finite, too large or outside of the bounds of
                the rule; or there are more or fewer than synapses.
        """
        if self.plastic is None:
            # What has left the source is already on its way with the weights as they were, and how much that is
            # depends on the windows.
            raise ModelError(
                f"{self.name}: its weights do not change; to set them while it runs, give it a rule of plasticity, "
                "such as stdp with amplitudes of 0"
            )
        change = getattr(self.plastic, "set_weights", None)
        if change is None:
            raise ModelError(f"{self.name}: {type(self.plastic).__name__} has no method set_weights(weights)")
        shape = self.plastic.weights.shape
        given = np.asarray(weights)
        if given.dtype.kind not in "biuf":
            raise ModelError(f"{self.name}: weights are numbers, not {given.dtype}")
        if given.shape not in ((), shape):
            raise ModelError(
                f"{self.name}: weights of shape {list(given.shape)}; it is one number, or {list(shape)} as there are "
                "synapses"
            )
        try:
            change(np.broadcast_to(to_fixed(given), shape))
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from None

    def save(self) -> dict[str, NDArray[Any]]:
        """Return everything that the next steps depend on, as arrays by name."""
        saved: dict[str, NDArray[Any]] = {"next": np.array([self.next_step])}
        if self.plastic is not None:
            saved |= {name: array.copy() for name, array in self.plastic.state.items()}
        if self.efficacies is not None:
            saved |= {f"efficacy.{name}": array.copy() for name, array in self.efficacies.state.items()}
        if self.modulation is not None:
            saved |= {f"modulator.{name}": array for name, array in self.modulation.save().items()}
        if self.history is not None:
            saved["history.first"] = np.array([self.history.first_step])
            saved["history.offsets"] = self.history.offsets
            saved["history.neurons"] = self.history.neurons
        if self.efficacy is not None:
            saved["history.efficacy"] = self.efficacy
        return saved

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `save` of the same projection returned.

        Raises:
            KeyError: An array is missing.
            ValueError: An array does not fit.
        """
        self.next_step = int(saved["next"][0])
        if self.plastic is not None:
            for name, array in self.plastic.state.items():
                array[:] = saved[name]
        if self.efficacies is not None:
            for name, array in self.efficacies.state.items():
                array[:] = saved[f"efficacy.{name}"]
        if self.modulation is not None:
            self.modulation.load({name: saved[f"modulator.{name}"] for name in self.modulation.save()})
        self.history = self.efficacy = None
        if "history.first" in saved:
            first = int(saved["history.first"][0])
            self.history = Spikes(first, saved["history.offsets"], saved["history.neurons"])
            self.efficacy = saved["history.efficacy"] if self.efficacies is not None else None


def takes_efficacy(plastic: PlasticSynapses) -> bool:
    """Return whether synapses that learn can be used with a rule of efficacy."""
    return "efficacy" in inspect.signature(plastic.arrive).parameters

"""What a rule of plasticity is: ours, and those of users.

There are two kinds, and a projection may have one of each. A `PlasticityRule` changes weights: its synapses see spikes
arrive and neurons fire, step by step. An `EfficacyRule` changes what a spike does for a while: it multiplies the
weights that a spike adds by a number that depends on the earlier spikes of the same source neuron.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field

from brainnet.limits import Name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from brainnet.simulation.rows import Rows
    from brainnet.simulation.spikes import Spikes

MAX_PER_SPIKE: Final = 1000.0
"""By how much one spike may raise a modulator, at most."""


class PlasticSynapses(Protocol):
    """The synapses of one projection that learn.

    Within a step, `arrive` comes first, then the neurons fire, then `fire`. All traces are taken as they were before
    the spikes of the step.

    A method `set_weights(weights)` is asked for only where somebody sets weights from outside. It takes int32
    [synapses], fixed point, in the order of the rows, for the steps that follow, and raises a `ModelError` for weights
    that it cannot have.

    Attributes:
        state: Arrays by name, whose shapes and types do not change; they are saved and restored with a checkpoint, and
            hold all that changes.
    """

    state: dict[str, NDArray[Any]]

    @property
    def weights(self) -> NDArray[np.int32]:
        """The weights now, fixed point, in the order of the rows that they were made of; reading changes nothing."""

    def arrive(
        self, step: int, history: Spikes, sums: NDArray[np.int64], efficacy: NDArray[np.float64] | None = None
    ) -> None:
        """Add the weights of what arrives in one step to the sums [neurons], and let it change the synapses.

        A rule whose `arrive` has no parameter `efficacy` can be used as well, but not together with an `EfficacyRule`.

        Args:
            step: The step.
            history: The spikes of the source, at least from `step` minus the longest delay on.
            sums: Input of the port in this step.
            efficacy: [spikes of the history], what the weights that each spike adds are multiplied by; left out where
                the projection has no `EfficacyRule`.
        """

    def fire(self, step: int, neurons: NDArray[np.int32]) -> None:
        """Let target neurons that fired in one step change their synapses."""


class ModulatedSynapses(PlasticSynapses, Protocol):
    """Synapses that learn under a modulator."""

    def modulate(self, step: int, amount: float) -> None:
        """Begin a step, before its `arrive`: called in every step, with the amount by which the modulator rises."""


class Efficacies(Protocol):
    """How strong the spikes of one projection are.

    Attributes:
        state: Arrays by name, as those of `PlasticSynapses`.
    """

    state: dict[str, NDArray[Any]]

    def of(self, spikes: Spikes) -> NDArray[np.float64]:
        """Return the factor [spikes] of each spike of the source's next window, and take the window in."""


class Rule(BaseModel, ABC):
    """What all rules have: a name. A rule is a subclass of `PlasticityRule` or of `EfficacyRule`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rule: str = Field(description="name of the rule")


class PlasticityRule(Rule):
    """A rule by which weights change.

    A rule of a user's own is a subclass that is named in a connectome as `FILE.py:Class`, `module:Class` or an entry
    point, and has the same rights as those of this package.

    Guarantees asked of a subclass: what its synapses do depends on the spikes and the steps alone, and not on how the
    steps are cut into windows.
    """

    @abstractmethod
    def synapses(self, rows: Rows, targets: int, dt_ms: float) -> PlasticSynapses:
        """Make the synapses of a projection.

        Args:
            rows: The synapses at the beginning.
            targets: Number of target neurons.
            dt_ms: One step.

        Raises:
            ModelError: The rule does not fit the weights.
        """


class ModulatedRule(PlasticityRule):
    """A rule whose weights change under a modulator; its `synapses` are `ModulatedSynapses`.

    A modulator is a value that is raised from time to time: by each spike of the population that has its name, or, if
    there is no such population, from outside by `brainnet.simulation.network.Network.modulate`.
    """

    modulator: Name = Field(description="name of a population, or of a value that comes from outside")
    modulator_delay_ms: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="from a spike of that population to its effect; at least one step"
    )
    per_spike: float = Field(
        0.5, ge=-MAX_PER_SPIKE, le=MAX_PER_SPIKE, description="by how much each spike of that population raises it"
    )


class EfficacyRule(Rule):
    """A rule by which the effect of a spike depends on the earlier spikes of the same neuron.

    Guarantees asked of a subclass: the factors depend on the spikes and their steps alone, and not on how the steps are
    cut into windows. A rule of a user's own is named as one of `PlasticityRule`.
    """

    @abstractmethod
    def efficacies(self, sources: int, dt_ms: float) -> Efficacies:
        """Make the state of a projection.

        Args:
            sources: Number of source neurons.
            dt_ms: One step.

        Raises:
            ModelError: A constant is not possible with this step.
        """

"""What a rule of plasticity is: ours, and those of users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from brainnet.simulation.rows import Rows
    from brainnet.simulation.spikes import Spikes


class PlasticSynapses(Protocol):
    """The synapses of one projection that learn.

    Within a step, `arrive` comes first, then the neurons fire, then `fire`. All traces are taken as they were before
    the spikes of the step.

    Attributes:
        state: Arrays by name; they are saved and restored with a checkpoint, and hold all that changes.
    """

    state: dict[str, NDArray[Any]]

    @property
    def weights(self) -> NDArray[np.int32]:
        """The weights now, fixed point, in the order of the rows that they were made of."""

    def arrive(self, step: int, history: Spikes, sums: NDArray[np.int64]) -> None:
        """Add the weights of what arrives in one step to the sums [neurons], and let it change the synapses.

        Args:
            step: The step.
            history: The spikes of the source, at least from `step` minus the longest delay on.
            sums: Input of the port in this step.
        """

    def fire(self, step: int, neurons: NDArray[np.int32]) -> None:
        """Let target neurons that fired in one step change their synapses."""


class PlasticityRule(BaseModel, ABC):
    """A rule by which synapses learn.

    A rule of a user's own is a subclass that is named in a connectome as `FILE.py:Class`, `module:Class` or an entry
    point, and has the same rights as those of this package.

    Guarantees asked of a subclass: what its synapses do depends on the spikes and the steps alone, and not on how the
    steps are cut into windows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    rule: str = Field(description="name of the rule")

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

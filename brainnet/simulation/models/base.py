"""What a model of a population is: ours, and those of users."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.random import key_of, normal, uniform
from brainnet.simulation.spikes import Spikes

EXCITATORY: Final = "excitatory"
INHIBITORY: Final = "inhibitory"

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Distribution(BaseModel):
    """A value for each neuron: `{normal: [mean, sd]}`, `{uniform: [low, high]}` or a list with one value each."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    normal: tuple[Finite, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = None
    uniform: tuple[Finite, Finite] | None = None

    def values(self, key: np.uint64, count: int) -> NDArray[np.float64]:
        """Return `count` values, which depend on the key alone."""
        if self.normal is not None:
            mean, deviation = self.normal
            return np.array([mean + deviation * normal(key, index, 0) for index in range(count)])
        assert self.uniform is not None
        low, high = self.uniform
        return np.array([low + (high - low) * uniform(key, index, 0) for index in range(count)])


Values = Finite | Distribution | list[Finite]
"""A parameter that may differ from neuron to neuron."""


class Noise(BaseModel):
    """Poisson spikes from outside the network, of each neuron its own, which no population sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rate_hz: float = Field(ge=0, allow_inf_nan=False, description="of all sources of one neuron together")
    weight: Finite = Field(description="of each spike, in the unit of the model's weights")


class ModelParameters(BaseModel):
    """Parameters of a model; a model of its own has a subclass with its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a model runs.

    Attributes:
        name: Of the population.
        size: Its neurons.
        dt_ms: One step in milliseconds.
        seed: Of the network. Every random number of the model is drawn through `key`.
    """

    name: str
    size: int
    dt_ms: float
    seed: int

    def key(self, *purpose: object) -> np.uint64:
        """Return the key of random numbers of this population for one purpose."""
        return key_of(self.seed, "population", self.name, *purpose)

    def steps(self, duration_ms: float) -> int:
        """Return a duration in whole steps, rounded to the nearest, halves upwards."""
        return math.floor(duration_ms / self.dt_ms + 0.5)

    def spread(self, name: str, values: Any) -> NDArray[np.float64]:
        """Return a parameter as one value for each neuron, float64 [size].

        Args:
            name: Of the parameter; other parameters draw other numbers.
            values: A number, a `Distribution` or a list.

        Raises:
            ModelError: A list has another length.
        """
        if isinstance(values, Distribution):
            return values.values(self.key("parameter", name), self.size)
        spread = np.asarray(values, np.float64)
        if spread.ndim and spread.shape != (self.size,):
            raise ModelError(f"{name} lists {spread.size} values for {self.size} neurons")
        return np.ascontiguousarray(np.broadcast_to(spread, (self.size,)))


@dataclass(frozen=True, slots=True)
class Window:
    """The input of a population in some steps.

    Attributes:
        first_step: Number of the first step, counted from 0 at the start of the network.
        steps: How many there are.
        dt_ms: One step in milliseconds.
        sums: By port, int64 [steps, neurons]: the sum of the weights of the spikes that arrive in each step, as
            fixed-point numbers. Read-only.
    """

    first_step: int
    steps: int
    dt_ms: float
    sums: Mapping[str, NDArray[np.int64]]

    def input(self, port: str) -> NDArray[np.float64]:
        """Return the input of a port, float64 [neurons, steps], in units of the weights."""
        return (self.sums[port] * (1.0 / UNIT)).T


class Model(ABC):
    """The neurons of one population.

    A model of a user's own is a subclass that is named in a connectome as `FILE.py:Class`, `module:Class` or an entry
    point, and has the same rights as those of this package.

    Guarantees asked of a subclass: its spikes depend on its input, its state, the step and `setting.key` alone, and not
    on how the steps are cut into windows; all that it carries from one window to the next is in the arrays of `state`.

    Attributes:
        setting: Name, size, step and seed.
        parameters: Its parameters.
        state: Arrays by name; they are saved and restored with a checkpoint.
    """

    Parameters: ClassVar[type[ModelParameters]] = ModelParameters
    ports: ClassVar[tuple[str, ...]] = (EXCITATORY, INHIBITORY)
    """Names of the ports that projections may go to."""

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        self.setting = setting
        self.parameters = parameters
        self.state: dict[str, NDArray[Any]] = {}

    @abstractmethod
    def advance(self, window: Window) -> Spikes:
        """Compute the steps of one window, in order, and return what fired."""

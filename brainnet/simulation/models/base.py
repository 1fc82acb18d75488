"""What a model of a population is: ours, and those of users."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainnet.errors import ModelError
from brainnet.limits import mistake
from brainnet.simulation.fixed_point import from_fixed
from brainnet.simulation.plasticity.homeostasis import Thresholds
from brainnet.simulation.random import key_of, normal, poisson_table, uniform
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled
from brainnet.texts import did_you_mean

EXCITATORY: Final = "excitatory"
INHIBITORY: Final = "inhibitory"

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Distribution(BaseModel):
    """A value for each neuron: `{normal: [mean, sd]}`, `{uniform: [low, high]}` or a list with one value each."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    normal: tuple[Finite, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = None
    uniform: tuple[Finite, Finite] | None = None

    @model_validator(mode="after")
    def _check(self) -> Distribution:
        if (self.normal is None) == (self.uniform is None):
            raise ValueError("a distribution is either {normal: [mean, sd]} or {uniform: [low, high]}")
        if self.uniform is not None and self.uniform[0] > self.uniform[1]:
            raise ValueError("uniform must be [low, high] with low at most high")
        return self

    def values(self, key: np.uint64, count: int) -> NDArray[np.float64]:
        """Return `count` values, which depend on the key alone."""
        values = np.empty(count)
        if self.normal is not None:
            _normal_values(key, *self.normal, values)
        else:
            assert self.uniform is not None
            _uniform_values(key, *self.uniform, values)
        return values


@compiled
def _normal_values(key, mean, deviation, values):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        values[i] = mean + deviation * normal(key, i, 0)


@compiled
def _uniform_values(key, low, high, values):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        values[i] = low + (high - low) * uniform(key, i, 0)


Values = Finite | Distribution | list[Finite]
"""A parameter that may differ from neuron to neuron."""


class Noise(BaseModel):
    """Poisson spikes from outside the network, of each neuron its own, which no population sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rate_hz: float = Field(ge=0, allow_inf_nan=False, description="of all sources of one neuron together")
    weight: Finite = Field(description="of each spike, in the unit of the model's weights")


class NoiseSource(NamedTuple):
    """`Noise` as the kernels need it; without noise there are no thresholds.

    Attributes:
        key: Of the random numbers.
        thresholds: The table of `brainnet.simulation.random.poisson_count`.
        weight: Of each spike; a fixed-point number for models that compute in integers.
    """

    key: np.uint64
    thresholds: NDArray[np.uint64]
    weight: float | np.int64


class ModelParameters(BaseModel):
    """Parameters of a model; a model with parameters has a subclass with a field for each."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a model runs.

    Attributes:
        name: Of the population.
        size: Its neurons.
        dt_ms: One step in milliseconds.
        seed: Of the network. Every random number of the model is drawn through `key`.
        folder: Where relative paths in the parameters begin: the folder of the connectome file.
        checkpoint: The file of weights that the description of the population names, or None.
        realtime: Whether the clock on the wall drives the steps.
        time_scale: In real time, time on the wall by simulated time.
    """

    name: str
    size: int
    dt_ms: float
    seed: int
    folder: Path = Path()
    checkpoint: Path | None = None
    realtime: bool = False
    time_scale: float = 1.0

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
            raise ModelError(
                f"population {self.name}: {name} lists {spread.size} values for {self.size} neurons", field=name
            )
        return np.ascontiguousarray(np.broadcast_to(spread, (self.size,)))

    def noise(self, noise: Noise | None) -> NoiseSource:
        """Return the noise of this population, each neuron with its own.

        Raises:
            ModelError: The rate is too high for the step.
        """
        noise = noise or Noise(rate_hz=0.0, weight=0.0)
        try:
            thresholds = poisson_table(noise.rate_hz * self.dt_ms / 1000.0)
        except ModelError as error:
            raise ModelError(
                f"population {self.name}: noise of {noise.rate_hz:g} Hz: {error}", field="noise.rate_hz"
            ) from None
        if not noise.rate_hz:
            thresholds = np.zeros(0, np.uint64)
        return NoiseSource(self.key("noise"), thresholds, noise.weight)


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
        return from_fixed(self.sums[port]).T

    def total(self) -> NDArray[np.float64]:
        """Return the input of all ports together, float64 [neurons, steps], in units of the weights."""
        return from_fixed(self.sum()).T

    def sum(self) -> NDArray[np.int64]:
        """Return the input of all ports together, int64 [steps, neurons], as fixed-point numbers."""
        first, *others = self.sums.values()
        return sum(others, first)


class Model(ABC):
    """The neurons of one population.

    A model of a user's own is a subclass that is named in a connectome as `FILE.py:Class`, `module:Class` or an entry
    point, and has the same rights as those of this package.

    Guarantees asked of a subclass: its spikes depend on its input, its state, the step and `setting.key` alone, and not
    on how the steps are cut into windows; all that it carries from one window to the next is in the arrays of `state`,
    or is returned by a `save` of its own.

    Attributes:
        setting: Name, size, step and seed.
        parameters: Its parameters.
        state: Arrays by name, whose shapes and types do not change; they are saved and restored with a checkpoint.
        thresholds: What homeostasis may move; None where a model has no threshold that may change while it runs.
    """

    Parameters: ClassVar[type[ModelParameters]] = ModelParameters
    ports: ClassVar[tuple[str, ...]] = (EXCITATORY, INHIBITORY)
    """Names of the ports that projections may go to; none for a source."""
    size: ClassVar[int | None] = None
    """The number of neurons of a model for which the connectome does not choose it."""
    learns: ClassVar[bool] = True
    """Whether input `i` goes to the neuron `i` that fires, as plastic synapses need it."""

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        self.setting = setting
        self.parameters = parameters
        self.state: dict[str, NDArray[Any]] = {}
        self.thresholds: Thresholds | None = None

    @classmethod
    def shape(cls, parameters: ModelParameters, setting: Setting) -> tuple[int, int] | None:
        """Return how many inputs and neurons the model has by itself, or None where the connectome chooses.

        Args:
            parameters: Its parameters.
            setting: As for the model; its size is not looked at.
        """
        return None if cls.size is None else (cls.size, cls.size)

    @property
    def inputs(self) -> int:
        """How many targets a projection to this population has: its neurons, unless the model says otherwise."""
        return self.setting.size

    @property
    def acts_outside(self) -> bool:
        """Whether a step has effects outside of the process that a saved state does not take back."""
        return False

    def prepare(self) -> list[str]:
        """Connect to what is outside of the process, before the first step; return what people should know of it."""
        return []

    def trouble(self) -> str:
        """Return what is wrong now though the model goes on, as a sentence; an empty text when nothing is."""
        return ""

    def counts(self) -> dict[str, int]:
        """Return what the model has counted, by name; called by any thread, and shown with the health of its node."""
        return {}

    def close(self) -> None:  # noqa: B027 - most models have nothing to release
        """Release what `prepare` connected to; a second call does nothing."""

    @abstractmethod
    def advance(self, window: Window) -> Spikes | NDArray[Any]:
        """Compute the steps of one window, in order, and return what fired.

        Returns:
            The window's spikes; or an array [neurons, steps] of how often each neuron fired, whole numbers of at
            least 0.
        """

    def save(self) -> dict[str, NDArray[Any]]:
        """Return everything that the next steps depend on: copies of the arrays of `state`.

        Raises:
            ModelError: The state holds something that is no array.
        """
        for name, array in self.state.items():
            if not isinstance(array, np.ndarray) or array.dtype.hasobject:
                raise ModelError(f"{described(self)}: state[{name!r}] must be an array of numbers, not {_shown(array)}")
        return {name: array.copy() for name, array in self.state.items()}

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `save` of the same model returned; on an error nothing has changed.

        Raises:
            ModelError: It is the state of another model.
        """
        check_saved(self, saved, self.state)
        for name, array in self.state.items():
            array[...] = saved[name]


def described(model: Model) -> str:
    """Return how errors name a model: its population and class."""
    return f"population {model.setting.name} ({type(model).__name__})"


def check_saved(model: Model, saved: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    """Check that a saved state has the arrays of a model.

    Raises:
        ModelError: An array is missing, unknown, or of another shape or type.
    """
    for name in sorted(saved.keys() ^ expected.keys()):
        what = "has no" if name in expected else "has an unknown"
        raise ModelError(f"{described(model)}: the saved state {what} {name!r}; it is of another model")
    for name, array in expected.items():
        found = saved[name]
        if found.shape != array.shape or found.dtype != array.dtype:
            raise ModelError(
                f"{described(model)}: {name!r} is {found.dtype} {list(found.shape)} in the saved state, and must be "
                f"{array.dtype} {list(array.shape)}"
            )


def compute(model: Model, window: Window) -> Spikes:
    """Let a model compute a window, and return its spikes after a check, whoever wrote the model.

    Raises:
        ModelError: What it returned are not the spikes of this window; names the class.
    """
    result: object = model.advance(window)
    if isinstance(result, Spikes):
        return _checked(model, window, result)
    if isinstance(result, np.ndarray):
        return _of_dense(model, window, result)
    raise ModelError(
        f"{described(model)}: advance must return Spikes or an array [neurons, steps], not {_shown(result)}"
    )


def _checked(model: Model, window: Window, spikes: Spikes) -> Spikes:
    offsets, neurons, size = spikes.offsets, spikes.neurons, model.setting.size
    for name, array in (("offsets", offsets), ("neurons", neurons)):
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.ndim != 1:
            raise ModelError(f"{described(model)}: {name} of the spikes must be int32 [...], not {_shown(array)}")
    if spikes.first_step != window.first_step or offsets.size != window.steps + 1:
        raise ModelError(
            f"{described(model)}: advance was asked for {window.steps} steps from step {window.first_step} on, and "
            f"returned {offsets.size - 1} from {spikes.first_step} on"
        )
    if offsets.dtype != np.int32 or neurons.dtype != np.int32:
        # wide numbers are looked at before they are cut to 32 bits
        wrong = _wrong_spikes(offsets.astype(np.int64), neurons.astype(np.int64), size)
        spikes = Spikes(window.first_step, offsets.astype(np.int32), neurons.astype(np.int32))
    else:
        wrong = _wrong_spikes(offsets, neurons, size)
    if wrong:
        raise ModelError(f"{described(model)}: {_WRONG[wrong].format(size=size)}")
    return spikes


_WRONG: Final = {
    1: "offsets of the spikes must rise from 0 to the number of spikes",
    2: "a spike is of a neuron that is not there; neurons are 0 to {size} - 1",
    3: "the neurons that fired in one step must stand in rising order",
}


@compiled
def _wrong_spikes(offsets, neurons, size):  # type: ignore[no-untyped-def]
    if offsets[0] != 0 or offsets[-1] != neurons.size:
        return 1
    for s in range(offsets.size - 1):
        if offsets[s] > offsets[s + 1]:
            return 1
    for s in range(offsets.size - 1):
        last = 0
        for x in range(offsets[s], offsets[s + 1]):
            if neurons[x] < 0 or neurons[x] >= size:
                return 2
            if neurons[x] < last:
                return 3
            last = neurons[x]
    return 0


def _of_dense(model: Model, window: Window, counts: NDArray[Any]) -> Spikes:
    shape = (model.setting.size, window.steps)
    if counts.shape != shape:
        raise ModelError(
            f"{described(model)}: advance must return an array of {shape[0]} neurons and {shape[1]} steps, "
            f"not of shape {list(counts.shape)}"
        )
    if counts.dtype.kind not in "biuf":
        raise ModelError(f"{described(model)}: advance must return numbers of spikes, not {counts.dtype}")
    if counts.dtype.kind != "b" and counts.size:
        with np.errstate(invalid="ignore"):
            whole = (counts >= 0) & (counts <= MAX_IN_STEP) & (counts == np.floor(counts))
        if not whole.all():
            value = counts[~whole][0]
            raise ModelError(
                f"{described(model)}: advance returned {value} as number of spikes; it must be a whole number from 0 "
                f"to {MAX_IN_STEP}"
            )
    return Spikes.of_dense(window.first_step, counts)


MAX_IN_STEP: Final = 255
"""How often a neuron may fire in one step, in an array of counts."""


def _shown(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}"


def parameters_of(model: type[Model], values: Mapping[str, Any], owner: str) -> ModelParameters:
    """Return the parameters of a model.

    Args:
        model: The class of the model.
        values: The values that a description gives, by name.
        owner: Whose they are, such as "population e"; for errors.

    Raises:
        ModelError: An unknown name, or a value that is not accepted; names the parameter and what is accepted.
    """
    kind = model.Parameters
    for name in values:
        if name not in kind.model_fields:
            known = ", ".join(kind.model_fields) or "none"
            hint = did_you_mean(str(name), kind.model_fields)
            raise ModelError(
                f"{owner}: {model.__name__} has no parameter {name!r}{hint}; its parameters: {known}", field=str(name)
            )
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        place, problem = _first_mistake(kind, values, error)
        raise ModelError(f"{owner}: {problem}", field=place) from None


def _first_mistake(kind: type[ModelParameters], values: Mapping[str, Any], error: ValidationError) -> tuple[str, str]:
    """Return place and mistake; a field of several types reports one for each, and its description says what it is."""
    items = error.errors(include_url=False)
    item = items[0]
    name = str(item["loc"][0]) if item["loc"] else ""
    same = [each for each in items if each["loc"][:1] == item["loc"][:1]]
    if len(same) > 1:
        # what is said of the type that comes closest: the one that was looked into deepest
        item = max(same, key=lambda each: (len(each["loc"]), each["type"] == "value_error"))
    field = kind.model_fields.get(name)
    about = f" ({field.description})" if field is not None and field.description else ""
    place = _place(item, values)
    return place, f"{place}{about}: {mistake(item)}" if name else mistake(item)


def _place(item: Any, values: Any) -> str:
    """Return where in the values a mistake is; pydantic also names the types that it tried."""
    place = []
    for part in item["loc"]:
        inside = values if isinstance(values, Mapping) else dict(enumerate(values)) if isinstance(values, list) else {}
        if part in inside:
            values = inside[part]
            place.append(str(part))
    if item["type"] in ("missing", "extra_forbidden") and place[-1:] != [str(item["loc"][-1])]:
        place.append(str(item["loc"][-1]))
    return ".".join(place)

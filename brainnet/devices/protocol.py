"""What a neuromorphic device is to a network: the interface of all drivers, and what they report.

    device.open()          what the device has
    device.load(file)      put a network on it; what rounding to its weights changed
    device.start(start)    step 0 of the device is this step of the network
    device.write(events)   spikes into its input ports, window after window
    device.read(until)     spikes of its output ports, all steps before `until`
    device.counters()      what was sent, received, lost, late or not understood
    device.reset()         back to the state before the first step, verified by reading the state back
    device.close()

A device is a context manager that is opened on entry and closed on exit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import DeviceError
from brainnet.snn.nir.conventions import Method, Reset

ResetRule = Literal["value"]
"""What a spike does to the membrane potential on a device: it sets it to a value."""
MAX_COUNT: Final = 65_535
"""The most spikes into one input in one step."""


@dataclass(frozen=True, slots=True)
class Port:
    """Neurons or inputs of a device that spikes leave or enter; addresses count through the ports in their order.

    Attributes:
        name: Of the port.
        size: Its addresses.
    """

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a device has. Ports are empty until a network is loaded.

    Attributes:
        name: What it is, for people.
        inputs: Ports that spikes are written to.
        outputs: Ports that spikes are read from.
        tick_us: One step of the device in microseconds.
        weight_bits: Bits of a weight, its sign included.
        reset: What a spike does to the membrane potential.
        stepped: Whether the device waits for its input, so that its spikes depend on the input alone; otherwise it runs
            by a clock of its own.
        readable: Whether its state can be read back, which `reset`, `state` and `restore` need.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    tick_us: float
    weight_bits: int
    reset: ResetRule
    stepped: bool
    readable: bool

    @property
    def input_size(self) -> int:
        """Addresses of all input ports together."""
        return sum(port.size for port in self.inputs)

    @property
    def output_size(self) -> int:
        """Addresses of all output ports together."""
        return sum(port.size for port in self.outputs)


@dataclass(frozen=True, slots=True)
class LayerRounding:
    """What rounding to the numbers of a device changed in one layer. Potentials are in the unit of the file.

    Attributes:
        layer: Name of its neurons in the file.
        weights: How many there are, recurrent ones included.
        scale: Units of the device in one unit of the file.
        max_change: Largest change of the potential that one spike causes.
        mean_change: Mean of the absolute changes.
        clipped: Weights that exceeded the device's range and were set to its end.
        to_zero: Weights other than 0 that became 0.
        leak_change: Largest change of the part of the potential that remains after a step.
        constant_change: Largest change of a bias, a reset or a potential before the first step.
    """

    layer: str
    weights: int
    scale: float
    max_change: float
    mean_change: float
    clipped: int
    to_zero: int
    leak_change: float
    constant_change: float

    @property
    def changed(self) -> bool:
        """Whether anything is different from the file."""
        return bool(self.max_change or self.clipped or self.to_zero or self.leak_change or self.constant_change)

    def sentence(self) -> str:
        """Return it as one sentence for people."""
        if not self.changed:
            return f"layer {self.layer}: {self.weights} weights, nothing was rounded"
        return (
            f"layer {self.layer}: {self.weights} weights changed by at most {self.max_change:.3g}, by "
            f"{self.mean_change:.3g} on average, {self.clipped} clipped, {self.to_zero} rounded to zero; leak by "
            f"at most {self.leak_change:.3g}, other constants by {self.constant_change:.3g}"
        )


@dataclass(frozen=True, slots=True)
class RoundingReport:
    """What rounding a network to the numbers of a device changed.

    Attributes:
        weight_bits: Bits of a weight.
        layers: From input to output.
    """

    weight_bits: int
    layers: tuple[LayerRounding, ...]

    @property
    def changed(self) -> bool:
        """Whether anything is different from the file."""
        return any(layer.changed for layer in self.layers)

    def sentences(self) -> list[str]:
        """Return one sentence for each layer."""
        return [f"{self.weight_bits}-bit weights: {layer.sentence()}" for layer in self.layers]


@dataclass(frozen=True, slots=True)
class Start:
    """When a device begins, in the time of the network.

    Attributes:
        step: The step of the network in which the device takes its first step.
        at_ns: When that step begins on the wall clock, in nanoseconds since 1970. A stepped device does not need it.
        step_ns: Duration of a step of the network on the wall, in nanoseconds.
    """

    step: int = 0
    at_ns: int = 0
    step_ns: float = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Spikes in some steps of the network.

    Attributes:
        first_step: The first of the steps.
        end_step: The first step after them.
        steps: int64 [spikes], not falling.
        addresses: int32 [spikes], rising within a step; an address that spikes n times in a step stands there n times.
    """

    first_step: int
    end_step: int
    steps: NDArray[np.int64]
    addresses: NDArray[np.int32]

    @classmethod
    def of(cls, first_step: int, end_step: int, steps: Any, addresses: Any) -> Events:
        """Return events in their order, whatever the order of the arguments."""
        steps, addresses = np.asarray(steps, np.int64).reshape(-1), np.asarray(addresses, np.int32).reshape(-1)
        order = np.lexsort((addresses, steps))
        return cls(first_step, end_step, steps[order], addresses[order])

    @classmethod
    def of_counts(cls, first_step: int, counts: NDArray[Any]) -> Events:
        """Return the events of an array [steps, addresses] of whole numbers of at least 0."""
        step, address = np.nonzero(counts)
        times = counts[step, address].astype(np.int64)
        steps = np.repeat(step, times).astype(np.int64) + first_step
        return cls(first_step, first_step + len(counts), steps, np.repeat(address, times).astype(np.int32))

    def counts(self, addresses: int) -> NDArray[np.int64]:
        """Return how often each address spikes in each step, int64 [steps, addresses]."""
        length = self.end_step - self.first_step
        places = (self.steps - self.first_step) * addresses + self.addresses
        return np.bincount(places, minlength=length * addresses).reshape(length, addresses).astype(np.int64)


@dataclass(slots=True)
class Counters:
    """What was counted since `open`. What a protocol cannot say is None, and never 0.

    Attributes:
        packets_sent: Datagrams to the device.
        keys_sent: Spikes to the device.
        packets_received: Datagrams of the device, those that could not be read included.
        keys_received: Spikes of the device that were handed on.
        unknown_keys: Spikes whose key belongs to no neuron; left out.
        malformed_packets: Datagrams that could not be read, or that another host sent; left out.
        late_keys: Spikes that came after their step was read; they are handed on in the first step of the next window.
        lost_packets: Datagrams of the device that did not arrive; None where nothing numbers or counts them.
        lost_keys: Spikes of the device that did not arrive; None where nobody tells how many there were.
        lost_inputs: Datagrams to the device that did not arrive; None where the device does not tell.
    """

    packets_sent: int = 0
    keys_sent: int = 0
    packets_received: int = 0
    keys_received: int = 0
    unknown_keys: int = 0
    malformed_packets: int = 0
    late_keys: int = 0
    lost_packets: int | None = 0
    lost_keys: int | None = 0
    lost_inputs: int | None = 0

    def as_dict(self) -> dict[str, int | None]:
        """Return them by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a NIR file does not say, and how it is put on a device.

    Attributes:
        step_ms: Step of the network in milliseconds, which the file's step must equal.
        reset: What a spike does, for a file that does not say.
        method: How the equations become steps, for a file that does not say.
        ignore_dt: Take one step of the file's network in each step, even where the file says another dt.
        scale: Units of the device in one unit of the file's potential; None for the finest that the weights allow.
    """

    step_ms: float = 1.0
    reset: Reset | None = None
    method: Method | None = None
    ignore_dt: bool = False
    scale: float | None = None


class Device(ABC):
    """A neuromorphic device.

    Guarantees of every driver:

    - The methods are called in the order of this module, by one thread. A call out of order is a `DeviceError`.
    - `read` returns each spike once, in the order of steps and addresses.
    - What the device sends that cannot be used is counted, and raises nothing.
    """

    @abstractmethod
    def open(self) -> DeviceInfo:
        """Connect to the device, and return what it has.

        Raises:
            DeviceError: It does not answer, or its address cannot be used.
        """

    @abstractmethod
    def load(self, network: Path, options: LoadOptions | None = None) -> RoundingReport:
        """Put the network of a NIR file on the device, in its state before the first step.

        Args:
            network: The file.
            options: What the file does not say.

        Raises:
            ModelError: The file cannot be read.
            DeviceError: The device cannot run the network.
        """

    @property
    @abstractmethod
    def info(self) -> DeviceInfo:
        """What the device has, with the ports of the loaded network."""

    @abstractmethod
    def start(self, start: Start) -> None:
        """Begin. The device's first step is that of `start`.

        Raises:
            DeviceError: No network is loaded, or the device does not answer.
        """

    def align(self, at_ns: int) -> None:  # noqa: B027 - a stepped device has no use for it
        """Say when the first step began, as far as is known by now, in nanoseconds since 1970.

        It matters to a device with a clock of its own, and the earliest time that was ever said counts.
        """

    @abstractmethod
    def write(self, window: Events) -> None:
        """Send the spikes of the next window, which begins where the one before it ended.

        Raises:
            DeviceError: The window is not the next one, an address is not there, or the device does not answer.
        """

    @abstractmethod
    def read(self, until: int) -> Events:
        """Return the spikes of the steps from the last `until` on, or from the start, to before `until`.

        A stepped device computes those steps now, and its input must have been written. One with a clock of its own
        has computed them; what comes later is late.

        Raises:
            DeviceError: Input is missing, or spikes were lost that a stepped device has to have, or it does not answer.
        """

    @abstractmethod
    def counters(self) -> Counters:
        """Return what was counted since `open`."""

    @abstractmethod
    def reset(self) -> None:
        """Return to the state before the first step; `start` may follow.

        Raises:
            DeviceError: The state cannot be read back, or is another one after the reset; `start` must not follow.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device. A second call does nothing."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state of the neurons as arrays by name, as read back from the device.

        Raises:
            DeviceError: The device cannot be read.
        """
        raise DeviceError(f"the state of {self.info.name} cannot be read back")

    def restore(self, state: Mapping[str, NDArray[Any]], start: Start) -> None:
        """Set the state that `state` returned, and begin in a step.

        Raises:
            DeviceError: The device cannot be written, or it is the state of another network.
        """
        raise DeviceError(f"the state of {self.info.name} cannot be set")

    def trouble(self) -> str:
        """Return what is wrong with the device now as a sentence, or an empty text."""
        return ""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

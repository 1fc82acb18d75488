"""The software twin of a device: integer neurons in this process, the default where no hardware is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.devices.checks import Progress, check_rest, check_same_shape
from brainnet.devices.integer_network import IntegerLayer, IntegerNetwork, integer_network
from brainnet.devices.protocol import (
    Counters,
    Device,
    DeviceInfo,
    Events,
    LoadOptions,
    Port,
    RoundingReport,
    Start,
)
from brainnet.errors import DeviceError

_MOST_STEPS: Final = 1 << 24
"""Values of one layer that are computed at once."""


class Twin(Device):
    """Computes the network in integers; a spike depends on the input alone, bit by bit, on every machine.

    Guarantees: the spikes are those of `brainnet.snn.neurons.integer_lif` (and of the model `integer_lif` of a network)
    under the rounded weights, however the steps are cut into windows. One step of the network is one tick.

    Args:
        weight_bits: Bits of a weight with its sign, 2 to 16.
        tick_us: One step in microseconds.
    """

    def __init__(self, weight_bits: int = 16, tick_us: float = 1000.0) -> None:
        if not 2 <= weight_bits <= 16:
            raise DeviceError(f"weight_bits must be from 2 to 16, not {weight_bits}")
        self._counters = Counters()
        self._info = DeviceInfo("the integer twin", (), (), tick_us, weight_bits, "value", stepped=True, readable=True)
        self._open = False
        self._network: IntegerNetwork | None = None
        self._membranes: list[NDArray[np.int16]] = []
        self._spiked: list[NDArray[np.uint8]] = []
        self._progress = Progress()
        self._written: list[Events] = []

    def open(self) -> DeviceInfo:
        """Return what it has.

        Raises:
            DeviceError: It is open.
        """
        if self._open:
            raise DeviceError("the device is open; close it first")
        self._open, self._counters = True, Counters()
        return self._info

    @property
    def written_until(self) -> int:
        """The first step whose input is not written."""
        return self._progress.written_until

    @property
    def info(self) -> DeviceInfo:
        """What it has, with the ports of the loaded network."""
        return self._info

    def load(self, network: Path, options: LoadOptions | None = None) -> RoundingReport:
        """Read a NIR file, round it, and set all neurons to rest.

        Raises:
            ModelError: It cannot be read, or has another time step.
            DeviceError: The twin is not open, or the network is no chain of LIF layers that reset to a value.
        """
        if not self._open:
            raise DeviceError("open the device before a network is loaded")
        options = options or LoadOptions(step_ms=self._info.tick_us / 1000)
        self._network = integer_network(network, self._info.weight_bits, options)
        self._info = replace(
            self._info,
            inputs=(Port("input", self._network.inputs),),
            outputs=(Port("output", self._network.outputs),),
        )
        self._rest()
        return self._network.report

    def start(self, start: Start) -> None:
        """Begin with a step of the network.

        Raises:
            DeviceError: No network is loaded, or it has begun.
        """
        self._loaded()
        self._progress.check_not_begun()
        self._progress.begin(start.step)

    def write(self, window: Events) -> None:
        """Take in the spikes of the next window.

        Raises:
            DeviceError: It has not begun, the window is not the next one, or an address or a step is not there.
        """
        self._loaded()
        self._progress.check_window(window, self._info.input_size)
        self._written.append(window)
        self._progress.written_until = window.end_step
        self._counters.keys_sent += window.steps.size

    def read(self, until: int) -> Events:
        """Compute the steps before `until`, and return what fired.

        Raises:
            DeviceError: It has not begun, `until` is past, or input is missing.
        """
        network, first = self._loaded(), self._progress.next
        self._progress.check_until(until, computes=True)
        widest = max(network.inputs, *(layer.neurons for layer in network.layers))
        most = max(1, _MOST_STEPS // widest)
        steps, addresses = [], []
        for begin in range(first, until, most):
            end = min(begin + most, until)
            spikes = self._advance(network, self._input(begin, end))
            step, neuron = np.nonzero(spikes)
            steps.append(step + begin)
            addresses.append(neuron)
            self._progress.next = end
        found = (
            Events(first, until, np.concatenate(steps).astype(np.int64), np.concatenate(addresses).astype(np.int32))
            if steps
            else Events.of(first, until, [], [])
        )
        self._counters.keys_received += found.steps.size
        return found

    def counters(self) -> Counters:
        """Return how many spikes were written and read; nothing is lost inside of a process."""
        return replace(self._counters)

    def reset(self) -> None:
        """Set all neurons to rest; `start` follows.

        Raises:
            DeviceError: No network is loaded, or the state that is read back is another one.
        """
        self._loaded()
        self._rest()
        check_rest(self.state(), self._at_rest())

    def close(self) -> None:
        """Forget the network."""
        self._open = False
        self._network = None
        self._progress.end()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the potentials int16 of each layer, and its spikes of the last step, uint8."""
        self._loaded()
        return _named(self._membranes, self._spiked)

    def restore(self, state: Mapping[str, NDArray[Any]], start: Start) -> None:
        """Set the state that `state` returned, and begin in a step.

        Raises:
            DeviceError: It is the state of another network.
        """
        expected = self._at_rest()
        check_same_shape(state, expected)
        count = len(self._membranes)
        self._membranes = [np.array(state[f"membrane.{index}"], np.int16) for index in range(count)]
        self._spiked = [np.array(state[f"spiked.{index}"], np.uint8) for index in range(count)]
        self._written = []
        self._progress.begin(start.step)

    # -- parts -------------------------------------------------------------------------------------------------------

    def _loaded(self) -> IntegerNetwork:
        if self._network is None:
            raise DeviceError("no network is loaded on the device")
        return self._network

    def _rest(self) -> None:
        self._membranes = [layer.rest.copy() for layer in self._loaded().layers]
        self._spiked = [np.zeros(layer.neurons, np.uint8) for layer in self._loaded().layers]
        self._written = []
        self._progress.end()

    def _at_rest(self) -> dict[str, NDArray[Any]]:
        layers = self._loaded().layers
        return _named([layer.rest for layer in layers], [np.zeros(layer.neurons, np.uint8) for layer in layers])

    def _input(self, first: int, end: int) -> NDArray[np.int64]:
        """Return the written input of some steps, int64 [steps, inputs], and forget what is before their end."""
        inputs = self._info.input_size
        counts = np.zeros((end - first, inputs), np.int64)
        for window in self._written:
            low, high = np.searchsorted(window.steps, (first, end))
            np.add.at(counts, (window.steps[low:high] - first, window.addresses[low:high]), 1)
        self._written = [window for window in self._written if window.end_step > end]
        return counts

    def _advance(self, network: IntegerNetwork, counts: NDArray[np.int64]) -> NDArray[np.uint8]:
        spikes: NDArray[np.uint8] = counts.astype(np.uint8)
        for index, layer in enumerate(network.layers):
            currents = layer.currents(counts)
            membrane, spiked = self._membranes[index], self._spiked[index]
            if layer.recurrent is None:
                spikes, membrane = _integrate(layer, currents, membrane)
            else:
                rows = []
                for current in currents:
                    back = (spiked.astype(np.float64) @ layer.recurrent).astype(np.int64)
                    row, membrane = _integrate(layer, (current + back)[None], membrane)
                    rows.append(row[0])
                    spiked = row[0]
                spikes = np.stack(rows)
            self._membranes[index], self._spiked[index] = membrane, spikes[-1].copy()
            counts = spikes.astype(np.int64)
        return spikes


def _integrate(
    layer: IntegerLayer, currents: NDArray[np.int64], membrane: NDArray[np.int16]
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Return the spikes [steps, neurons] and the potentials after them."""
    # here, since it imports torch: a device is described, and another one is driven, without the twin's neurons
    from brainnet.snn.neurons.integer_lif import IntegerLIFParams, IntegerLIFState, integer_lif_sequence

    def params(kind: NDArray[np.int64]) -> IntegerLIFParams:
        return IntegerLIFParams(int(kind[0]), int(kind[1]), int(kind[2]))

    constants = np.stack([layer.leak, layer.threshold, layer.reset])
    kinds, of = np.unique(constants, axis=1, return_inverse=True)
    if kinds.shape[1] == 1:
        spikes, state = integer_lif_sequence(currents, IntegerLIFState(membrane), params(kinds[:, 0]))
        return spikes, state.membrane
    spikes, after = np.empty(currents.shape, np.uint8), np.empty_like(membrane)
    for kind in range(kinds.shape[1]):
        own = np.flatnonzero(of.reshape(-1) == kind)
        part, state = integer_lif_sequence(
            np.ascontiguousarray(currents[:, own]), IntegerLIFState(membrane[own]), params(kinds[:, kind])
        )
        spikes[:, own], after[own] = part, state.membrane
    return spikes, after


def _named(membranes: list[NDArray[np.int16]], spiked: list[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {f"membrane.{i}": each.copy() for i, each in enumerate(membranes)}
    return found | {f"spiked.{i}": each.copy() for i, each in enumerate(spiked)}

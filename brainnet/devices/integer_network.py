r"""A NIR network in the integers of a device: `brainnet.snn.neurons.integer_lif` with weights of a few bits.

NIR has $\tau \dot v = v_{leak} - v + R I$, and a step of it is $u \leftarrow \beta u + g I$ with $u = v - v_{leak}$
(`brainnet.snn.nir.nodes`). On the device, with $s$ units for one unit of the file:

$$
\text{leak} = \operatorname{round}(256 \beta), \quad W' = \operatorname{round}(s\, g\, W), \quad
\theta' = \lfloor s (v_\theta - v_{leak}) \rfloor + 1, \quad
V_\text{reset} = \operatorname{round}(s (v_{reset} - v_{leak}))
$$

NIR fires at $v > v_\theta$ and the device at $V \ge \theta'$. For whole numbers V = s u this is the same, so a
threshold is not changed by rounding. Halves are rounded to even. Where weights, biases and resets are whole numbers in
the device's range, s is 1 and none of them is rounded.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.devices.protocol import MAX_COUNT, LayerRounding, LoadOptions, RoundingReport
from brainnet.errors import DeviceError, ModelError

if TYPE_CHECKING:
    from brainnet.snn.nir.conventions import Method, Reset
    from brainnet.snn.nir.network import GraphNetwork

_LOW: Final = -32768
_HIGH: Final = 32767
_LARGEST_CONSTANT: Final = 8192
"""Where the file's numbers are rounded, threshold and resets are at most a quarter of the potential's range, so that a
potential may be far from them before it is clamped."""
_CURRENT_BOUND: Final = _HIGH - _LOW
MAX_INPUTS: Final = 1 << 21
"""Inputs of one layer: with `MAX_COUNT` spikes each and 16-bit weights, sums stay exact in float64."""
assert MAX_INPUTS * MAX_COUNT * (_HIGH + 1) < 1 << 53


@dataclass(frozen=True, slots=True, eq=False)
class IntegerLayer:
    """One layer of integer neurons; all numbers are whole.

    Attributes:
        name: Of its neurons in the file.
        weights: float64 [inputs, neurons], whole numbers; None where input i is the current of neuron i.
        gain: int64 [neurons]; the weight of input i without `weights`.
        bias: int64 [neurons].
        recurrent: float64 [neurons, neurons], from the spikes of the step before; None without them.
        leak: int64 [neurons], 256ths.
        threshold: int64 [neurons].
        reset: int64 [neurons].
        rest: int16 [neurons], the potential before the first step.
    """

    name: str
    weights: NDArray[np.float64] | None
    gain: NDArray[np.int64]
    bias: NDArray[np.int64]
    recurrent: NDArray[np.float64] | None
    leak: NDArray[np.int64]
    threshold: NDArray[np.int64]
    reset: NDArray[np.int64]
    rest: NDArray[np.int16]

    @property
    def neurons(self) -> int:
        """How many there are."""
        return self.rest.size

    def currents(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the input currents int64 [steps, neurons] of spike counts [steps, inputs]."""
        if self.weights is None:
            return counts * self.gain + self.bias
        # float64, for which there are fast products: whole numbers below 2**53, so that no order of the sum rounds
        return (counts.astype(np.float64) @ self.weights).astype(np.int64) + self.bias


@dataclass(frozen=True, slots=True, eq=False)
class IntegerNetwork:
    """A chain of layers.

    Attributes:
        layers: From input to output.
        inputs: Number of inputs.
        report: What rounding changed.
    """

    layers: tuple[IntegerLayer, ...]
    inputs: int
    report: RoundingReport

    @property
    def outputs(self) -> int:
        """Number of neurons of the last layer."""
        return self.layers[-1].neurons


def integer_network(path: Path, weight_bits: int, options: LoadOptions) -> IntegerNetwork:
    """Read a NIR file, and round it to the numbers of a device.

    A file with the content of one of the last that were read is not read again, wherever it stands.

    Args:
        path: The file.
        weight_bits: Bits of a weight with its sign, 2 to 16.
        options: What the file does not say.

    Raises:
        ModelError: It cannot be read, or has another time step.
        DeviceError: It is no chain of Linear or Affine and LIF nodes with reset to a value.
    """
    from brainnet.snn.nir.graph import chain, flatten
    from brainnet.snn.nir.nodes import Neurons

    network = _read(_Content(_digest(path), path), options.step_ms / 1000, options.reset, options.method)
    _check_step(path, network.dt, options)
    nodes = chain(flatten(network.graph))
    if nodes is None or len(network.shape) != 1:
        raise DeviceError(
            f"{path}: a device runs a chain of Linear or Affine and LIF nodes, each with at most one recurrent "
            "connection; this graph is another one"
        )
    if network.reset not in ("value", "zero"):
        raise DeviceError(
            f"{path}: a spike resets by {network.reset!r}, and the device sets the potential to a value; train "
            "and write the network with the reset `value` or `zero`"
        )
    layers, roundings, width = [], [], network.inputs
    for node in nodes:
        operation = network.steps[network.place(node.name)].operation
        assert isinstance(operation, Neurons)
        layer, rounding = _Rounded(node, operation, width, weight_bits, options.scale).build()
        layers.append(layer)
        roundings.append(rounding)
        width = layer.neurons
    return IntegerNetwork(tuple(layers), network.inputs, RoundingReport(weight_bits, tuple(roundings)))


@dataclass(frozen=True, slots=True)
class _Content:
    """What a file holds; equal for equal content."""

    digest: bytes
    path: Path = field(compare=False)


def _digest(path: Path) -> bytes:
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; check the name")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None


# A file is read by a process of its own, which takes a third of a second, and a population reads its file three times:
# when it is described, made and put on the device.
@functools.lru_cache(maxsize=4)
def _read(content: _Content, step_s: float, reset: Reset | None, method: Method | None) -> GraphNetwork:
    from brainnet.snn.nir import models
    from brainnet.snn.nir.network import GraphNetwork

    network = models.load(content.path, default_dt=step_s, reset=reset, method=method, chains=False)
    if _digest(content.path) != content.digest:
        raise ModelError(f"{content.path} changed while it was read; read it again")
    assert isinstance(network, GraphNetwork)
    return network


def _check_step(path: Path, dt_s: float, options: LoadOptions) -> None:
    if not options.ignore_dt and abs(dt_s * 1000 - options.step_ms) > 1e-6 * options.step_ms:
        raise ModelError(
            f"{path} has steps of {dt_s * 1000:g} ms, and the clock of {options.step_ms:g} ms; set dt_ms of the clock, "
            "or ignore_dt: true for one step of the network in each step of the clock"
        )


class _Rounded:
    """Rounds one layer."""

    def __init__(self, node: Any, operation: Any, inputs: int, weight_bits: int, scale: float | None) -> None:
        self.name, self.bits = node.name, weight_bits
        self.n = int(np.prod(operation.shape))
        if inputs > MAX_INPUTS or self.n > MAX_INPUTS:
            raise DeviceError(f"layer {self.name} has {inputs} inputs and {self.n} neurons; at most {MAX_INPUTS} fit")
        v_leak = _spread(node.lif.v_leak, self.n)
        self.beta = np.ones(self.n) if operation.beta is None else _spread(operation.beta, self.n)
        gain = np.ones(self.n) if operation.gain is None else _spread(operation.gain, self.n)
        self.threshold = _spread(operation.threshold, self.n) - v_leak
        v_reset = np.zeros(self.n) if operation.v_reset is None else _spread(operation.v_reset, self.n)
        self.reset, self.rest = v_reset - v_leak, _spread(operation.rest, self.n) - v_leak
        self.gain = gain
        self.weights = None if node.dense is None else _matrix(node.dense, self.n) * gain[:, None]
        self.recurrent = None if node.recurrent is None else _matrix(node.recurrent, self.n) * gain[:, None]
        self.bias = gain * (_bias(node.dense, self.n) + _bias(node.recurrent, self.n))
        self.scale = scale if scale is not None else self._scale()

    @property
    def _synaptic(self) -> list[NDArray[np.float64]]:
        own = self.gain if self.weights is None else self.weights
        return [own] if self.recurrent is None else [own, self.recurrent]

    @property
    def _largest(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def _scale(self) -> float:
        """Return 1 where that rounds no weight, and else the finest that weights and potentials allow."""
        largest = max(float(np.abs(each).max(initial=0)) for each in self._synaptic)
        constants = max(float(np.abs(each).max()) for each in (self.threshold, self.reset, self.rest))
        exact = all((each == np.rint(each)).all() for each in [*self._synaptic, self.bias, self.reset, self.rest])
        if exact and largest <= self._largest and constants < _HIGH:
            return 1.0
        return min(self._largest / largest if largest else np.inf, _LARGEST_CONSTANT / constants if constants else 1.0)

    def build(self) -> tuple[IntegerLayer, LayerRounding]:
        s, changes, clipped, to_zero, rounded = self.scale, [], 0, 0, []
        for each in self._synaptic:
            whole = np.rint(s * each)
            limited = np.clip(whole, -self._largest - 1, self._largest)
            clipped += int((whole != limited).sum())
            to_zero += int(((limited == 0) & (each != 0)).sum())
            changes.append(np.abs(limited / s - each).reshape(-1))
            rounded.append(limited)
        change = np.concatenate(changes)
        leak = np.rint(256 * self.beta).clip(0, 256)
        threshold = np.floor(s * self.threshold) + 1
        if np.abs(threshold).max() > _HIGH:
            raise DeviceError(
                f"layer {self.name}: a threshold of {np.abs(self.threshold).max():g} with a scale of {s:g} exceeds the "
                f"device's potential, whose largest value is {_HIGH}; give a smaller scale"
            )
        limits = ((self.bias, _CURRENT_BOUND), (self.reset, _HIGH), (self.rest, _HIGH))
        bias, reset, rest = (np.rint(s * each).clip(-limit, limit) for each, limit in limits)
        others = [(bias, self.bias), (reset, self.reset), (rest, self.rest)]
        rounding = LayerRounding(
            self.name,
            change.size,
            float(s),
            float(change.max(initial=0.0)),
            float(change.mean()) if change.size else 0.0,
            clipped,
            to_zero,
            float(np.abs(leak / 256 - self.beta).max()),
            max(float(np.abs(whole / s - each).max()) for whole, each in others),
        )
        own = rounded[0]
        layer = IntegerLayer(
            self.name,
            None if self.weights is None else np.ascontiguousarray(own.T),
            np.ones(self.n, np.int64) if self.weights is not None else own.astype(np.int64),
            bias.astype(np.int64),
            None if self.recurrent is None else np.ascontiguousarray(rounded[1].T),
            leak.astype(np.int64),
            threshold.astype(np.int64),
            reset.astype(np.int64),
            rest.astype(np.int16),
        )
        return layer, rounding


def _spread(values: Any, n: int) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64).reshape(-1)
    return np.full(n, array[0]) if array.size == 1 else array.copy()


def _matrix(node: Any, n: int) -> NDArray[np.float64]:
    return np.asarray(node.weight, np.float64).reshape(n, -1)


def _bias(node: Any, n: int) -> NDArray[np.float64]:
    bias = getattr(node, "bias", None)
    return np.zeros(n) if node is None or bias is None else _spread(bias, n)

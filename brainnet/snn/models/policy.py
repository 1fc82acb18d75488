r"""A feed-forward spiking policy: from features to bounded actions. It needs only numpy.

In one call the features are constant for T steps. They drive layers of leaky integrate-and-fire neurons (as in
`brainnet.snn.neurons.lif`, reset by subtraction, starting from rest):

$$
\begin{aligned}
I^{(1)} = W^{(1)} x + b^{(1)}, \qquad I^{(l)}_t = W^{(l)} s^{(l-1)}_t + b^{(l)} \\
u_t = \beta u_{t-1} + I_t - \theta s_{t-1}, \qquad s_t = 1 \text{ if } u_t > \theta \text{ else } 0
\end{aligned}
$$

The action depends only on the firing rates of all layers:
$a = \mathrm{clip}(W^{o} [\bar s^{(1)}; \bar s^{(2)}; \dots] + b^{o}, -1, 1)$. The population decoding of rates
follows Tang et al. 2020, *Deep Reinforcement Learning with Population-Coded Spiking Neural Network*.

`brainnet.snn.models.policy_training` has the same network as a torch module for training.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.snn.neurons.lif_steps import lif_spikes

FloatArray = NDArray[np.float32]


class Action(NamedTuple):
    """The result of one call: `values` float32 [outputs] in [-1, 1], and `spikes` uint8 0/1 [neurons, steps]."""

    values: FloatArray
    spikes: NDArray[np.uint8]


class Layer(NamedTuple):
    """A linear map: `weight` [outputs, inputs], `bias` [outputs]."""

    weight: FloatArray
    bias: FloatArray


@dataclass(frozen=True)
class PolicyShape:
    """The constants that, with the weights, define a policy.

    Attributes:
        beta: membrane decay per step, in (0, 1).
        threshold: membrane potential above which a neuron fires.
        steps: spike time steps per action.

    Raises:
        ModelError: a constant is out of range.
    """

    beta: float = 0.8
    threshold: float = 1.0
    steps: int = 8

    def __post_init__(self) -> None:
        if not 0.0 < self.beta < 1.0 or self.threshold <= 0.0 or self.steps < 1:
            raise ModelError(f"a policy needs 0 < beta < 1, threshold > 0 and steps >= 1, got {self}")


class SpikingPolicy:
    """A trained policy, without state between calls: equal features give equal actions and spikes.

    Args:
        hidden: the spiking layers.
        readout: the linear readout of the firing rates of all layers.
        shape: the constants.

    Raises:
        ModelError: the layers do not fit each other.
    """

    def __init__(self, hidden: list[Layer], readout: Layer, shape: PolicyShape) -> None:
        if not hidden:
            raise ModelError("a spiking policy needs at least one spiking layer")
        inputs = hidden[0].weight.shape[1]
        self.inputs = inputs
        for index, layer in enumerate(hidden):
            _check_layer(f"hidden.{index}", layer, inputs)
            inputs = layer.weight.shape[0]
        self.neurons = sum(layer.weight.shape[0] for layer in hidden)
        _check_layer("readout", readout, self.neurons)
        self.outputs = readout.weight.shape[0]
        self.shape = shape
        self.hidden = [Layer(_as_float32(layer.weight), _as_float32(layer.bias)) for layer in hidden]
        self.readout = Layer(_as_float32(readout.weight), _as_float32(readout.bias))

    def act(self, features: NDArray[Any]) -> Action:
        """Return the action for `features` [inputs].

        Raises:
            ModelError: features of another shape, or not finite.
        """
        drive = np.asarray(features, np.float32)
        if drive.shape != (self.inputs,) or not np.isfinite(drive).all():
            raise ModelError(f"the policy takes {self.inputs} finite features, got an array of shape {drive.shape}")
        steps = self.shape.steps
        # all layers write into one array, which the readout then averages at once
        spikes = np.empty((self.neurons, steps), np.float32)
        first, *rest = self.hidden
        # the first product is the same at every step, so it is computed once
        currents = np.repeat((first.weight @ drive + first.bias)[:, None], steps, axis=1)
        start = 0
        for index in range(len(self.hidden)):
            stop = start + currents.shape[0]
            spikes[start:stop] = lif_spikes(currents, self.shape.beta, self.shape.threshold)
            if index < len(rest):
                layer = rest[index]
                currents = layer.weight @ spikes[start:stop] + layer.bias[:, None]
            start = stop
        values = self.readout.weight @ spikes.mean(axis=1) + self.readout.bias
        return Action(np.clip(values, -1.0, 1.0), spikes.astype(np.uint8))

    def save(self, path: Path) -> None:
        """Write the policy as safetensors: weights as float16, its constants as metadata."""
        from safetensors.numpy import save_file

        tensors = {}
        for name, layer in [*((f"hidden.{i}", x) for i, x in enumerate(self.hidden)), ("readout", self.readout)]:
            tensors[f"{name}.weight"] = layer.weight.astype(np.float16)
            tensors[f"{name}.bias"] = layer.bias.astype(np.float16)
        shape = {"beta": self.shape.beta, "threshold": self.shape.threshold, "steps": self.shape.steps}
        save_file(tensors, path, metadata={"spiking_policy": json.dumps(shape)})

    @classmethod
    def load(cls, path: Path) -> SpikingPolicy:
        """Read what `save` wrote.

        Raises:
            ModelError: the file is not a policy.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                shape = PolicyShape(**json.loads((file.metadata() or {})["spiking_policy"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            hidden: list[Layer] = []
            while f"hidden.{len(hidden)}.weight" in tensors:
                name = f"hidden.{len(hidden)}"
                hidden.append(Layer(tensors[f"{name}.weight"], tensors[f"{name}.bias"]))
            return cls(hidden, Layer(tensors["readout.weight"], tensors["readout.bias"]), shape)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} holds no spiking policy: {error!r}") from None


def _as_float32(array: NDArray[Any]) -> FloatArray:
    return np.ascontiguousarray(array, np.float32)


def _check_layer(name: str, layer: Layer, inputs: int) -> None:
    weight, bias = layer.weight, layer.bias
    if weight.ndim != 2 or weight.shape[1] != inputs or bias.shape != weight.shape[:1]:
        raise ModelError(f"{name}: weight {weight.shape} and bias {bias.shape} do not take {inputs} inputs")

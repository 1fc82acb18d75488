"""Sparsity and synaptic operations of a running network, with the names and definitions of NeuroBench.

From Yik et al. 2025, *The NeuroBench framework for benchmarking neuromorphic computing algorithms and systems*:

- `activation_sparsity`: zero outputs of neurons over all outputs, all layers, time steps and samples together.
- `connection_sparsity`: zero weights over all weights of Linear and convolution layers.
- `synaptic_operations` per sample: each pair of a non-zero weight and a non-zero input is one operation. It is an
  accumulate (`Effective_ACs`) where all inputs of the call are -1, 0 or 1, else a multiply-accumulate
  (`Effective_MACs`). `Dense` counts every weight and input. Biases and padding do not count.
- `footprint`: bytes of parameters and buffers. `parameter_count`: parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.neurons.lif import LIF


class SynapticOperations(NamedTuple):
    """Operations per sample, under NeuroBench's names."""

    Effective_MACs: float
    Effective_ACs: float
    Dense: float


def activation_sparsity(activations: Iterable[Tensor]) -> float:
    """Return the share of zeros among all values of all tensors together; 0 without values."""
    silent = total = 0
    for activation in activations:
        total += activation.numel()
        silent += activation.numel() - int(torch.count_nonzero(activation))
    return silent / total if total else 0.0


def connection_sparsity(model: nn.Module) -> float:
    """Return the share of zero weights of the Linear and convolution layers.

    Raises:
        ModelError: the model has no such layer.
    """
    weights = [module.weight for module in model.modules() if _is_connection(module)]
    if not weights:
        raise ModelError("model must hold at least one Linear or convolution")
    return activation_sparsity(weights)  # type: ignore[arg-type]


def footprint(model: nn.Module) -> int:
    """Return the bytes of the parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])


def parameter_count(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def layer_operations(module: nn.Module, inputs: Tensor) -> tuple[int, int]:
    """Return the effective and the dense operations of one call of a Linear or convolution, as exact integers.

    Raises:
        ModelError: another module, or inputs that do not fit it.
    """
    if not _is_connection(module):
        raise ModelError(f"module must be a Linear or a convolution, not {type(module).__name__}")
    connection: Any = module
    # float64 counts integers exactly up to 2^53; float32 only up to 2^24
    nonzero, weights = (inputs.detach() != 0).double(), (connection.weight.detach() != 0).double()
    if isinstance(module, nn.Linear):
        if not inputs.ndim or inputs.shape[-1] != module.in_features:
            raise ModelError(f"inputs must be [..., {module.in_features}], not of shape {tuple(inputs.shape)}")
        # an input causes as many operations as its column has non-zero weights
        effective = nonzero.reshape(-1, module.in_features).sum(0) @ weights.sum(0)
        return int(effective), inputs.numel() * module.out_features
    if inputs.ndim not in (weights.ndim - 1, weights.ndim) or inputs.shape[1 - weights.ndim] != module.in_channels:
        raise ModelError(f"inputs must be what {module} takes, not of shape {tuple(inputs.shape)}")
    # a convolution of the 0/1 masks counts the operations, with stride, padding and groups as in the layer
    everywhere = (torch.ones_like(nonzero), torch.ones_like(weights))
    effective, dense = (connection._conv_forward(x, w, None).sum() for x, w in ((nonzero, weights), everywhere))
    return int(effective), int(dense)


class Meter:
    """Count the operations of a network in a context.

    ```python
    with Meter(model, samples=len(images)) as meter:
        model(images)
    meter.synaptic_operations.Effective_ACs
    ```

    It observes every Linear and convolution, and the outputs of `brainnet.snn.neurons.lif.LIF`, of the neurons of
    snnTorch and of the types in `neurons`. Of a neuron that returns a tuple, the first item is taken as the spikes. The
    network is not changed.

    Args:
        model: the network.
        samples: the number of samples that it processes in the context.
        neurons: further types of neurons.

    Raises:
        ModelError: fewer than one sample.
    """

    def __init__(self, model: nn.Module, samples: int, *, neurons: tuple[type[nn.Module], ...] = ()) -> None:
        if samples < 1:
            raise ModelError(f"samples must be at least 1, got {samples}")
        self._model = model
        self._samples = samples
        self._neurons: tuple[type[nn.Module], ...] = (LIF, *neurons, *_snntorch_neurons())
        self._handles: list[Any] = []
        self._silent = self._outputs = 0
        self._macs = self._acs = self._dense = 0

    @property
    def activation_sparsity(self) -> float:
        """The share of zeros among all outputs of neurons."""
        return self._silent / self._outputs if self._outputs else 0.0

    @property
    def connection_sparsity(self) -> float:
        """The share of zeros among all weights."""
        return connection_sparsity(self._model)

    @property
    def synaptic_operations(self) -> SynapticOperations:
        """The operations per sample."""
        return SynapticOperations(*(count / self._samples for count in (self._macs, self._acs, self._dense)))

    def report(self) -> dict[str, Any]:
        """Return all measures, under NeuroBench's names."""
        return {
            "footprint": footprint(self._model),
            "parameter_count": parameter_count(self._model),
            "connection_sparsity": self.connection_sparsity,
            "activation_sparsity": self.activation_sparsity,
            "synaptic_operations": self.synaptic_operations._asdict(),
        }

    def __enter__(self) -> Self:
        for module in self._model.modules():
            if _is_connection(module):
                self._handles.append(module.register_forward_pre_hook(self._connection))
            elif isinstance(module, self._neurons):
                self._handles.append(module.register_forward_hook(self._activation))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _connection(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        effective, dense = layer_operations(module, inputs[0])
        self._dense += dense
        if bool(((inputs[0] == 0) | (inputs[0].abs() == 1)).all()):
            self._acs += effective
        else:
            self._macs += effective

    def _activation(self, _: nn.Module, __: Any, output: Any) -> None:
        spikes = output[0] if isinstance(output, tuple) else output
        self._outputs += spikes.numel()
        self._silent += spikes.numel() - int(torch.count_nonzero(spikes))


def _is_connection(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)


def _snntorch_neurons() -> tuple[type[nn.Module], ...]:
    import snntorch

    return (snntorch.SpikingNeuron,)

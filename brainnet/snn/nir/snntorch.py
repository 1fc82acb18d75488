"""Networks trained in snnTorch, written as NIR files with a golden trace of snnTorch's own output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.neurons.lif import LIFParams
from brainnet.snn.nir.graph import import_nir
from brainnet.snn.nir.models import DT, Dense, Layer, LIFNetwork, annotate, random_spikes, to_graph


def export_snntorch(module: torch.nn.Sequential, path: Path | str, golden_input: Tensor | None = None) -> None:
    """Write a network trained in snnTorch; see `from_snntorch` for its possible parts.

    The golden trace is the output of snnTorch. The hidden states of the neurons are reset.

    Args:
        module: the network.
        path: the file.
        golden_input: the input [T, inputs] of the trace; None for random spikes.

    Raises:
        ModelError: as `from_snntorch`, and for a trace without a spike.
    """
    network = from_snntorch(module)
    spikes = random_spikes(network.inputs) if golden_input is None else golden_input.float()
    neurons: list[Any] = [part for part in module.modules() if hasattr(part, "reset_mem")]
    for neuron in neurons:
        neuron.reset_mem()
    with torch.no_grad():
        outputs = [module(step[None]) for step in spikes]
    output = torch.cat([o[0] if isinstance(o, tuple) else o for o in outputs])
    graph = to_graph(network)
    annotate(graph, dt=network.dt, reset=network.reset, golden_input=spikes, golden_output=output)
    import_nir().write(str(path), graph)


def from_snntorch(module: torch.nn.Sequential) -> LIFNetwork:
    """Return the network of a Sequential of Linear and of snnTorch's Leaky and RLeaky with `init_hidden`; dt is `DT`.

    Raises:
        ModelError: a part is of another kind, or uses a convention that this package does not have.
    """
    parts = [
        (n, m) for n, m in module.named_modules() if not isinstance(m, torch.nn.Sequential) and _is_top_level(module, n)
    ]
    layers: list[Layer] = []
    dense: Dense | None = None
    for name, part in parts:
        if isinstance(part, torch.nn.Linear) and dense is None:
            dense = Dense(part.weight.detach(), None if part.bias is None else part.bias.detach())
        else:
            layers.append(_snntorch_layer(name, part, dense))
            dense = None
    resets = {layer.neurons.reset for layer in layers}
    if dense is not None or len(resets) != 1 or layers[0].dense is None:
        raise ModelError(
            "module must begin with Linear and end with neurons, all of one reset_mechanism; "
            f"found {[type(part).__name__ for _, part in parts]} with {sorted(resets)}"
        )
    inputs, width = layers[0].dense.weight.shape[1], 0
    for layer in layers:
        width = width if layer.dense is None else layer.dense.weight.shape[0]
    return LIFNetwork(tuple(layers), inputs, width, DT)


def _is_top_level(module: torch.nn.Module, name: str) -> bool:
    """Return whether the part is a step of the Sequential, not inside another part like the projection of RLeaky."""
    above = name.rpartition(".")[0]
    return bool(name) and isinstance(module.get_submodule(above), torch.nn.Sequential)


def _snntorch_layer(name: str, part: Any, dense: Dense | None) -> Layer:
    kind = type(part).__name__
    if kind not in ("Leaky", "RLeaky"):
        raise ModelError(f"module: {name} is {kind}; Linear, Leaky and RLeaky in turn can be exported")
    reset = part.reset_mechanism
    if not part.init_hidden:
        raise ModelError(f"module: {name} must keep its own state, init_hidden=True")
    if reset == "subtract" and not part.reset_delay:
        raise ModelError(f"module: {name} subtracts before the next decay; set reset_delay=True")
    if reset == "zero" and kind == "RLeaky" and part.reset_delay:
        raise ModelError(f"module: {name} loses the input of the step after a spike; set reset_delay=False")
    if part.inhibition or part.state_quant or float(part.graded_spikes_factor) != 1:
        raise ModelError(f"module: {name} uses inhibition, state_quant or graded spikes, which NIR cannot say")
    if part.threshold.unique().numel() != 1:
        raise ModelError(f"module: {name} must have one threshold for all its neurons")
    params = LIFParams(part.beta.detach().clamp(0, 1), float(part.threshold.detach().unique()), reset)
    if kind == "Leaky":
        return Layer(params, dense)
    if hasattr(part.recurrent, "V"):  # one-to-one recurrence: V is the diagonal of the matrix
        return Layer(params, dense, Dense(torch.diag(part.recurrent.V.detach())))
    if not isinstance(part.recurrent, torch.nn.Linear):
        raise ModelError(f"module: {name} recurs through {type(part.recurrent).__name__}; Linear can be exported")
    return Layer(params, dense, Dense(part.recurrent.weight.detach(), part.recurrent.bias.detach()))

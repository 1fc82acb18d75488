"""Networks trained in snnTorch, written as NIR files with a golden trace of snnTorch's own output."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.neurons.lif import LIFParams
from brainnet.snn.neurons.lif import Reset as LIFReset
from brainnet.snn.nir.conventions import Reset
from brainnet.snn.nir.graph import import_nir
from brainnet.snn.nir.models import (
    DT,
    Dense,
    Layer,
    LIFNetwork,
    Network,
    annotate,
    from_graph,
    random_spikes,
    time_constant,
    to_graph,
)


def export_snntorch(
    module: torch.nn.Module,
    path: Path | str,
    golden_input: Tensor | None = None,
    *,
    input_shape: tuple[int, ...] | None = None,
) -> None:
    """Write a network trained in snnTorch; see `from_snntorch` and `snntorch_graph` for its possible parts.

    The golden trace is the output of snnTorch. The hidden states of the neurons are reset.

    Args:
        module: the network.
        path: the file.
        golden_input: the input [T, inputs] of the trace; None for random spikes.
        input_shape: the shape of the input without batch and time, such as (2, 34, 34); None for a Sequential of Linear
            and of Leaky or RLeaky.

    Raises:
        ModelError: as `from_snntorch` or, with an `input_shape`, as `snntorch_graph`; for a trace without a spike; and
            for a trace that the exported network does not repeat: with `reset_delay=False`, snnTorch subtracts later
            where a potential stays above the threshold.
    """
    network: Network
    if input_shape is None:
        network = from_snntorch(module)
        graph = to_graph(network)
    else:
        graph = snntorch_graph(module, input_shape)
        network = from_graph(graph, dt=DT, reset=_common_reset(module))
    spikes = random_spikes(network.inputs) if golden_input is None else golden_input.float()
    _forget(module)
    with torch.no_grad():
        outputs = [module(step.reshape(1, *network.shape)) for step in spikes]
    output = torch.cat([o[0] if isinstance(o, tuple) else o for o in outputs]).flatten(1)
    annotate(graph, dt=DT, reset=network.reset, golden_input=spikes, golden_output=output)
    try:
        from_graph(graph)  # a file that would be refused is not written
    except ModelError as error:
        raise ModelError(
            f"module: the network in NIR answers otherwise than in snnTorch ({error}); where a potential stays above "
            "the threshold, reset_delay=False subtracts in another order: set reset_delay=True"
        ) from error
    import_nir().write(str(path), graph)


def snntorch_graph(module: torch.nn.Module, input_shape: tuple[int, ...]) -> Any:
    """Return what snnTorch's own exporter makes of a network, as a `nir.NIRGraph` that can be written and read.

    `snntorch.export_nir.export_to_nir` alone fails for the usual neurons, whose decay and threshold are one number for
    a layer: the package nir needs one for each neuron. So they have the shape of their layer while it runs. Three
    further mistakes of it are put right: a decay of 1, an edge from the recurrent weights of a first layer, and the
    rounding of decays, whose exact values are in the metadata of the nodes. dt is `DT`. The hidden states are reset.

    Args:
        module: a network of Linear, Conv2d, AvgPool2d, Flatten, and Leaky, Synaptic, RLeaky and RSynaptic with
            `init_hidden`.
        input_shape: the shape of the input without batch and time.

    Raises:
        ModelError: a part that cannot be exported; names it.
    """
    from snntorch.export_nir import export_to_nir

    sample = torch.zeros(1, *input_shape)
    neurons = {name: part for name, part in module.named_modules() if hasattr(part, "reset_mem")}
    for name, part in module.named_modules():
        _check_part(name, part)
    try:
        with _full_parameters(module, neurons, sample), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of nirtorch, for its caller
            # the exporter divides by 1 - beta; what follows from 0 is replaced below
            with np.errstate(divide="ignore"):
                graph = export_to_nir(module, sample, ignore_dims=[0])
            exact = {name: _decays(part) for name, part in neurons.items()}
    except ModelError:
        raise
    except Exception as error:  # the exporter and the packages below it raise many kinds
        raise ModelError(f"module: snnTorch cannot export it: {type(error).__name__}: {error}") from error
    finally:
        _forget(module)
    for name, decays in exact.items():
        node, recurrent = graph.nodes.get(name), False
        if node is None:
            node, recurrent = graph.nodes.get(f"{name}.lif"), True
        if node is None:
            raise ModelError(f"module: snnTorch left out {name}; its name must not change, so use a Sequential")
        _put_decays(node, decays)
        if recurrent:
            graph.edges = [e for e in graph.edges if e[0] != f"{name}.w_rec" or e[1] == f"{name}.lif"]
    return graph


def _forget(module: torch.nn.Module) -> None:
    neurons: list[Any] = [part for part in module.modules() if hasattr(part, "reset_mem")]
    for neuron in neurons:
        neuron.reset_mem()


def _check_part(name: str, part: Any) -> None:
    kind = type(part).__name__
    if hasattr(part, "reset_mem"):
        if kind not in ("Leaky", "Synaptic", "RLeaky", "RSynaptic"):
            raise ModelError(f"module: {name} is {kind}; Leaky, Synaptic, RLeaky and RSynaptic can be exported")
        _check_neuron(name, part)
        recurrent = getattr(part, "recurrent", None)
        if isinstance(recurrent, torch.nn.Conv2d):
            raise ModelError(f"module: {name} recurs through Conv2d, which snnTorch exports wrongly; use Linear")
    elif isinstance(part, torch.nn.AvgPool2d):
        if np.any(part.padding) or part.ceil_mode or part.divisor_override is not None:
            raise ModelError(f"module: {name} has padding, ceil_mode or divisor_override, which snnTorch leaves out")
    elif isinstance(part, torch.nn.Conv2d) and part.padding_mode != "zeros":
        raise ModelError(f"module: {name} has the padding mode {part.padding_mode}; NIR pads with zeros")
    elif (
        not list(part.children())
        and not isinstance(part, torch.nn.Conv2d | torch.nn.Linear | torch.nn.Flatten)
        and kind != "RecurrentOneToOne"
    ):
        raise ModelError(f"module: {name} is {kind}, which snnTorch cannot export; remove it for inference")


@contextmanager
def _full_parameters(module: torch.nn.Module, neurons: dict[str, Any], sample: Tensor) -> Iterator[None]:
    """Give the decays and thresholds of all neurons the shape of their layer, while the block runs."""
    shapes: dict[str, torch.Size] = {}

    def recorder(name: str) -> Any:
        def record(_: Any, inputs: tuple[Tensor, ...], __: Any) -> None:
            shapes[name] = inputs[0].shape[1:]

        return record

    hooks = [part.register_forward_hook(recorder(name)) for name, part in neurons.items()]
    with torch.no_grad():
        module(sample)
    for hook in hooks:
        hook.remove()
    _forget(module)
    kept: list[tuple[Any, str, Any]] = []
    try:
        for name, part in neurons.items():
            if name not in shapes:
                raise ModelError(f"module: {name} is not used; remove it")
            for field in ("alpha", "beta", "threshold"):
                value = getattr(part, field, None)
                if value is None:
                    continue
                full = value.detach().expand(shapes[name]).clone()
                full = full if field == "threshold" else full.clamp(0, 1)
                kept.append((part, field, value))
                setattr(part, field, torch.nn.Parameter(full) if isinstance(value, torch.nn.Parameter) else full)
        yield
    finally:
        for part, field, value in kept:
            setattr(part, field, value)


def _decays(part: Any) -> dict[str, Tensor]:
    return {field: getattr(part, field).detach().clone() for field in ("alpha", "beta") if hasattr(part, field)}


def _put_decays(node: Any, decays: dict[str, Tensor]) -> None:
    """Write the time constants of a node for exact decays, with gains that make the input add as it is."""
    for field, value in decays.items():
        exact = value.numpy()
        tau, gain = time_constant(exact, DT)
        cuba = "alpha" in decays
        setattr(node, "tau_syn" if field == "alpha" else "tau_mem" if cuba else "tau", tau)
        setattr(node, "w_in" if field == "alpha" else "r", gain)
        node.metadata[field] = exact


def _common_reset(module: torch.nn.Module) -> Reset:
    """Return the reset of all neurons, as a convention of this package."""
    found: set[Reset] = set()
    for part in module.modules():
        if hasattr(part, "reset_mem"):
            stated: Any = part.reset_mechanism
            found.add("subtract_immediate" if stated == "subtract" and not part.reset_delay else stated)
    if len(found) != 1:
        raise ModelError(f"module must have neurons, all of one reset_mechanism and reset_delay; found {sorted(found)}")
    return found.pop()


def from_snntorch(module: torch.nn.Module) -> LIFNetwork:
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


def _check_neuron(name: str, part: Any) -> None:
    kind = type(part).__name__
    if not part.init_hidden:
        raise ModelError(f"module: {name} must keep its own state, init_hidden=True")
    if part.reset_mechanism == "zero" and kind != "Leaky" and part.reset_delay:
        raise ModelError(f"module: {name} loses the input of the step after a spike; set reset_delay=False")
    if kind == "RSynaptic" and not part.reset_delay:
        raise ModelError(f"module: {name} cannot run with reset_delay=False in snnTorch; set reset_delay=True")
    if part.inhibition or part.state_quant or float(part.graded_spikes_factor) != 1:
        raise ModelError(f"module: {name} uses inhibition, state_quant or graded spikes, which NIR cannot say")


def _snntorch_layer(name: str, part: Any, dense: Dense | None) -> Layer:
    kind = type(part).__name__
    if kind not in ("Leaky", "RLeaky"):
        raise ModelError(
            f"module: {name} is {kind}; Linear, Leaky and RLeaky in turn can be exported, others with an input_shape"
        )
    _check_neuron(name, part)
    reset: LIFReset = part.reset_mechanism
    if reset == "subtract" and not part.reset_delay:
        raise ModelError(
            f"module: {name} subtracts before the next decay; set reset_delay=True, or export with an input_shape"
        )
    if part.threshold.unique().numel() != 1:
        raise ModelError(
            f"module: {name} must have one threshold for all its neurons, or be exported with an input_shape"
        )
    params = LIFParams(part.beta.detach().clamp(0, 1), float(part.threshold.detach().unique()), reset)
    if kind == "Leaky":
        return Layer(params, dense)
    if hasattr(part.recurrent, "V"):  # one-to-one recurrence: V is the diagonal of the matrix
        return Layer(params, dense, Dense(torch.diag(part.recurrent.V.detach())))
    if not isinstance(part.recurrent, torch.nn.Linear):
        raise ModelError(f"module: {name} recurs through {type(part.recurrent).__name__}; Linear can be exported")
    return Layer(params, dense, Dense(part.recurrent.weight.detach(), part.recurrent.bias.detach()))

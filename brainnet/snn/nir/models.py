r"""Feed-forward and recurrent LIF networks in NIR, the exchange format of neuromorphic frameworks and chips.

A NIR LIF node (Pedersen et al. 2024, *Neuromorphic intermediate representation*) is the differential equation

$$
\tau \dot v = (v_{leak} - v) + R I, \quad v > v_{threshold} \Rightarrow v \leftarrow v_{reset}
$$

and does not specify the time step or resets other than to a value. One Euler step of `dt` gives the neuron of
`brainnet.snn.neurons.lif`:

$$
\beta = 1 - dt/\tau, \quad x_t = \frac{dt}{\tau} (R I_t + v_{leak})
$$

The format does not specify the initial v either: here it is v_leak, the rest without input, as in Norse.

The rest is stored in the metadata of the graph, under `brainnet`: `dt` in seconds, the `reset` convention, and a golden
trace: an input and the output of the exporting framework. Reading a file replays the trace.

Needs `pip install 'brainnet[nir]'`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.neurons.lif import LIFParams, LIFState, Reset, lif_sequence, recurrent_lif_sequence
from brainnet.snn.nir.graph import ChainLayer, chain, import_nir

DT = 1e-4
"""The time step that snnTorch assumes when it writes NIR, in seconds."""
KEY = "brainnet"
_SMALLEST_LEAK = 2**-24
"""The smallest 1 - beta that is written. NIR has no tau for a neuron without leak (beta 1); this is the float32 step
below 1. The exact beta is stored in the metadata of the node."""


@dataclass(frozen=True, slots=True)
class Dense:
    """Input currents from spikes: `weight` times the spikes plus `bias`.

    Attributes:
        weight: [out, in].
        bias: [out], or None.
    """

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, spikes: Tensor) -> Tensor:
        """Return the currents [..., out] of `spikes` [..., in]."""
        return F.linear(spikes, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of neurons.

    Attributes:
        neurons: the constants of the neurons.
        dense: the projection of the input; None if the input is the current itself.
        recurrent: the projection of the neurons' own spikes of the previous step, or None.
        rest: the initial membrane potential [neurons]; None for 0.
    """

    neurons: LIFParams
    dense: Dense | None = None
    recurrent: Dense | None = None
    rest: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LIFNetwork:
    """A network of consecutive layers.

    Attributes:
        layers: from input to output.
        inputs: the number of inputs.
        outputs: the number of outputs.
        dt: one time step in seconds.
        verified: whether a golden trace was replayed.
    """

    layers: tuple[Layer, ...]
    inputs: int
    outputs: int
    dt: float
    verified: bool = False

    @property
    def reset(self) -> Reset:
        """The reset convention of all neurons."""
        return self.layers[0].neurons.reset


NetworkState = tuple[LIFState, ...]


@torch.no_grad()
def run(network: LIFNetwork, spikes: Tensor, state: NetworkState | None = None) -> tuple[Tensor, NetworkState]:
    """Return the output spikes [T, B, outputs] of input spikes [T, B, inputs], and the state after the last step.

    Projections run step by step, as in the frameworks that write such models: the sums of one product over all steps
    may differ in the last bit, and then a spike may differ.

    Args:
        network: the network.
        spikes: input spikes [T, B, inputs].
        state: the state to continue from; None for rest.

    Raises:
        ModelError: shapes that do not fit, or values that are not finite.
    """
    if spikes.ndim != 3 or spikes.shape[2] != network.inputs or not spikes.shape[0]:
        raise ModelError(f"spikes must be [steps >= 1, batch, {network.inputs}], not of shape {tuple(spikes.shape)}")
    if state is not None and len(state) != len(network.layers):
        raise ModelError(f"state is of {len(state)} layers, the network has {len(network.layers)}")
    after = []
    for index, layer in enumerate(network.layers):
        currents = spikes if layer.dense is None else torch.stack([layer.dense(step) for step in spikes.unbind(0)])
        before = None if state is None else state[index]
        if before is None and layer.rest is not None:
            before = LIFState(layer.rest.expand(currents.shape[1:]).contiguous())
        if layer.recurrent is None:
            spikes, last = lif_sequence(currents, before, layer.neurons)
        else:
            spikes, last = recurrent_lif_sequence(currents, before, layer.neurons, layer.recurrent)
        after.append(last)
    return spikes, tuple(after)


def save(network: LIFNetwork, path: Path | str, golden_input: Tensor | None = None) -> None:
    """Write a network to a NIR file, with a golden trace.

    Args:
        network: the network.
        path: the file.
        golden_input: the input [T, inputs] of the trace; None for random spikes.

    Raises:
        ModelError: the trace contains no spike, so that it would verify nothing.
    """
    graph = to_graph(network)
    spikes = random_spikes(network.inputs) if golden_input is None else golden_input.float()
    output = run(network, spikes[:, None])[0][:, 0]
    annotate(graph, dt=network.dt, reset=network.reset, golden_input=spikes, golden_output=output)
    import_nir().write(str(path), graph)


def load(path: Path | str, *, dt: float | None = None, reset: Reset | None = None) -> LIFNetwork:
    """Read a network from a NIR file and replay its golden trace.

    Args:
        path: the file.
        dt: the time step in seconds, for files of other programs that do not state it.
        reset: the reset convention, for files that do not state it.

    Raises:
        ModelError: not a NIR file, not a chain of LIF layers, a convention that is missing or contradicts the file, or
            a replay that differs from the trace; the message has the first step that does.
    """
    nir = import_nir()
    try:
        graph = nir.read(str(path))
    except Exception as error:  # h5py and nir raise many kinds
        raise ModelError(f"{path} is not a readable NIR file: {type(error).__name__}: {error}") from error
    try:
        return from_graph(graph, dt=dt, reset=reset)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def to_graph(network: LIFNetwork) -> Any:
    """Return the network as a `nir.NIRGraph` without metadata; recurrent layers are subgraphs, as in snnTorch.

    Raises:
        ModelError: a beta is outside 0 to 1.
    """
    nir = import_nir()
    nodes: dict[str, Any] = {"input": nir.Input(input_type={"input": np.array([network.inputs])})}
    width = network.inputs
    for index, layer in enumerate(network.layers):
        if layer.dense is not None:
            nodes[f"{index}_dense"] = _dense_node(layer.dense)
            width = layer.dense.weight.shape[0]
        nodes[f"{index}_lif"] = _lif_node(layer, width, network.dt)
    nodes["output"] = nir.Output(output_type={"output": np.array([width])})
    names = list(nodes)
    return nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(names)))


def from_graph(graph: Any, *, dt: float | None = None, reset: Reset | None = None) -> LIFNetwork:
    """Return the network of a `nir.NIRGraph`; see `load`.

    Raises:
        ModelError: as `load`.
    """
    metadata = graph.metadata.get(KEY, {})
    dt = _resolve("dt", dt, float(metadata["dt"]) if "dt" in metadata else None, "a time step in seconds, such as 1e-4")
    reset = _resolve("reset", reset, metadata.get("reset"), " or ".join(get_args(Reset)))
    if not (np.isfinite(dt) and dt > 0):
        raise ModelError(f"dt must be a positive number of seconds, got {dt}")
    if reset not in get_args(Reset):
        raise ModelError(f"reset must be one of {', '.join(get_args(Reset))}, got {reset!r}")
    inputs, chain_layers = chain(graph)
    width, layers = inputs, []
    for node in chain_layers:
        layer = _layer(node, width, dt, reset)
        width = width if layer.dense is None else layer.dense.weight.shape[0]
        layers.append(layer)
    network = LIFNetwork(tuple(layers), inputs, width, dt)
    if "golden_input" in metadata and "golden_output" in metadata:
        _replay(network, np.asarray(metadata["golden_input"]), np.asarray(metadata["golden_output"]))
        return replace(network, verified=True)
    return network


def annotate(graph: Any, *, dt: float, reset: Reset, golden_input: Tensor, golden_output: Tensor) -> None:
    """Add to a graph what NIR does not specify, with a golden trace.

    Args:
        graph: the `nir.NIRGraph`.
        dt: the time step in seconds.
        reset: the reset convention.
        golden_input: [T, inputs].
        golden_output: the output spikes [T, outputs] of the framework that made the graph.

    Raises:
        ModelError: the trace contains no spike.
    """
    if not bool(golden_output.any()):
        raise ModelError("the golden trace holds no spike; give a golden_input that makes the network fire")
    graph.metadata[KEY] = {
        "dt": dt,
        "reset": reset,
        "golden_input": golden_input.numpy().astype(np.float32),
        "golden_output": golden_output.detach().numpy().astype(np.uint8),
    }


def random_spikes(neurons: int, steps: int = 64, rate: float = 0.3, seed: int = 0) -> Tensor:
    """Return random spikes, float 0/1 [steps, neurons], that fire with probability `rate`."""
    return (torch.rand(steps, neurons, generator=torch.Generator().manual_seed(seed)) < rate).float()


def _layer(node: ChainLayer, width: int, dt: float, reset: Reset) -> Layer:
    dense, recurrent = _dense(node.dense), _dense(node.recurrent)
    if dense is not None:
        if dense.weight.shape[1] != width:
            raise ModelError(f"node {node.name} gets {dense.weight.shape[1]} inputs, the layer before has {width}")
        width = dense.weight.shape[0]
    if recurrent is not None and recurrent.weight.shape != (width, width):
        raise ModelError(f"recurrent weight of node {node.name} must be [{width}, {width}]")
    lif = node.lif
    tau, r, v_leak, v_threshold, v_reset = (
        _per_neuron(node.name, name, getattr(lif, name), width)
        for name in ("tau", "r", "v_leak", "v_threshold", "v_reset")
    )
    if np.unique(v_threshold).size != 1 or v_reset.any():
        raise ModelError(f"node {node.name}: v_threshold must be the same for all neurons, and v_reset 0")
    if not (tau >= dt * (1 - 1e-6)).all():
        raise ModelError(f"node {node.name}: tau must be at least dt = {dt:g} s, got {tau.min():g} s")
    # 1 - dt / tau rounds; the exact beta of the metadata is used if it agrees with tau
    beta = 1 - dt / tau
    if "beta" in lif.metadata:
        exact = _per_neuron(node.name, "beta", lif.metadata["beta"], width)
        if np.abs(exact - beta).max() > 1e-6:
            raise ModelError(f"node {node.name}: the beta in its metadata contradicts its tau")
        beta = exact
    gain, leak = r * dt / tau, v_leak * dt / tau
    # the LIF sequence has no gain and no leak potential: both are merged into weights and biases
    if np.abs(gain - 1).max() > 1e-6 or leak.any():
        dense = _scaled(dense or Dense(torch.eye(width)), gain, leak)
        recurrent = None if recurrent is None else _scaled(recurrent, gain, np.zeros(width))
    params = LIFParams(torch.from_numpy(beta.clip(0, 1).astype(np.float32)), float(np.float32(v_threshold[0])), reset)
    rest = _per_neuron(node.name, "rest", lif.metadata.get("rest", v_leak), width)
    return Layer(params, dense, recurrent, torch.from_numpy(rest).float() if rest.any() else None)


def _scaled(dense: Dense, gain: NDArray[np.float64], leak: NDArray[np.float64]) -> Dense:
    """Return the projection with its currents multiplied by `gain`, plus the constant current of the leak potential."""
    bias = np.zeros(len(gain)) if dense.bias is None else dense.bias.double().numpy()
    weight = dense.weight.double().numpy() * gain[:, None]
    return Dense(torch.from_numpy(weight).float(), torch.from_numpy(bias * gain + leak).float())


def _dense(node: Any) -> Dense | None:
    if node is None:
        return None
    bias = getattr(node, "bias", None)
    return Dense(_float_tensor(node.weight), None if bias is None else _float_tensor(bias))


def _float_tensor(values: Any) -> Tensor:
    result = torch.from_numpy(np.array(values, np.float32))
    if not bool(torch.isfinite(result).all()):
        raise ModelError("a weight or bias is NaN or infinite")
    return result


def _per_neuron(node: str, name: str, values: Any, width: int) -> NDArray[np.float64]:
    result = np.asarray(values, np.float64).reshape(-1)
    if result.size not in (1, width) or not np.isfinite(result).all():
        raise ModelError(f"node {node}: {name} must be one finite number, or one for each of {width} neurons")
    return np.broadcast_to(result, width).copy()


def _dense_node(dense: Dense) -> Any:
    nir = import_nir()
    if dense.bias is None:
        return nir.Linear(weight=dense.weight.detach().numpy())
    return nir.Affine(weight=dense.weight.detach().numpy(), bias=dense.bias.detach().numpy())


def _lif_node(layer: Layer, width: int, dt: float) -> Any:
    nir = import_nir()
    beta = layer.neurons.beta.detach().expand(width).numpy()
    if not ((beta >= 0) & (beta <= 1)).all():
        raise ModelError(f"beta must be 0 to 1, got {beta.min():g} to {beta.max():g}")
    tau = (dt / np.maximum(1 - beta.astype(np.float64), _SMALLEST_LEAK)).astype(np.float32)
    lif = nir.LIF(
        tau=tau,
        r=(tau.astype(np.float64) / dt).astype(np.float32),
        v_leak=np.zeros(width, np.float32),
        v_threshold=np.full(width, layer.neurons.threshold, np.float32),
        v_reset=np.zeros(width, np.float32),
        metadata={"beta": beta.copy()} | ({} if layer.rest is None else {"rest": layer.rest.numpy().copy()}),
    )
    if layer.recurrent is None:
        return lif
    shape = np.array([width])
    return nir.NIRGraph(
        nodes={
            "input": nir.Input(input_type={"input": shape}),
            "lif": lif,
            "w_rec": _dense_node(layer.recurrent),
            "output": nir.Output(output_type={"output": shape}),
        },
        edges=[("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )


def _resolve(name: str, given: Any, stored: Any, accepted: str) -> Any:
    if given is None and stored is None:
        raise ModelError(f"the graph does not say {name}; give {name}: {accepted}")
    if given is not None and stored is not None and given != stored:
        raise ModelError(f"{name} {given!r} contradicts the graph, which says {stored!r}; leave {name} out")
    return stored if given is None else given


def _replay(network: LIFNetwork, spikes: NDArray[Any], expected: NDArray[Any]) -> None:
    if spikes.ndim != 2 or expected.shape != (len(spikes), network.outputs):
        raise ModelError(f"golden trace of shapes {spikes.shape} and {expected.shape} does not fit the network")
    output = run(network, torch.from_numpy(spikes.astype(np.float32))[:, None])[0][:, 0].numpy().astype(np.uint8)
    wrong = (output != expected).any(1).nonzero()[0]
    if wrong.size:
        step = int(wrong[0])
        neurons = (output[step] != expected[step]).nonzero()[0]
        raise ModelError(
            f"replay differs from the golden trace first at step {step}, in {neurons.size} of {network.outputs} "
            f"neurons (the first is {neurons[0]}: golden {expected[step][neurons[0]]}, here "
            f"{output[step][neurons[0]]}); the file was changed, or was made with another dt or reset"
        )

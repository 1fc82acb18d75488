r"""Spiking networks in NIR, the exchange format of neuromorphic frameworks and chips.

Every node of NIR 1.0 is run, with recurrence: `brainnet.snn.nir.nodes` has the equations, `brainnet.snn.nir.graph` the
order in a cycle. A graph that is a chain of LIF layers with one threshold each becomes a `LIFNetwork`, which the
compiled kernels of `brainnet.snn.neurons.lif` run; with $\beta = 1 - dt/\tau$ and
$x_t = \frac{dt}{\tau} (R I_t + v_{leak})$ they give the same spikes. Every other graph becomes a `GraphNetwork`.

What NIR does not specify is stored in the metadata of the graph, under `brainnet`: `dt` in seconds, the `reset`
convention, the `method` of integration where it is not Euler's, and a golden trace: an input and the output of the
exporting framework. Reading a file replays the trace.

Needs `pip install 'brainnet[nir]'`.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.checks import check_finite
from brainnet.snn.neurons.lif import LIFParams, LIFState, lif_sequence, recurrent_lif_sequence
from brainnet.snn.neurons.lif import Reset as LIFReset
from brainnet.snn.nir import file
from brainnet.snn.nir.conventions import METHODS, RESETS, Method, Reset, Settings
from brainnet.snn.nir.graph import ChainLayer, chain, flatten, import_nir
from brainnet.snn.nir.network import Emits, GraphNetwork, GraphState, build
from brainnet.snn.nir.nodes import SPIKING

DT = 1e-4
"""The time step that snnTorch assumes when it writes NIR, in seconds."""
KEY = "brainnet"
MAX_REPLAYED: Final = 4096
"""The most steps of a golden trace that are replayed; a file may hold more."""
MAX_REPLAYED_PRODUCTS: Final = 1 << 36
"""The most multiplications of a replay: fewer steps of a large network are replayed, but at least one."""
_TOLERANCE: Final = 1e-5
"""How far a graded output may be from the golden trace, relative to the largest value of the trace."""
SMALLEST_LEAK = 2**-24
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
        notes: what was repaired in the graph that it was made of.
    """

    layers: tuple[Layer, ...]
    inputs: int
    outputs: int
    dt: float
    verified: bool = False
    notes: tuple[str, ...] = ()

    @property
    def reset(self) -> LIFReset:
        """The reset convention of all neurons."""
        return self.layers[0].neurons.reset

    @property
    def method(self) -> Method:
        """How the differential equations became steps: always Euler's method."""
        return "euler"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the input, without batch and time."""
        return (self.inputs,)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the output."""
        return (self.outputs,)

    @property
    def emits(self) -> Emits:
        """What the outputs are: always spikes."""
        return "spikes"


Network = LIFNetwork | GraphNetwork
"""Both have `inputs`, `outputs`, `shape`, `output_shape`, `dt`, `reset`, `method`, `emits`, `notes` and `verified`."""
NetworkState = tuple[LIFState, ...] | GraphState


@torch.no_grad()
def run(
    network: Network, spikes: Tensor, state: NetworkState | None = None, *, record: str | None = None
) -> tuple[Tensor, NetworkState]:
    """Return the outputs [T, B, outputs] of inputs [T, B, inputs], and the state after the last step.

    Projections run step by step, as in the frameworks that write such models: the sums of one product over all steps
    may differ in the last bit, and then a spike may differ. Each step is a copy, because the last bit also depends on
    how the memory is aligned; so two halves with the state carried over give the same result as the whole.

    Args:
        network: the network.
        spikes: inputs [T, B, inputs]; of a network whose input has several axes, flattened in row-major order.
        state: the state to continue from; None for rest.
        record: the name of a node of a `GraphNetwork` whose output is returned instead of the network's.

    Raises:
        ModelError: shapes or a state that do not fit, or values that are not finite.
    """
    if spikes.ndim != 3 or spikes.shape[2] != network.inputs or not spikes.shape[0]:
        raise ModelError(f"spikes must be [steps >= 1, batch, {network.inputs}], not of shape {tuple(spikes.shape)}")
    if isinstance(network, GraphNetwork):
        if not (state is None or isinstance(state, GraphState)) or (state and len(state.nodes) != len(network.steps)):
            raise ModelError("the state is of another network; use the state that this network returned")
        return network.run(check_finite("spikes", spikes.float()), state, record)
    if record is not None:
        raise ModelError("a chain of LIF layers keeps no outputs of its nodes; load it with chains=False")
    if isinstance(state, GraphState):
        raise ModelError("the state is of another network; use the state that this network returned")
    if state is not None and len(state) != len(network.layers):
        raise ModelError(f"state is of {len(state)} layers, the network has {len(network.layers)}")
    after = []
    for index, layer in enumerate(network.layers):
        currents = (
            spikes if layer.dense is None else torch.stack([layer.dense(step.clone()) for step in spikes.unbind(0)])
        )
        before = None if state is None else state[index]
        if before is None and layer.rest is not None:
            before = LIFState(layer.rest.expand(currents.shape[1:]).contiguous())
        if layer.recurrent is None:
            spikes, last = lif_sequence(currents, before, layer.neurons)
        else:
            spikes, last = recurrent_lif_sequence(currents, before, layer.neurons, layer.recurrent)
        after.append(last)
    return spikes, tuple(after)


def save(network: Network, path: Path | str, golden_input: Tensor | None = None) -> None:
    """Write a network to a NIR file, with a golden trace.

    Args:
        network: the network.
        path: the file.
        golden_input: the input [T, inputs] of the trace; None for random spikes.

    Raises:
        ModelError: the output of the trace is all zeros, so that it would verify nothing.
    """
    graph = to_graph(network)
    spikes = random_spikes(network.inputs) if golden_input is None else golden_input.float()
    output = run(network, spikes[:, None])[0][:, 0]
    annotate(
        graph,
        dt=network.dt,
        reset=network.reset,
        method=network.method,
        golden_input=spikes,
        golden_output=output,
    )
    import_nir().write(str(path), graph)


def load(
    path: Path | str,
    *,
    dt: float | None = None,
    default_dt: float | None = None,
    reset: Reset | None = None,
    method: Method | None = None,
    chains: bool = True,
) -> Network:
    """Read a network from a NIR file and replay its golden trace.

    Args:
        path: the file.
        dt: the time step in seconds, for files of other programs that do not state it.
        default_dt: a time step for files that do not state it, and of no meaning for those that do.
        reset: the reset convention, for files that do not state it and have neurons that fire.
        method: how the differential equations become steps, for files that do not state it; None for Euler's method.
        chains: whether a chain of LIF layers becomes a `LIFNetwork`, which is faster.

    Raises:
        ModelError: not a NIR file, a graph that cannot be run, a convention that is missing or contradicts the file, or
            a replay that differs from the trace; the message has the first step that does.
    """
    graph = file.read(path)
    try:
        return from_graph(graph, dt=dt, default_dt=default_dt, reset=reset, method=method, chains=chains)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def to_graph(network: Network) -> Any:
    """Return the network as a `nir.NIRGraph` without metadata; recurrent layers are subgraphs, as in snnTorch.

    A `GraphNetwork` gives a copy of the graph that it was made of.

    Raises:
        ModelError: a beta is outside 0 to 1.
    """
    nir = import_nir()
    if isinstance(network, GraphNetwork):
        graph = copy.deepcopy(network.graph)
        graph.metadata.pop(KEY, None)
        return graph
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


def from_graph(
    graph: Any,
    *,
    dt: float | None = None,
    default_dt: float | None = None,
    reset: Reset | None = None,
    method: Method | None = None,
    chains: bool = True,
) -> Network:
    """Return the network of a `nir.NIRGraph`; see `load`.

    Raises:
        ModelError: as `load`.
    """
    flat = flatten(graph)
    metadata = graph.metadata.get(KEY, {})
    if not isinstance(metadata, dict):
        raise ModelError(f"the metadata {KEY!r} is no group; write the file again")
    firing = any(type(node).__name__ in SPIKING for node in flat.nodes.values())
    settings = Settings(
        _resolve("dt", dt, _stated_dt(metadata), "a time step in seconds, such as 1e-4", default=default_dt),
        _resolve("reset", reset, _stated(metadata, "reset"), " or ".join(RESETS)) if firing else "none",
        _resolve("method", method, _stated(metadata, "method"), " or ".join(METHODS), default="euler"),
    )
    general = build(flat, graph, settings)
    layers = chain(flat) if chains and settings.method == "euler" else None
    network: Network = general
    kernel_reset: LIFReset | None = next((each for each in get_args(LIFReset) if each == settings.reset), None)
    if layers and kernel_reset and len(flat.shape) == 1:
        network = _lif_network(layers, general, kernel_reset) or general
    if "golden_input" in metadata and "golden_output" in metadata:
        _replay(network, np.asarray(metadata["golden_input"]), np.asarray(metadata["golden_output"]))
        return replace(network, verified=True)
    return network


def annotate(
    graph: Any, *, dt: float, reset: Reset, golden_input: Tensor, golden_output: Tensor, method: Method = "euler"
) -> None:
    """Add to a graph what NIR does not specify, with a golden trace.

    Args:
        graph: the `nir.NIRGraph`.
        dt: the time step in seconds.
        reset: the reset convention.
        golden_input: [T, inputs].
        golden_output: the outputs [T, outputs] of the framework that made the graph.
        method: how the differential equations become steps.

    Raises:
        ModelError: the output of the trace is all zeros.
    """
    output = golden_output.detach().numpy()
    if not output.any():
        raise ModelError("the golden trace holds no spike; give a golden_input that makes the network fire")
    counts = (output >= 0).all() and (output <= 255).all() and (output == np.rint(output)).all()
    graph.metadata[KEY] = {
        "dt": dt,
        "reset": reset,
        "golden_input": golden_input.numpy().astype(np.float32),
        "golden_output": output.astype(np.uint8 if counts else np.float32),
    } | ({} if method == "euler" else {"method": method})


def random_spikes(neurons: int, steps: int = 64, rate: float = 0.3, seed: int = 0) -> Tensor:
    """Return random spikes, float 0/1 [steps, neurons], that fire with probability `rate`."""
    return (torch.rand(steps, neurons, generator=torch.Generator().manual_seed(seed)) < rate).float()


def _lif_network(nodes: list[ChainLayer], general: GraphNetwork, reset: LIFReset) -> LIFNetwork | None:
    """Return the chain for the compiled kernels, or None if they cannot run its neurons.

    `general` was made of the same graph, so every shape and value has been checked.
    """
    width, layers = general.inputs, []
    for node in nodes:
        if node.dense is not None:
            width = node.dense.weight.shape[0]
        layer = _layer(node, width, general.dt, reset)
        if layer is None:
            return None
        layers.append(layer)
    return LIFNetwork(tuple(layers), general.inputs, width, general.dt, notes=general.notes)


def _layer(node: ChainLayer, width: int, dt: float, reset: LIFReset) -> Layer | None:
    dense, recurrent = _dense(node.dense, width), _dense(node.recurrent, width)
    lif = node.lif
    tau, r, v_leak, v_threshold, v_reset = (
        _per_neuron(getattr(lif, name), width) for name in ("tau", "r", "v_leak", "v_threshold", "v_reset")
    )
    rest = _per_neuron(lif.metadata.get("rest", v_leak), width)
    # the kernels take the spikes before the first step from the potential; a graph has none
    if np.unique(v_threshold).size != 1 or v_reset.any() or (rest > v_threshold).any():
        return None
    # 1 - dt / tau rounds; the exact beta of the metadata agrees with tau
    beta = _per_neuron(lif.metadata["beta"], width) if "beta" in lif.metadata else 1 - dt / tau
    gain, leak = r * dt / tau, v_leak * dt / tau
    # the LIF sequence has no gain and no leak potential: both are merged into weights and biases
    if np.abs(gain - 1).max() > 1e-6 or leak.any():
        dense = _scaled(dense or Dense(torch.eye(width)), gain, leak)
        recurrent = None if recurrent is None else _scaled(recurrent, gain, np.zeros(width))
    params = LIFParams(torch.from_numpy(beta.clip(0, 1).astype(np.float32)), float(np.float32(v_threshold[0])), reset)
    return Layer(params, dense, recurrent, torch.from_numpy(rest).float() if rest.any() else None)


def _scaled(dense: Dense, gain: NDArray[np.float64], leak: NDArray[np.float64]) -> Dense:
    """Return the projection with its currents multiplied by `gain`, plus the constant current of the leak potential."""
    bias = np.zeros(len(gain)) if dense.bias is None else dense.bias.double().numpy()
    weight = dense.weight.double().numpy() * gain[:, None]
    return Dense(torch.from_numpy(weight).float(), torch.from_numpy(bias * gain + leak).float())


def _dense(node: Any, width: int) -> Dense | None:
    if node is None:
        return None
    bias = getattr(node, "bias", None)
    # a clone, because torch aligns its own memory: see `run`
    weight = torch.from_numpy(np.array(node.weight, np.float32)).clone()
    return Dense(weight, None if bias is None else torch.from_numpy(_per_neuron(bias, width)).float())


def _per_neuron(values: Any, width: int) -> NDArray[np.float64]:
    return np.broadcast_to(np.asarray(values, np.float64).reshape(-1), width).copy()


def _dense_node(dense: Dense) -> Any:
    nir = import_nir()
    if dense.bias is None:
        return nir.Linear(weight=dense.weight.detach().numpy())
    return nir.Affine(weight=dense.weight.detach().numpy(), bias=dense.bias.detach().numpy())


def time_constant(decay: NDArray[Any], dt: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    r"""Return $\tau$ in seconds for decays per step, and the gain $\tau / dt$ with which an input adds as it is."""
    tau = (dt / np.maximum(1 - decay.astype(np.float64), SMALLEST_LEAK)).astype(np.float32)
    return tau, (tau.astype(np.float64) / dt).astype(np.float32)


def _lif_node(layer: Layer, width: int, dt: float) -> Any:
    nir = import_nir()
    beta = layer.neurons.beta.detach().expand(width).numpy()
    if not ((beta >= 0) & (beta <= 1)).all():
        raise ModelError(f"beta must be 0 to 1, got {beta.min():g} to {beta.max():g}")
    tau, gain = time_constant(beta, dt)
    lif = nir.LIF(
        tau=tau,
        r=gain,
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


def _resolve(name: str, given: Any, stored: Any, accepted: str, default: Any = None) -> Any:
    if given is None and stored is None and default is None:
        raise ModelError(f"the graph does not say {name}; give {name}: {accepted}")
    if given is not None and stored is not None and given != stored:
        raise ModelError(f"{name} {given!r} contradicts the graph, which says {stored!r}; leave {name} out")
    found = stored if given is None else given
    return default if found is None else found


def _stated_dt(metadata: dict[str, Any]) -> float | None:
    if "dt" not in metadata:
        return None
    array = np.asarray(metadata["dt"])
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise ModelError("the dt of the metadata must be one number of seconds; write the file again")
    return float(array.reshape(-1)[0])


def _stated(metadata: dict[str, Any], name: str) -> str | None:
    value = metadata.get(name)
    if not (value is None or isinstance(value, str)):
        raise ModelError(f"the {name} of the metadata must be text; write the file again")
    return value


def _replay(network: Network, spikes: NDArray[Any], expected: NDArray[Any]) -> None:
    if spikes.ndim != 2 or expected.shape != (len(spikes), network.outputs) or not len(spikes):
        raise ModelError(f"golden trace of shapes {spikes.shape} and {expected.shape} does not fit the network")
    if {spikes.dtype.kind, expected.dtype.kind} - set("fiub"):
        raise ModelError(f"golden trace of types {spikes.dtype} and {expected.dtype} must be numbers")
    products = network.products if isinstance(network, GraphNetwork) else 0
    steps = max(1, min(MAX_REPLAYED, MAX_REPLAYED_PRODUCTS // max(products, 1)))
    spikes, expected = spikes[:steps].astype(np.float32), expected[:steps].astype(np.float32)
    output = run(network, torch.from_numpy(spikes)[:, None])[0][:, 0].numpy()
    # spikes must be equal; sums of a graded output may differ in their last bits
    allowed = _TOLERANCE * np.abs(expected).max() if network.emits == "values" else 0.0
    # negated, because a comparison with NaN is false
    differs = ~(np.abs(output - expected) <= allowed)
    wrong = differs.any(1).nonzero()[0]
    if wrong.size:
        step = int(wrong[0])
        neurons = differs[step].nonzero()[0]
        raise ModelError(
            f"replay differs from the golden trace first at step {step}, in {neurons.size} of {network.outputs} "
            f"neurons (the first is {neurons[0]}: golden {expected[step][neurons[0]]:g}, here "
            f"{output[step][neurons[0]]:g}); the file was changed, or was made with another dt, reset or method"
        )

"""Each node of NIR against its equation in plain numpy, cycles, and files that snnTorch's own exporter makes."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet import Prompt, SpikePacket
from brainnet.errors import ModelError
from brainnet.node import load_program
from brainnet.snn.nir import models as nir_models
from brainnet.snn.nir.conventions import METHODS, RESETS, Method, Reset
from brainnet.snn.nir.models import from_graph, load, random_spikes, run, save
from brainnet.snn.nir.network import GraphNetwork
from brainnet.snn.nir.snntorch import export_snntorch, snntorch_graph
from brainnet.testing import MemoryBrain

nir = pytest.importorskip("nir", reason="needs brainnet[nir]")
DT = 1e-3
NEURONS = 3


def graph_of(*nodes: Any, shape: tuple[int, ...] | None = None, edges: list[tuple[str, str]] | None = None) -> Any:
    """A graph of nodes in turn, named by number, with further edges; checked by the package only when it is read."""
    names = {"input": nir.Input(np.array(shape or (NEURONS,)))} | {str(n): node for n, node in enumerate(nodes)}
    names["output"] = nir.Output({"output": None})
    chain = list(itertools.pairwise(names))
    return nir.NIRGraph(nodes=names, edges=chain + (edges or []), type_check=False)


def answer(graph: Any, values: Tensor, **conventions: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """What a graph answers to [T, inputs]."""
    given: dict[str, Any] = {"dt": DT, "reset": "value"} | conventions
    network = from_graph(graph, **given)
    return run(network, values[:, None].float())[0][:, 0].numpy()


def parameters(**values: float) -> dict[str, Any]:
    """Parameters around these values, other ones for each neuron."""
    spread = np.array([0.9, 1.0, 1.15])
    return {name: value * spread for name, value in values.items()}


def neuron(kind: str) -> Any:
    """A neuron of a kind."""
    membrane = parameters(r=3.0, v_leak=0.2)
    firing = parameters(v_threshold=0.6, v_reset=-0.1)
    synapse = parameters(tau_mem=0.02, tau_syn=0.008, w_in=2.5) | membrane
    fields: dict[str, dict[str, Any]] = {
        "LIF": parameters(tau=0.02) | membrane | firing,
        "LI": parameters(tau=0.02) | membrane,
        "IF": parameters(r=90.0) | firing,
        "I": parameters(r=90.0),
        "CubaLIF": synapse | firing,
        "CubaLI": synapse,
    }
    return getattr(nir, kind)(**fields[kind])


def stepped(node: Any, currents: Tensor, method: Method, reset: Reset) -> np.ndarray[Any, np.dtype[Any]]:
    """The equations of a neuron in double precision, written down a second time."""

    def share(tau: Any) -> Any:
        return DT / tau if method == "euler" else 1 - np.exp(-DT / tau)

    v = np.zeros(NEURONS) + getattr(node, "v_leak", 0.0)
    if type(node).__name__ == "IF" and reset == "value":
        v = v + node.v_reset
    synapse, before, found = np.zeros(NEURONS), np.zeros(NEURONS), []
    for x in currents.double().numpy():
        current = x
        if hasattr(node, "tau_syn"):
            synapse = synapse + share(node.tau_syn) * (-synapse + node.w_in * x)
            current = synapse
        tau = getattr(node, "tau", getattr(node, "tau_mem", None))
        v = v + DT * node.r * current if tau is None else v + share(tau) * (node.v_leak - v + node.r * current)
        if not hasattr(node, "v_threshold"):
            found.append(v)
            continue
        theta = node.v_threshold
        if reset == "subtract":
            v = v - before * theta
        spikes = np.maximum(np.floor(v / theta), 0) if reset == "subtract_multiple" else (v > theta).astype(float)
        if reset == "value":
            v = np.where(spikes > 0, node.v_reset, v)
        elif reset.startswith("subtract_"):
            v = v - spikes * theta
        before = spikes
        found.append(spikes)
    return np.array(found)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reset", [reset for reset in RESETS if reset != "zero"])
@pytest.mark.parametrize("kind", ["LIF", "IF", "CubaLIF"])
def test_neurons_that_fire_follow_their_equation(kind: str, reset: Reset, method: Method) -> None:
    node = neuron(kind)
    currents = torch.rand(200, NEURONS, generator=torch.Generator().manual_seed(3)) * 2 - 0.3
    expected = stepped(node, currents, method, reset)
    assert expected.any(0).all()
    assert (expected == 0).any(0).all()
    np.testing.assert_array_equal(answer(graph_of(node), currents, method=method, reset=reset), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["LI", "I", "CubaLI"])
def test_neurons_that_do_not_fire_answer_their_potential(kind: str, method: Method) -> None:
    node = neuron(kind)
    currents = torch.rand(50, NEURONS, generator=torch.Generator().manual_seed(3))
    network = from_graph(graph_of(node), dt=DT, method=method)  # without a spike there is no reset to state
    assert network.emits == "values"
    np.testing.assert_allclose(run(network, currents[:, None])[0][:, 0], stepped(node, currents, method, "none"), 1e-5)


def test_zero_is_the_value_of_a_v_reset_of_zero() -> None:
    node = neuron("LIF")
    node.v_reset = np.zeros(NEURONS)
    currents = torch.rand(100, NEURONS) * 2
    zero, value = (answer(graph_of(node), currents, reset=reset) for reset in ("zero", "value"))
    np.testing.assert_array_equal(zero, value)


def test_nodes_without_state() -> None:
    generator = np.random.default_rng(1)
    x = torch.from_numpy(generator.random((4, 2, 6, 7), np.float32))
    flat = x.flatten(1)
    weight, bias = generator.random((4, 1, 3, 2), np.float32), generator.random(4, np.float32)
    pool: dict[str, Any] = {"kernel_size": np.array([2, 3]), "stride": np.array([2, 1]), "padding": np.array([1, 0])}
    conv = nir.Conv2d(None, weight, (2, 1), (1, 0), (1, 2), 2, bias)
    expected = F.conv2d(x, torch.from_numpy(weight), torch.from_numpy(bias), (2, 1), (1, 0), (1, 2), 2)
    np.testing.assert_allclose(answer(graph_of(conv, shape=(2, 6, 7)), flat), expected.flatten(1), 1e-5)
    weight = generator.random((4, 1, 3, 5), np.float32)
    same = nir.Conv2d(None, weight, 1, "same", 1, 2, bias)
    expected = F.conv2d(x, torch.from_numpy(weight), torch.from_numpy(bias), padding="same", groups=2)
    np.testing.assert_allclose(answer(graph_of(same, shape=(2, 6, 7)), flat), expected.flatten(1), 1e-5)
    line, kernel = x.reshape(4, 2, 42), generator.random((3, 2, 5), np.float32)
    conv = nir.Conv1d(42, kernel, 2, 1, 3, 1, np.zeros(3))
    expected = F.conv1d(line, torch.from_numpy(kernel), None, 2, 1, 3)
    np.testing.assert_allclose(answer(graph_of(conv, shape=(2, 42)), flat), expected.flatten(1), 1e-5)
    averages = F.avg_pool2d(x, (2, 3), (2, 1), (1, 0))
    np.testing.assert_allclose(
        answer(graph_of(nir.AvgPool2d(**pool), shape=(2, 6, 7)), flat), averages.flatten(1), 1e-5
    )
    sums = answer(graph_of(nir.SumPool2d(**pool), shape=(2, 6, 7)), flat)
    np.testing.assert_allclose(sums, averages.flatten(1) * 6, 1e-5)
    flatten = nir.Flatten({"input": np.array([2, 6, 7])}, start_dim=1, end_dim=2)
    columns = generator.random((2, 3, 42))
    linear = nir.Linear(columns)  # one matrix for each of two channels
    expected = np.einsum("coi,bci->bco", columns, line.numpy())
    np.testing.assert_allclose(answer(graph_of(flatten, linear, shape=(2, 6, 7)), flat), expected.reshape(4, 6), 1e-4)
    values = torch.linspace(-1, 1, 12).reshape(4, 3)
    scale = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(answer(graph_of(nir.Scale(scale)), values), values.numpy() * scale, 1e-6)
    threshold = nir.Threshold(np.array([0.0, 0.3, -0.2]))
    np.testing.assert_array_equal(answer(graph_of(threshold), values), values.numpy() > [0.0, 0.3, -0.2])
    affine = nir.Affine(np.eye(3) * 2, np.array([0.5, 0, -1]))
    np.testing.assert_allclose(answer(graph_of(affine), values), values.numpy() * 2 + np.array([0.5, 0, -1]), 1e-6)


@given(steps=st.lists(st.integers(0, 6), min_size=NEURONS, max_size=NEURONS), split=st.integers(1, 19))
@settings(max_examples=30, deadline=None)
def test_a_delay_by_whole_steps_whatever_the_parts_of_the_input(steps: list[int], split: int) -> None:
    # a fraction of a step is rounded
    network = from_graph(graph_of(nir.Delay((np.array(steps) + 0.3) * DT)), dt=DT)
    values = torch.rand(20, 1, NEURONS, generator=torch.Generator().manual_seed(2))
    first, state = run(network, values[:split])
    again, _ = run(network, values[split:], state)
    second, _ = run(network, values[split:], state)
    assert torch.equal(again, second)  # a state can be used again
    whole = torch.cat([first, second])[:, 0]
    for each, delay in enumerate(steps):
        expected = torch.cat([torch.zeros(delay), values[: 20 - delay, 0, each]])
        assert torch.equal(whole[:, each], expected)


def spiking(**changes: Any) -> Any:
    fields = {"tau": 0.004, "r": 4.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | changes
    return nir.LIF(**{name: np.full(NEURONS, float(value)) for name, value in fields.items()})


def recurrent_reference(node: Any, x: Tensor, weight: Any, bias: Any, lag: int) -> np.ndarray[Any, np.dtype[Any]]:
    """A LIF whose spikes come back `lag` steps later through weights; before the first step nobody fired."""
    v, found = np.zeros(NEURONS), [np.zeros(NEURONS)] * lag
    for values in x.double().numpy():
        current = values + weight @ found[-lag] + bias
        v = v + DT / node.tau * (node.v_leak - v + node.r * current)
        spikes = (v > node.v_threshold).astype(float)
        v = np.where(spikes > 0, node.v_reset, v)
        found.append(spikes)
    return np.array(found[lag:])


INPUT = torch.rand(300, NEURONS, generator=torch.Generator().manual_seed(9)) * 1.5
WEIGHT = np.array([[0.2, -0.5, 0.4], [0.3, 0.1, -0.6], [-0.4, 0.5, 0.2]])
BIAS = np.array([0.1, -0.05, 0.2])


def test_a_self_edge_and_recurrent_weights_bring_the_spikes_of_the_previous_step() -> None:
    node = spiking()
    expected = recurrent_reference(node, INPUT * 2 - 1.5, np.eye(NEURONS), 0, 1)
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_array_equal(answer(graph_of(node, edges=[("0", "0")]), INPUT * 2 - 1.5), expected)
    graph = graph_of(node, edges=[("0", "back"), ("back", "0")])
    graph.nodes["back"] = nir.Affine(WEIGHT, BIAS)
    expected = recurrent_reference(node, INPUT, WEIGHT, BIAS, 1)
    np.testing.assert_array_equal(answer(graph, INPUT), expected)
    # as a subgraph, and with the weights in a subgraph of their own
    inner = nir.NIRGraph(
        nodes={
            "in": nir.Input(np.array([NEURONS])),
            "w": nir.Affine(WEIGHT, BIAS),
            "out": nir.Output(np.array([NEURONS])),
        },
        edges=[("in", "w"), ("w", "out")],
    )
    layer = nir.NIRGraph(
        nodes={"in": nir.Input(np.array([NEURONS])), "lif": node, "w": inner, "out": nir.Output(np.array([NEURONS]))},
        edges=[("in", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "out")],
        type_check=False,
    )
    np.testing.assert_array_equal(answer(graph_of(layer), INPUT), expected)
    network = from_graph(graph_of(layer), dt=DT, reset="zero")
    assert not isinstance(network, GraphNetwork)  # a chain, for the compiled kernels
    np.testing.assert_array_equal(run(network, INPUT[:, None])[0][:, 0], expected)


@pytest.mark.parametrize("lag", [1, 4])
def test_a_delay_in_a_cycle_is_all_of_its_delay(lag: int) -> None:
    node = spiking()
    graph = graph_of(node, edges=[("0", "w"), ("w", "late"), ("late", "0")])
    graph.nodes |= {"w": nir.Linear(WEIGHT), "late": nir.Delay(np.full(NEURONS, lag * DT))}
    np.testing.assert_array_equal(answer(graph, INPUT), recurrent_reference(node, INPUT, WEIGHT, 0, lag))


def test_of_two_populations_in_a_cycle_only_the_way_back_is_delayed() -> None:
    first, second = spiking(), spiking(v_threshold=0.4)
    graph = graph_of(first, nir.Linear(WEIGHT + 0.5), second, edges=[("2", "back"), ("back", "0")])
    graph.nodes["back"] = nir.Linear(-WEIGHT)
    v, w, before, expected = np.zeros(NEURONS), np.zeros(NEURONS), np.zeros(NEURONS), []
    for values in INPUT.double().numpy():
        v = v + DT / first.tau * (-v + first.r * (values - WEIGHT @ before))
        fired = v > first.v_threshold
        v = np.where(fired, 0, v)
        w = w + DT / second.tau * (-w + second.r * ((WEIGHT + 0.5) @ fired))
        before = (w > second.v_threshold).astype(float)
        w = np.where(before > 0, 0, w)
        expected.append(before)
    assert 0.02 < np.mean(expected) < 0.98
    np.testing.assert_array_equal(answer(graph, INPUT), np.array(expected))


def test_a_cycle_without_a_neuron_or_a_delay_is_refused() -> None:
    graph = graph_of(nir.Linear(WEIGHT), edges=[("0", "back"), ("back", "0")])
    graph.nodes["back"] = nir.Scale(np.ones(NEURONS))
    with pytest.raises(ModelError, match=r"the nodes 0, back form a cycle without a neuron or a delay.*put a neuron"):
        answer(graph, INPUT)
    graph = graph_of(spiking(), edges=[("0", "a"), ("a", "b"), ("b", "a"), ("b", "0")])
    graph.nodes |= {"a": nir.Scale(np.ones(NEURONS)), "b": nir.Scale(np.ones(NEURONS))}
    with pytest.raises(ModelError, match=r"the nodes a, b form a cycle without"):
        answer(graph, INPUT)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_chain_gives_the_same_spikes_in_the_kernels_and_step_by_step(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 1000))
    reset: Reset = data.draw(st.sampled_from(["subtract", "zero", "none"]))
    generator = np.random.default_rng(seed)
    nodes: list[Any] = []
    width, layers = 4, data.draw(st.integers(1, 3))
    extra: dict[str, Any] = {}
    edges = []
    for layer in range(layers):
        out = data.draw(st.integers(1, 5))
        if data.draw(st.booleans()) or layer == 0:
            weight = generator.normal(size=(out, width)).astype(np.float32)
            nodes.append(nir.Affine(weight, generator.normal(size=out).astype(np.float32)))
            width = out
        tau = DT / generator.uniform(0.05, 1, width)
        zeros = np.zeros(width)
        nodes.append(nir.LIF(tau=tau, r=tau / DT, v_leak=zeros, v_threshold=zeros + 0.7, v_reset=zeros))
        if data.draw(st.booleans()):
            extra[f"back{layer}"] = nir.Linear(generator.normal(size=(width, width)).astype(np.float32))
            edges += [(str(len(nodes) - 1), f"back{layer}"), (f"back{layer}", str(len(nodes) - 1))]
    graph = graph_of(*nodes, shape=(4,), edges=edges)
    graph.nodes |= extra
    fast, slow = (from_graph(graph, dt=DT, reset=reset, chains=chains) for chains in (True, False))
    assert not isinstance(fast, GraphNetwork)
    assert isinstance(slow, GraphNetwork)
    spikes = random_spikes(4, 60, seed=seed)[:, None].expand(-1, 2, -1)
    assert torch.equal(run(fast, spikes)[0], run(slow, spikes)[0])


def test_a_neuron_that_leaks_above_its_threshold_fires_by_itself() -> None:
    node = spiking(v_leak=1.2)
    for reset in ("zero", "value"):
        np.testing.assert_array_equal(
            answer(graph_of(node), INPUT * 0, reset=reset), recurrent_reference_of_rest(node, len(INPUT))
        )


def recurrent_reference_of_rest(node: Any, steps: int) -> np.ndarray[Any, np.dtype[Any]]:
    v, found = node.v_leak.copy(), []
    for _ in range(steps):
        v = v + DT / node.tau * (node.v_leak - v)
        spikes = v > node.v_threshold
        v = np.where(spikes, node.v_reset, v)
        found.append(spikes)
    return np.array(found)


def test_parameters_of_one_number_or_of_any_shape_that_broadcasts() -> None:
    scalar = nir.LIF(
        **{
            name: np.array(value)
            for name, value in {"tau": 0.004, "r": 4.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}.items()
        }
    )
    np.testing.assert_array_equal(answer(graph_of(scalar), INPUT), answer(graph_of(spiking()), INPUT))
    channels = nir.Threshold(np.array([0.2, 0.8]).reshape(2, 1, 1))
    x = torch.rand(3, 2, 2, 2)
    expected = (x > torch.tensor([0.2, 0.8]).reshape(2, 1, 1)).flatten(1)
    np.testing.assert_array_equal(answer(graph_of(channels, shape=(2, 2, 2)), x.flatten(1)), expected)
    with pytest.raises(
        ModelError, match=r"node 0 \(Threshold\): threshold is of shape \[5\], the input of shape \[3\]"
    ):
        answer(graph_of(nir.Threshold(np.ones(5))), INPUT)


@pytest.mark.parametrize(
    ("nodes", "shape", "said"),
    [
        ([nir.Linear(np.ones((2, 4)))], (3,), r"node 0 \(Linear\): it takes an input of shape \[4\], but gets \[3\]"),
        ([nir.Linear(np.ones((2, 8)))], (2, 2, 2), r"must have 1 axes, not shape \[2, 2, 2\]; put a Flatten before it"),
        ([nir.Conv2d(None, np.ones((1, 3, 2, 2)), 1, 0, 1, 1, np.zeros(1))], (2, 4, 4), "takes 3 channels"),
        ([nir.Conv2d((5, 5), np.ones((1, 2, 2, 2)), 1, 0, 1, 1, np.zeros(1))], (2, 4, 4), "input_shape is"),
        ([nir.Conv2d(None, np.ones((1, 2, 9, 2)), 1, 0, 1, 1, np.zeros(1))], (2, 4, 4), "kernel .* does not fit"),
        ([nir.Conv2d(None, np.ones((1, 2, 2, 2)), 1, 0, 0, 1, np.zeros(1))], (2, 4, 4), "dilation must be 2 whole"),
        ([nir.Conv2d(None, np.ones((1, 2, 2, 2)), 2, "same", 1, 1, np.zeros(1))], (2, 4, 4), "padding 'same' with"),
        ([nir.AvgPool2d(np.array([2, 2]), np.array([1, 1]), np.array([2, 2]))], (1, 4, 4), "more than half"),
        ([nir.Flatten({"input": np.array([9])}, 0)], (2, 4), r"takes an input of shape \[9\], but gets \[2, 4\]"),
        ([nir.Flatten({"input": None}, 3)], (2, 4), "start_dim 3 and end_dim -1 do not fit"),
        ([nir.Delay(np.array([-1.0, 0, 0]))], (3,), "delay must not be negative"),
        ([nir.Delay(np.array([1e30, 0, 0]))], (3,), "at most .* values can be kept"),
        ([nir.Scale(np.array([1j, 0, 0]))], (3,), "scale must be numbers, not complex128"),
        ([nir.Output(np.array([7])), nir.Scale(np.ones(3))], (3,), "one output, found 2"),
    ],
)
def test_shapes_and_values_that_do_not_fit(nodes: list[Any], shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        answer(graph_of(*nodes, shape=shape), torch.zeros(1, math.prod(shape)))


def test_nodes_that_are_not_between_input_and_output_are_named() -> None:
    def with_node(edges: list[tuple[str, str]]) -> Any:
        graph = graph_of(spiking(), edges=edges)
        graph.nodes["odd"] = nir.Scale(np.ones(NEURONS))
        return graph

    for edges, said in [
        ([], "node odd gets nothing from the input; connect it, or remove it"),
        ([("odd", "0")], "node odd gets nothing from the input"),
        ([("0", "odd")], "node odd does not lead to the output"),
        ([("0", "odd"), ("odd", "gone")], "an edge names the node gone, which is not there"),
        ([("0", "odd"), ("0", "odd"), ("odd", "0")], "the edge 0 -> odd stands twice"),
        ([("0", "odd"), ("odd", "input")], "has an edge on its other side"),
    ]:
        with pytest.raises(ModelError, match=said):
            answer(with_node(edges), INPUT)
    mixed = graph_of(nir.Linear(np.ones((2, NEURONS))), nir.Linear(np.ones((NEURONS, 2))), edges=[("input", "1")])
    with pytest.raises(ModelError, match=r"node 1 \(Linear\).*takes|node 1 gets shape"):
        answer(mixed, INPUT)


@pytest.mark.parametrize("reset", ["value", "subtract_multiple"])
def test_a_graph_of_any_nodes_is_written_and_read_again(tmp_path: Path, reset: Reset) -> None:
    generator = np.random.default_rng(2)
    graph = graph_of(
        nir.Conv2d((6, 6), generator.normal(size=(3, 2, 3, 3)), 1, 1, 1, 1, np.zeros(3)),
        nir.IF(np.full((3, 6, 6), 1.0), np.full((3, 6, 6), 1.0)),
        nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        nir.Flatten({"input": np.array([3, 3, 3])}, 0),
        nir.Delay(np.full(27, 2.0)),
        nir.Linear(generator.normal(size=(4, 27))),
        nir.CubaLIF(
            **{
                k: np.full(4, v)
                for k, v in {"tau_syn": 2.0, "tau_mem": 5.0, "r": 5.0, "v_leak": 0.0, "v_threshold": 1.0}.items()
            }
        ),
        shape=(2, 6, 6),
        edges=[("6", "6")],
    )
    graph.nodes["output"] = nir.Output(np.array([4]))
    network = from_graph(graph, dt=1.0, reset=reset, method="exponential")
    save(network, tmp_path / "net.nir")
    again = load(tmp_path / "net.nir")
    assert again.verified
    assert (again.shape, again.dt, again.reset, again.method) == ((2, 6, 6), 1.0, reset, "exponential")
    spikes = random_spikes(72, 100, seed=4)[:, None]
    assert run(network, spikes)[0].any()
    assert torch.equal(run(again, spikes)[0], run(network, spikes)[0])
    # the package itself reads what is written
    assert set(nir.read(tmp_path / "net.nir").nodes) == set(graph.nodes)


def snntorch_answers(net: nn.Sequential, spikes: Tensor, shape: tuple[int, ...]) -> Tensor:
    for part in net:
        if isinstance(part, snntorch.SpikingNeuron):
            part.reset_mem()
    with torch.no_grad():
        outputs = [net(step.reshape(1, *shape)) for step in spikes]
    return torch.stack([(o[0] if isinstance(o, tuple) else o).flatten() for o in outputs])


KEPT: dict[str, Any] = {"init_hidden": True}
ZERO: dict[str, Any] = KEPT | {"reset_mechanism": "zero", "reset_delay": False}
SNNTORCH: dict[str, tuple[tuple[int, ...], list[Any]]] = {
    "fc": ((6,), [lambda: nn.Linear(6, 5), lambda: snntorch.Leaky(beta=0.8, **KEPT)]),
    "fc_flatten_output": (
        (2, 3),
        [nn.Flatten, lambda: nn.Linear(6, 5), lambda: snntorch.Leaky(beta=0.8, init_hidden=True, output=True)],
    ),
    "no_leak": ((6,), [lambda: nn.Linear(6, 5), lambda: snntorch.Leaky(beta=1.0, **KEPT)]),
    "cuba": ((6,), [lambda: nn.Linear(6, 5), lambda: snntorch.Synaptic(alpha=0.6, beta=0.8, **KEPT)]),
    "cuba_zero": ((6,), [lambda: nn.Linear(6, 5), lambda: snntorch.Synaptic(alpha=0.6, beta=0.8, **ZERO)]),
    "recurrent": ((6,), [lambda: nn.Linear(6, 5), lambda: snntorch.RLeaky(beta=0.8, linear_features=5, **KEPT)]),
    "recurrent_zero": ((6,), [lambda: nn.Linear(6, 5), lambda: snntorch.RLeaky(beta=0.8, linear_features=5, **ZERO)]),
    "recurrent_first": (
        (6,),
        [
            lambda: snntorch.RLeaky(beta=0.8, linear_features=6, **KEPT),
            lambda: nn.Linear(6, 5),
            lambda: snntorch.Leaky(beta=0.7, **KEPT),
        ],
    ),
    "recurrent_one_to_one": (
        (6,),
        [lambda: nn.Linear(6, 5), lambda: snntorch.RLeaky(beta=0.8, all_to_all=False, V=torch.rand(5), **KEPT)],
    ),
    "recurrent_cuba": (
        (6,),
        [lambda: nn.Linear(6, 5), lambda: snntorch.RSynaptic(alpha=0.6, beta=0.8, linear_features=5, **KEPT)],
    ),
    "conv": (
        (2, 8, 8),
        [
            lambda: nn.Conv2d(2, 4, 3, padding=1),
            lambda: snntorch.Leaky(beta=0.8, **KEPT),
            lambda: nn.AvgPool2d(2),
            lambda: nn.Conv2d(4, 3, 3, bias=False),
            lambda: snntorch.Leaky(beta=0.7, **KEPT),
            nn.Flatten,
            lambda: nn.Linear(12, 5),
            lambda: snntorch.Leaky(beta=0.9, **KEPT),
        ],
    ),
}


def snntorch_network(name: str) -> tuple[tuple[int, ...], nn.Sequential]:
    """Return one of the networks with the shape of its input; its weights are large enough that all layers fire."""
    shape, makers = SNNTORCH[name]
    torch.manual_seed(12)
    net = nn.Sequential(*(make() for make in makers))
    with torch.no_grad():
        for part in net:
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.weight.mul_(3)
    return shape, net


@pytest.mark.parametrize("name", SNNTORCH)
def test_what_snntorch_exports_answers_spike_for_spike(tmp_path: Path, name: str) -> None:
    shape, net = snntorch_network(name)
    threshold = net[-1].threshold
    export_snntorch(net, tmp_path / "net.nir", input_shape=shape)
    assert net[-1].threshold is threshold  # the network is as it was
    network = load(tmp_path / "net.nir")
    assert network.verified
    assert network.shape == shape
    spikes = random_spikes(math.prod(shape), 300, seed=5)
    expected = snntorch_answers(net, spikes, shape)
    assert 0.01 < expected.mean() < 0.99
    assert torch.equal(run(network, spikes[:, None])[0][:, 0], expected)
    nir.read(tmp_path / "net.nir")  # other programs use the package


def test_subtraction_at_once_is_exported_where_snntorch_does_it_in_that_order(tmp_path: Path) -> None:
    def net(weight: float) -> nn.Sequential:
        layers = nn.Sequential(nn.Linear(2, 2, bias=False), snntorch.Leaky(beta=0.8, reset_delay=False, **KEPT))
        layers[0].weight.data = torch.eye(2) * weight
        return layers

    export_snntorch(net(0.7), tmp_path / "net.nir", input_shape=(2,))
    network = load(tmp_path / "net.nir")
    assert (network.reset, network.verified) == ("subtract_immediate", True)
    with pytest.raises(ModelError, match=r"answers otherwise than in snnTorch.*reset_delay=True"):
        export_snntorch(net(2.7), tmp_path / "other.nir", input_shape=(2,))
    assert not (tmp_path / "other.nir").exists()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([nn.Dropout(), snntorch.Leaky(beta=0.9, **KEPT)], "module: 0 is Dropout, which snnTorch cannot export"),
        ([snntorch.Alpha(alpha=0.9, beta=0.8, **KEPT)], "module: 0 is Alpha"),
        ([snntorch.Leaky(beta=0.9)], "module: 0 must keep its own state"),
        ([snntorch.Synaptic(alpha=0.9, beta=0.9, reset_mechanism="zero", **KEPT)], "set reset_delay=False"),
        ([snntorch.RSynaptic(alpha=0.9, beta=0.9, linear_features=2, **ZERO)], "set reset_delay=True"),
        ([nn.AvgPool2d(2, padding=1), snntorch.Leaky(beta=0.9, **KEPT)], "module: 0 has padding"),
        ([nn.Conv2d(1, 1, 3, padding_mode="circular")], "padding mode circular"),
    ],
)
def test_what_snntorch_cannot_export_is_named(parts: list[nn.Module], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        snntorch_graph(nn.Sequential(*parts), (2,))


async def test_a_region_answers_with_the_networks_input_shape_and_with_potentials(tmp_path: Path) -> None:
    shape, net = snntorch_network("conv")
    export_snntorch(net, tmp_path / "conv.nir", input_shape=shape)
    readout = graph_of(nir.Linear(WEIGHT), neuron("LI"))
    readout.nodes["output"] = nir.Output(np.array([NEURONS]))
    nir.write(tmp_path / "readout.nir", readout)
    spikes = random_spikes(128, 40, seed=6)
    low = random_spikes(NEURONS, 30, seed=7)
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(load_program(f"nir:{tmp_path / 'conv.nir'}"), "eye")
        await brain.start(load_program(f"nir:{tmp_path / 'readout.nir'}"), "readout", parameters={"dt_s": DT})
        seen = await brain.query("eye", Prompt(arrays={"x": SpikePacket(spikes.T.numpy().astype(np.uint8)).encode()}))
        read = await brain.query("readout", Prompt(arrays={"x": SpikePacket(low.T.numpy().astype(np.uint8)).encode()}))
    expected = snntorch_answers(net, spikes, shape).T.numpy()
    assert expected.any()
    np.testing.assert_array_equal(seen.spikes, expected)
    potentials = answer(readout, low).T
    np.testing.assert_array_equal(read.spikes, potentials)
    means = potentials.mean(1, dtype=float)
    assert read.content == {"steps": 30, "verified": False, "means": means.tolist()}
    assert read.best is not None
    assert read.best.text == str(means.argmax())
    softmax = np.exp(means) / np.exp(means).sum()
    assert [c.probability for c in read.candidates] == pytest.approx(sorted(softmax, reverse=True))


def test_the_state_of_another_network_is_refused() -> None:
    one, two = (from_graph(graph_of(*nodes), dt=DT, reset="value") for nodes in ([spiking()], [spiking(), spiking()]))
    _, state = run(one, INPUT[:, None])
    with pytest.raises(ModelError, match="state is of another network"):
        run(two, INPUT[:, None], state)
    chain = from_graph(graph_of(spiking()), dt=DT, reset="zero")
    with pytest.raises(ModelError, match="state is of another network"):
        run(chain, INPUT[:, None], state)
    with pytest.raises(ModelError, match="keeps no outputs of its nodes"):
        run(chain, INPUT[:, None], record="0")
    with pytest.raises(ModelError, match="there is no node gone; the nodes are 0, input, output"):
        run(one, INPUT[:, None], record="gone")
    assert torch.equal(run(one, INPUT[:, None], record="0")[0], run(one, INPUT[:, None])[0])
    with pytest.raises(ModelError, match="spikes must be finite"):
        run(one, INPUT[:, None] * math.nan)
    assert nir_models.DT == 1e-4

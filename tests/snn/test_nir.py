"""NIR files: round trips with other frameworks, the golden trace, and a file that runs as a region."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from torch import Tensor, nn

from brainnet import Prompt, SpikePacket
from brainnet.errors import AllocationError, ConfigError, ModelError
from brainnet.launcher.describe import allocation
from brainnet.node import load_program
from brainnet.snn.neurons.lif import LIFParams, Reset
from brainnet.snn.nir import models as nir_models
from brainnet.snn.nir.file import read
from brainnet.snn.nir.models import Dense, Layer, LIFNetwork, load, random_spikes, run, save
from brainnet.snn.nir.snntorch import export_snntorch
from brainnet.testing import MemoryBrain
from tests.snn.golden.nir_frameworks import written_network

nir = pytest.importorskip("nir", reason="needs brainnet[nir]")
GOLDEN = Path(__file__).parent / "golden"
RESETS: list[Reset] = ["subtract", "zero", "none"]


def snntorch_net(reset: Reset = "subtract", *, recurrent: bool = False, beta: float = 0.83) -> nn.Sequential:
    torch.manual_seed(4)
    middle = snntorch.Leaky(beta=torch.linspace(0.2, 0.95, 10), init_hidden=True, reset_mechanism=reset)
    last: nn.Module = snntorch.Leaky(beta=beta, threshold=0.6, init_hidden=True, reset_mechanism=reset)
    if recurrent:
        last = snntorch.RLeaky(
            beta=beta,
            threshold=0.6,
            linear_features=5,
            init_hidden=True,
            reset_mechanism=reset,
            reset_delay=reset == "subtract",
        )
    net = nn.Sequential(nn.Linear(6, 10), middle, nn.Linear(10, 5, bias=False), last)
    with torch.no_grad():
        for weight in net.parameters():
            if weight.shape in ((10, 6), (5, 10)):
                weight.mul_(2)
    return net


def layers_of(network: nir_models.Network) -> tuple[Layer, ...]:
    """The layers of a network that is a chain."""
    assert isinstance(network, LIFNetwork)
    return network.layers


def snntorch_spikes(net: nn.Sequential, spikes: Tensor) -> Tensor:
    for part in net:
        if isinstance(part, snntorch.SpikingNeuron):
            part.reset_mem()
    with torch.no_grad():
        return torch.stack([net(step) for step in spikes])


def our_network(reset: Reset = "subtract", *, recurrent: bool = True) -> LIFNetwork:
    generator = torch.Generator().manual_seed(5)

    def dense(inputs: int, outputs: int) -> Dense:
        weight, bias = (torch.randn(outputs, n, generator=generator) for n in (inputs, 1))
        return Dense(weight, bias[:, 0])

    feedback = Dense(torch.randn(4, 4, generator=generator)) if recurrent else None
    layers = (
        Layer(LIFParams(torch.linspace(0, 0.95, 9), 0.8, reset), dense(6, 9)),
        Layer(LIFParams(torch.full((4,), 0.7), 1.3, reset), dense(9, 4), feedback),
    )
    return LIFNetwork(layers, 6, 4, dt=1e-3)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_a_network_made_in_snntorch_answers_spike_for_spike(tmp_path: Path, reset: Reset, recurrent: bool) -> None:
    net = snntorch_net(reset, recurrent=recurrent)
    export_snntorch(net, tmp_path / "net.nir")
    network = load(tmp_path / "net.nir")
    assert network.verified
    assert (network.reset, network.dt) == (reset, 1e-4)
    spikes = random_spikes(6, 400, seed=9)[:, None].expand(-1, 3, -1)
    ours, _ = run(network, spikes)
    assert 0.02 < ours.mean() < 0.98
    assert torch.equal(ours, snntorch_spikes(net, spikes))


@pytest.mark.parametrize("recurrent", [False, True])
def test_what_snntorch_writes_itself_can_be_read(recurrent: bool) -> None:
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(2)
    threshold = torch.full((5,), 0.5)
    neuron: nn.Module = snntorch.Leaky(torch.full((5,), 0.8), threshold, init_hidden=True, reset_mechanism="zero")
    if recurrent:
        neuron = snntorch.RLeaky(
            0.8, 1.0, linear_features=5, threshold=0.5, init_hidden=True, reset_mechanism="zero", reset_delay=False
        )
    net = nn.Sequential(nn.Linear(6, 5), neuron)
    network = nir_models.from_graph(export_to_nir(net, torch.rand(6)), dt=nir_models.DT, reset="zero")
    spikes = random_spikes(6, 300, seed=6)[:, None]
    ours, _ = run(network, spikes)
    assert 0.02 < ours.mean() < 0.98
    assert torch.equal(ours, snntorch_spikes(net, spikes))


@pytest.mark.parametrize("recurrent", [False, True])
def test_snntorch_reads_what_is_written_here(recurrent: bool) -> None:
    from snntorch.import_nir import import_from_nir

    network = our_network("zero", recurrent=recurrent)
    # snnTorch has its own fixed dt, and one decay per layer
    layers = tuple(
        Layer(LIFParams(torch.tensor(0.8), 1.0, "zero"), layer.dense, layer.recurrent) for layer in network.layers
    )
    network = LIFNetwork(layers, 6, 4, dt=nir_models.DT)
    theirs = import_from_nir(nir_models.to_graph(network))
    spikes = random_spikes(6, 200, seed=3)
    ours = run(network, spikes[:, None])[0][:, 0]
    assert 0.02 < ours.mean() < 0.98
    answers, state = [], None
    with torch.no_grad():
        for step in spikes:
            answer, state = theirs(step[None], state)
            answers.append(answer[0])
    assert torch.equal(torch.stack(answers), ours)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_written_and_read_again_it_is_the_same_network(tmp_path: Path, reset: Reset, recurrent: bool) -> None:
    network = our_network(reset, recurrent=recurrent)
    save(network, tmp_path / "net.nir")
    again = load(tmp_path / "net.nir")
    assert again.verified
    assert (again.dt, again.reset, again.inputs, again.outputs) == (1e-3, reset, 6, 4)
    spikes = random_spikes(6, 300, seed=1)[:, None]
    assert torch.equal(run(again, spikes)[0], run(network, spikes)[0])
    for old, new in zip(network.layers, layers_of(again), strict=True):
        assert torch.equal(old.neurons.beta, new.neurons.beta)
        assert old.dense is not None
        assert new.dense is not None
        assert torch.equal(old.dense.weight, new.dense.weight)


def test_neurons_that_do_not_leak_are_written_and_read_again(tmp_path: Path) -> None:
    beta = torch.tensor([1.0, 0.9, 1 - 2**-24])
    network = LIFNetwork((Layer(LIFParams(beta), Dense(torch.eye(3) * 0.3)),), 3, 3, dt=1e-3)
    save(network, tmp_path / "net.nir")
    again = load(tmp_path / "net.nir")
    assert torch.equal(layers_of(again)[0].neurons.beta, beta)
    np.testing.assert_allclose(
        nir.read(tmp_path / "net.nir").nodes["0_lif"].tau, [1e-3 * 2**24, 1e-2, 1e-3 * 2**24], 1e-6
    )
    for wrong in (1.01, -0.1):
        network = LIFNetwork((Layer(LIFParams(torch.full((3,), wrong)), Dense(torch.eye(3))),), 3, 3, dt=1e-3)
        with pytest.raises(ModelError, match="beta must be 0 to 1, got"):
            save(network, tmp_path / "net.nir")


def test_two_halves_with_the_state_carried_over_equal_the_whole() -> None:
    network, spikes = our_network(), random_spikes(6, 50)[:, None]
    whole, _ = run(network, spikes)
    first, state = run(network, spikes[:20])
    second, _ = run(network, spikes[20:], state)
    assert torch.equal(torch.cat([first, second]), whole)


def test_euler_steps_of_the_differential_equation(tmp_path: Path) -> None:
    # tau dv/dt = (v_leak - v) + R I, as the NIR paper writes it, stepped in plain numpy
    dt, tau, r, v_leak, theta, weight = 1e-3, np.array([0.01, 0.03]), np.array([3.0, 2.0]), 0.4, 1.0, np.eye(2)
    lif = nir.LIF(tau=tau, r=r, v_leak=np.full(2, v_leak), v_threshold=np.full(2, theta), v_reset=np.zeros(2))
    graph = nir.NIRGraph.from_list(nir.Linear(weight=weight), lif)
    network = nir_models.from_graph(graph, dt=dt, reset="zero")
    currents = np.random.default_rng(2).random((200, 2)) * 3
    v, expected = np.full(2, v_leak), []
    for current in currents:
        v = v + dt / tau * ((v_leak - v) + r * current)
        fired = v > theta
        v = np.where(fired, 0.0, v)
        expected.append(fired)
    save(network, tmp_path / "net.nir", torch.from_numpy(currents))
    for same in (network, load(tmp_path / "net.nir")):
        spikes = run(same, torch.from_numpy(currents).float()[:, None])[0][:, 0]
        assert np.array(expected).any(0).all()
        assert np.array_equal(spikes.numpy() > 0, np.array(expected))


def changed(path: Path, change: Any) -> Path:
    graph = nir.read(path)
    change(graph)
    nir.write(path, graph)
    return path


def test_a_file_whose_replay_differs_is_refused_with_the_first_step(tmp_path: Path) -> None:
    save(our_network(), tmp_path / "net.nir")

    def flip(graph: Any) -> None:
        graph.metadata["brainnet"]["golden_output"][17, 2] ^= 1
        graph.metadata["brainnet"]["golden_output"][30, 1] ^= 1

    with pytest.raises(ModelError, match=r"net\.nir: replay .*first at step 17, in 1 of 4 .*first is 2"):
        load(changed(tmp_path / "net.nir", flip))


@pytest.mark.parametrize("what", ["weight", "reset", "threshold"])
def test_a_changed_network_or_convention_is_noticed(tmp_path: Path, what: str) -> None:
    save(our_network(), tmp_path / "net.nir")

    def change(graph: Any) -> None:
        if what == "weight":
            graph.nodes["0_dense"].weight[:] *= 1.2
        elif what == "reset":
            graph.metadata["brainnet"]["reset"] = "zero"
        else:
            graph.nodes["0_lif"].v_threshold[:] = 1.0

    with pytest.raises(ModelError, match="first at step"):
        load(changed(tmp_path / "net.nir", change))


def test_files_of_other_programs_need_dt_and_reset(tmp_path: Path) -> None:
    nir.write(tmp_path / "plain.nir", nir_models.to_graph(our_network()))
    with pytest.raises(ModelError, match="does not say dt"):
        load(tmp_path / "plain.nir")
    with pytest.raises(ModelError, match="does not say reset"):
        load(tmp_path / "plain.nir", dt=1e-3)
    network = load(tmp_path / "plain.nir", dt=1e-3, reset="subtract")
    assert not network.verified
    assert load(tmp_path / "plain.nir", default_dt=1e-3, reset="subtract").dt == 1e-3
    spikes = random_spikes(6)[:, None]
    assert torch.equal(run(network, spikes)[0], run(our_network(), spikes)[0])


def lif(**values: Any) -> Any:
    fields: dict[str, Any] = {"tau": 0.01, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | values
    return nir.LIF(**{name: np.broadcast_to(np.float64(value), 3).copy() for name, value in fields.items()})


def graph_of(*nodes: Any) -> Any:
    return nir.NIRGraph.from_list(*nodes)


def two_inputs() -> Any:
    graph = graph_of(nir.Linear(weight=np.eye(3)), lif())
    graph.nodes["second"] = nir.Input(input_type={"input": np.array([3])})
    return graph


def test_a_gain_of_one_leaves_the_weights_as_they_are() -> None:
    for error, unchanged in ((0.95e-6, True), (1.05e-6, False)):
        graph = graph_of(nir.Linear(weight=np.eye(3)), lif(r=10 * (1 + error)))
        dense = layers_of(nir_models.from_graph(graph, dt=1e-3, reset="zero"))[0].dense
        assert dense is not None
        assert torch.equal(dense.weight, torch.eye(3)) == unchanged


def test_a_decay_that_rounding_put_out_of_range_is_in_range() -> None:
    node = lif(tau=1e4, r=1e7)
    node.metadata["beta"] = np.full(3, 1 + 5e-7)
    network = nir_models.from_graph(graph_of(nir.Linear(weight=np.eye(3)), node), dt=1e-3, reset="zero")
    assert layers_of(network)[0].neurons.beta.tolist() == [1.0] * 3


def test_the_default_golden_input() -> None:
    expected = torch.rand(64, 6, generator=torch.Generator().manual_seed(0)) < 0.3
    assert torch.equal(random_spikes(6), expected.float())


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (lambda: graph_of(nir.Linear(weight=np.eye(3)), lif(v_reset=-1.0)), r"node lif \(LIF\): v_reset is not 0"),
        (lambda: graph_of(nir.Linear(weight=np.eye(3)), lif(tau=1e-4)), r"node lif \(LIF\): tau must be at least dt"),
        (lambda: graph_of(nir.Linear(weight=np.eye(3)), lif(tau=-1.0)), r"node lif \(LIF\): tau must be above 0"),
        (lambda: graph_of(nir.Linear(weight=np.eye(3)), lif(r=np.nan)), r"node lif \(LIF\): r holds NaN"),
        (lambda: graph_of(nir.Linear(weight=np.full((3, 3), np.inf)), lif()), r"node linear \(Linear\): weight holds"),
        (two_inputs, "one input, found 2"),
    ],
)
def test_graphs_that_cannot_be_run_are_refused(graph: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        nir_models.from_graph(graph(), dt=1e-3, reset="zero")


def test_conventions_without_a_counterpart_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    leaky = snntorch.Leaky(beta=0.9, init_hidden=True)
    for net in [(nn.Linear(2, 2),), (leaky,), (nn.Linear(2, 2), leaky, nn.Linear(2, 2))]:
        with pytest.raises(ModelError, match="begin with Linear and end with neurons"):
            export_snntorch(nn.Sequential(*net), path)
    for neuron, said in [
        (snntorch.Leaky(beta=0.9), "init_hidden"),
        (snntorch.Leaky(beta=0.9, init_hidden=True, reset_delay=False), "reset_delay=True"),
        (snntorch.RLeaky(beta=0.9, linear_features=2, init_hidden=True, reset_mechanism="zero"), "reset_delay=False"),
        (snntorch.Synaptic(alpha=0.5, beta=0.9, init_hidden=True), "is Synaptic"),
        (snntorch.Leaky(beta=0.9, threshold=torch.ones(2) * torch.tensor([1, 2]), init_hidden=True), "one threshold"),
        (snntorch.Leaky(beta=0.9, init_hidden=True, state_quant=lambda x: x), "state_quant"),
        (nn.ReLU(), "is ReLU"),
    ]:
        with pytest.raises(ModelError, match=said):
            export_snntorch(nn.Sequential(nn.Linear(2, 2), neuron), path)


def test_arguments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    network, path = our_network(), tmp_path / "net.nir"
    for shape in [(5, 1, 7), (0, 1, 6), (5, 6)]:
        with pytest.raises(ModelError, match=r"spikes must be \[steps >= 1, batch, 6\]"):
            run(network, torch.zeros(shape))
    state = run(network, torch.zeros(5, 1, 6))[1]
    assert isinstance(state, tuple)
    with pytest.raises(ModelError, match="state is of 1 layers"):
        run(network, torch.zeros(5, 1, 6), state[:1])
    silent = Layer(LIFParams(torch.tensor(0.5), 1e6), Dense(torch.eye(6)))
    with pytest.raises(ModelError, match="holds no spike"):
        save(LIFNetwork((silent,), 6, 6, 1e-3), path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(ModelError, match="not a readable NIR file"):
        load(path)
    save(network, path)
    with pytest.raises(ModelError, match=r"dt 0\.5 contradicts"):
        load(path, dt=0.5)
    assert load(path, default_dt=0.5).dt == network.dt


def test_spikingjelly_reads_and_writes_the_same_network() -> None:
    pytest.importorskip("spikingjelly", reason="a second framework, not among the dependencies")
    exchange = importlib.import_module("spikingjelly.activation_based.nir_exchange")
    neuron = importlib.import_module("spikingjelly.activation_based.neuron")
    params = LIFParams(torch.tensor(0.8), 1.0, "zero")
    layers = tuple(Layer(params, layer.dense) for layer in our_network(recurrent=False).layers)
    spikes = random_spikes(6, 200)
    network = LIFNetwork(layers, 6, 4, dt=1e-4)
    reads = exchange.import_from_nir(nir_models.to_graph(network), dt=1e-4)
    writes = nn.Sequential()
    for layer in layers:
        assert layer.dense is not None
        outputs, inputs = layer.dense.weight.shape
        linear = nn.Linear(inputs, outputs)
        linear.load_state_dict({"weight": layer.dense.weight, "bias": layer.dense.bias})
        writes.extend([linear, neuron.LIFNode(tau=5.0, decay_input=False)])
    again = nir_models.from_graph(exchange.export_to_nir(writes, torch.rand(1, 6), dt=1e-4), dt=1e-4, reset="zero")
    answers, state = [], None
    with torch.no_grad():
        for step in spikes:
            answer, state = reads(step[None], state)
            answers.append((answer[0], writes(step[None])[0]))
    ours = run(network, spikes[:, None])[0][:, 0]
    assert 0.02 < ours.mean() < 0.98
    assert torch.equal(torch.stack([read for read, _ in answers]), ours)
    assert torch.equal(torch.stack([written for _, written in answers]), ours)
    assert torch.equal(run(again, spikes[:, None])[0][:, 0], ours)


FRAMEWORK_FILES = sorted(path.stem for path in GOLDEN.glob("*.nir"))


def test_there_is_a_file_of_each_kind_of_network() -> None:
    assert {name.partition("_")[0] for name in FRAMEWORK_FILES} == {"norse", "sinabs", "spikingjelly"}
    assert len(FRAMEWORK_FILES) == 11


@pytest.mark.parametrize("name", FRAMEWORK_FILES)
def test_other_frameworks_answered_the_same(name: str) -> None:
    """Files of golden/nir_frameworks.py: what they wrote, and what they made of what is written here."""
    told = read(GOLDEN / f"{name}.nir").metadata["brainnet"]
    network = load(GOLDEN / f"{name}.nir")
    assert network.verified
    ours = run(network, torch.from_numpy(told["golden_input"])[:, None])[0][:, 0]
    assert ours.any()
    if network.emits == "values":
        np.testing.assert_allclose(ours.numpy(), told["golden_output"], rtol=0, atol=1e-6)
    else:
        np.testing.assert_array_equal(ours.numpy(), told["golden_output"])
    assert name.partition("_")[0] in told["made_by"]


def test_what_is_written_is_what_another_framework_read() -> None:
    stored, written = read(GOLDEN / "spikingjelly_read.nir"), nir_models.to_graph(written_network())
    assert sorted(stored.edges) == sorted(written.edges)
    assert set(stored.nodes) == set(written.nodes)
    for name, node in written.nodes.items():
        np.testing.assert_equal(stored.nodes[name].to_dict(), node.to_dict())


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Path, nn.Sequential]:
    net = snntorch_net(recurrent=True)
    export_snntorch(net, tmp_path / "net.nir")
    return tmp_path / "net.nir", net


async def test_a_nir_file_runs_as_a_region_spike_for_spike(
    tmp_path: Path, exported: tuple[Path, nn.Sequential]
) -> None:
    path, net = exported
    spikes = random_spikes(6, 100, seed=8)
    packet = SpikePacket(spikes.T.numpy().astype(np.uint8)).encode()
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(load_program(f"nir:{path}"), "reflex")
        partials = [await brain.query("reflex", Prompt(arrays={"spikes": packet})) for _ in range(2)]
        none = await brain.query("reflex", Prompt(text="hello"))
        narrow = await brain.query("reflex", Prompt(arrays={"x": SpikePacket(np.ones((2, 4), np.uint8)).encode()}))
        broken = await brain.query("reflex", Prompt(arrays={"x": b"?"}))
    expected = snntorch_spikes(net, spikes[:, None])[:, 0].T.numpy()
    for partial in partials:  # every prompt starts from rest
        np.testing.assert_array_equal(partial.spikes, expected)
        assert partial.content == {"counts": expected.sum(1).astype(int).tolist(), "steps": 100, "verified": True}
        assert partial.best is not None
        assert partial.best.text == str(expected.sum(1).argmax())
        assert partial.confidence == pytest.approx(expected.sum(1).max() / expected.sum())
    assert "named 'spikes'" in str(none.error)
    assert "[6, steps >= 1], got [2, 4]" in str(narrow.error)
    assert "no SpikePacket" in str(broken.error)


def test_an_allocation_finds_the_file_beside_it(tmp_path: Path, exported: tuple[Path, nn.Sequential]) -> None:
    brain = tmp_path / "brain.yaml"
    brain.write_text("version: 1\nnodes:\n  - {id: reflex, program: 'nir:net.nir'}\n")
    assert allocation.load(brain).nodes[0].program == f"nir:{exported[0]}"
    brain.write_text("version: 1\nnodes:\n  - {id: reflex, program: 'nir:gone.nir'}\n")
    with pytest.raises(AllocationError, match=r"gone\.nir does not exist"):
        allocation.load(brain)
    with pytest.raises(ConfigError, match="does not exist"):
        load_program(f"nir:{tmp_path / 'gone.nir'}")

"""A NIR file as a population: equal to one long run, however it is cut."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from brainnet.errors import BrainnetError, ModelError
from brainnet.simulation.delivery import StaticSynapses
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.incoming import Incoming
from brainnet.simulation.models.base import EXCITATORY, INHIBITORY
from brainnet.simulation.models.registry import model_class
from brainnet.simulation.population import Population
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes
from brainnet.snn.neurons.lif import LIFParams
from brainnet.snn.nir import models as nir_models
from brainnet.snn.nir.graph import import_nir
from brainnet.snn.nir.models import Dense, Layer, LIFNetwork
from brainnet.snn.nir.snntorch import export_snntorch
from tests.simulation.models import build, check_cuts, run, same, setting

pytest.importorskip("nir", reason="needs brainnet[nir]")
INPUTS, OUTPUTS = 33, 7


def network(*, recurrent: bool) -> LIFNetwork:
    """Odd widths, so that the rows of a window are not aligned in memory."""
    generator = torch.Generator().manual_seed(5)

    def dense(inputs: int, outputs: int) -> Dense:
        weight, bias = (torch.randn(outputs, n, generator=generator) for n in (inputs, 1))
        return Dense(weight, bias[:, 0])

    feedback = Dense(torch.randn(OUTPUTS, OUTPUTS, generator=generator)) if recurrent else None
    layers = (
        Layer(LIFParams(torch.linspace(0, 0.95, 101), 0.8, "subtract"), dense(INPUTS, 101)),
        Layer(LIFParams(torch.full((OUTPUTS,), 0.7), 1.3, "subtract"), dense(101, OUTPUTS), feedback),
    )
    return LIFNetwork(layers, INPUTS, OUTPUTS, dt=1e-3)


@pytest.fixture(scope="module", params=["chain", "recurrent", "graph"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("nir") / f"{request.param}.nir"
    kind = network(recurrent=request.param == "recurrent")
    if request.param == "graph":  # a reset that the compiled chain has not
        graph = nir_models.to_graph(kind)
        spikes = nir_models.random_spikes(INPUTS)
        general = nir_models.from_graph(graph, dt=1e-3, reset="subtract_immediate", chains=False)
        output = nir_models.run(general, spikes[:, None])[0][:, 0]
        nir_models.annotate(graph, dt=1e-3, reset="subtract_immediate", golden_input=spikes, golden_output=output)
        import_nir().write(str(path), graph)
    else:
        nir_models.save(kind, path)
    return path


@settings(max_examples=12)
@given(cuts=st.lists(st.integers(1, 79), max_size=9), resume=st.integers(0, 79))
def test_windows_give_the_spikes_of_one_long_run(file: Path, cuts: list[int], resume: int) -> None:
    spikes = check_cuts(lambda: build(f"nir:{file}", OUTPUTS), 80, 1.0, cuts, resume)
    assert 0 < spikes.count < 80 * OUTPUTS


def test_the_spikes_are_those_of_the_library(file: Path) -> None:
    spikes = nir_models.random_spikes(INPUTS, 200)
    model = build(f"nir:{file}", OUTPUTS)
    expected = nir_models.run(nir_models.load(file), spikes[:, None])[0][:, 0]
    sums = {EXCITATORY: (spikes.numpy() * UNIT).astype(np.int64), INHIBITORY: np.zeros((200, INPUTS), np.int64)}
    assert np.array_equal(run(model, sums, 200, [3, 50]).dense(OUTPUTS).T, expected.numpy())


def test_an_exported_snntorch_network_runs_on(tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Linear(INPUTS, 20),
        snntorch.Leaky(beta=0.9, init_hidden=True),
        nn.Linear(20, OUTPUTS),
        snntorch.Leaky(beta=0.8, init_hidden=True),
    )
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(3)
    export_snntorch(net, tmp_path / "net.nir", nir_models.random_spikes(INPUTS))
    x = nir_models.random_spikes(INPUTS, 300, seed=8)
    for part in net:
        if isinstance(part, snntorch.SpikingNeuron):
            part.reset_mem()
    with torch.no_grad():
        expected = torch.cat([net(step[None]) for step in x])
    model = build("nir:net.nir", setting(OUTPUTS, 0.1), tmp_path)
    sums = {EXCITATORY: (x.numpy() * UNIT).astype(np.int64), INHIBITORY: np.zeros((300, INPUTS), np.int64)}
    spikes = run(model, sums, 300, range(0, 300, 7))
    assert spikes.count > 100
    assert np.array_equal(spikes.dense(OUTPUTS).T, expected.numpy())


def test_a_population_has_the_inputs_of_the_file(file: Path) -> None:
    kind = model_class(f"nir:{file}")
    assert kind.shape(kind.Parameters(), setting()) == (INPUTS, OUTPUTS)
    rows = Rows(
        np.arange(INPUTS + 1), np.arange(INPUTS, dtype=np.int32), np.array([UNIT], np.int32), np.array([2], np.int32)
    )
    sources = nir_models.random_spikes(INPUTS, 60).numpy().T

    def population(plastic: bool = False) -> Population:
        incoming = Incoming("x->e", "x", 0, 2)
        if plastic:
            incoming.plastic = Mock()
        else:
            incoming.static = StaticSynapses(rows)
        return Population(build(f"nir:{file}", OUTPUTS), [incoming], 60)

    def spikes(window: int) -> Spikes:
        target, fired = population(), []
        for at in range(0, 60, window):
            target.receive(target.incoming[0], Spikes.of_dense(at, sources[:, at : at + window]))
            fired.append(target.advance(window))
        return Spikes.joined(fired)

    assert same(spikes(1), spikes(2))
    with pytest.raises(ModelError, match="x->e is plastic"):
        population(plastic=True)


def test_a_clock_of_another_step_is_an_error_unless_it_is_meant(file: Path) -> None:
    with pytest.raises(ModelError, match=r"steps of 1 ms, and the clock of 0\.1 ms"):
        build(f"nir:{file}", setting(OUTPUTS, 0.1))
    assert build(f"nir:{file}", setting(OUTPUTS, 0.1), ignore_dt=True).inputs == INPUTS


def test_a_size_that_does_not_fit(file: Path) -> None:
    with pytest.raises(ModelError, match=f"has {OUTPUTS} outputs, and the size is 3"):
        build(f"nir:{file}", 3)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "text.nir").write_text("no HDF5")
    for name, says in (("text.nir", "text.nir"), ("none.nir", "does not exist")):
        with pytest.raises(BrainnetError, match=says):
            build(f"nir:{name}", OUTPUTS, tmp_path)

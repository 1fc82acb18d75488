"""NIR files that other frameworks wrote or read, each with the spikes that the framework itself answered.

`python tests/snn/golden/nir_frameworks.py` (with this project, Norse 1.1.0 and spikingjelly 2.0.0) writes beside it:
norse.nir and spikingjelly.nir, networks made and exported there; spikingjelly_read.nir, a network exported by this
project whose golden trace is what spikingjelly answered after importing it. Versions are in the metadata.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainnet.snn.neurons.lif import LIFParams
from brainnet.snn.nir import models as nir_models
from brainnet.snn.nir.models import Dense, Layer, LIFNetwork

HERE = Path(__file__).parent
SIZES = ((6, 9), (9, 4))
THRESHOLD = 0.5


def projections(seed: int = 30) -> list[nn.Linear]:
    """Dense layers with weights strong enough to make neurons fire."""
    torch.manual_seed(seed)
    linears = [nn.Linear(*size) for size in SIZES]
    with torch.no_grad():
        for linear in linears:
            linear.weight.mul_(3)
    return linears


def written_network() -> LIFNetwork:
    """The network that spikingjelly is given to read."""
    first, second = (Dense(linear.weight.detach(), linear.bias.detach()) for linear in projections())
    layers = (
        Layer(LIFParams(torch.full((9,), 0.8), THRESHOLD, "zero"), first),
        Layer(LIFParams(torch.full((4,), 0.6), THRESHOLD, "zero"), second),
    )
    return LIFNetwork(layers, 6, 4, dt=nir_models.DT)


def spikingjelly() -> tuple[Any, Tensor]:
    exchange, neuron = (
        importlib.import_module(f"spikingjelly.activation_based.{part}") for part in ("nir_exchange", "neuron")
    )
    first, second = projections()
    cells = [
        neuron.LIFNode(tau=tau, v_threshold=THRESHOLD, decay_input=decays)
        for tau, decays in ((5.0, False), (2.5, True))
    ]
    net = nn.Sequential(first, cells[0], second, cells[1])
    graph = exchange.export_to_nir(net, torch.rand(1, 6), dt=nir_models.DT)
    with torch.no_grad():
        return graph, torch.stack([net(step[None])[0] for step in nir_models.random_spikes(6)])


def spikingjelly_read() -> tuple[Any, Tensor]:
    exchange = importlib.import_module("spikingjelly.activation_based.nir_exchange")
    graph = nir_models.to_graph(written_network())
    net = exchange.import_from_nir(graph, dt=nir_models.DT)
    return graph, stepped(net, nir_models.random_spikes(6))


def norse() -> tuple[Any, Tensor]:
    library, box = importlib.import_module("norse.torch"), importlib.import_module("norse.torch.module.lif_box")
    parts: list[nn.Module] = []
    for linear, rate in zip(projections(), (200.0, 400.0), strict=True):
        neurons = torch.ones(linear.out_features)
        params = box.LIFBoxParameters(tau_mem_inv=rate * neurons, v_leak=0.1 * neurons, v_th=0.2 * neurons)
        parts += [linear, box.LIFBoxCell(params, dt=1e-3)]
    net = library.SequentialState(*parts)
    # its exporter writes tau as dt / tau_mem_inv, which is a time constant for a dt of 1
    graph = library.to_nir(net, torch.rand(6), dt=1.0)
    return graph, stepped(net, nir_models.random_spikes(6))


def stepped(net: Any, spikes: Tensor) -> Tensor:
    """Answers [T, outputs] of a network that is handed its state."""
    answers, state = [], None
    with torch.no_grad():
        for step in spikes:
            answer, state = net(step[None], state)
            answers.append(answer[0])
    return torch.stack(answers)


def write(name: str, graph: Any, answers: Tensor, framework: str, dt: float) -> None:
    given = nir_models.random_spikes(6)
    nir_models.annotate(graph, dt=dt, reset="zero", golden_input=given, golden_output=answers)
    made_by = ", ".join(f"{package} {version(package)}" for package in (framework, "nir", "nirtorch"))
    graph.metadata[nir_models.KEY]["made_by"] = made_by
    importlib.import_module("nir").write(str(HERE / f"{name}.nir"), graph)


if __name__ == "__main__":
    write("norse", *norse(), "norse", 1e-3)
    write("spikingjelly", *spikingjelly(), "spikingjelly", nir_models.DT)
    write("spikingjelly_read", *spikingjelly_read(), "spikingjelly", nir_models.DT)

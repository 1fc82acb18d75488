"""NIR files that other frameworks wrote or read, each with what the framework itself answered.

`python tests/snn/golden/nir_frameworks.py FRAMEWORK` runs with this project and one of Norse 1.1.0, sinabs 3.1.3 and
spikingjelly 2.0.0, and writes beside it: networks made and exported there; `spikingjelly_read.nir`, a network exported
by this project whose golden trace is what spikingjelly answered after importing it; and `FRAMEWORK_paper.npz`, what the
framework makes of the networks of the NIR paper. Versions are in the metadata.
"""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainnet.snn.neurons.lif import LIFParams
from brainnet.snn.nir import models as nir_models
from brainnet.snn.nir.conventions import Method, Reset
from brainnet.snn.nir.models import Dense, Layer, LIFNetwork

HERE = Path(__file__).parent
SIZES = ((6, 9), (9, 4))
THRESHOLD = 0.5
IMAGE = (2, 8, 8)


def projections(seed: int = 30) -> list[nn.Linear]:
    """Dense layers with weights strong enough to make neurons fire."""
    torch.manual_seed(seed)
    return [strong(nn.Linear(*size)) for size in SIZES]


def strong(layer: Any, factor: float = 3) -> Any:
    """The layer with larger weights, so that neurons fire."""
    with torch.no_grad():
        layer.weight.mul_(factor)
    return layer


def written_network() -> LIFNetwork:
    """The network that spikingjelly is given to read."""
    first, second = (Dense(linear.weight.detach(), linear.bias.detach()) for linear in projections())
    layers = (
        Layer(LIFParams(torch.full((9,), 0.8), THRESHOLD, "zero"), first),
        Layer(LIFParams(torch.full((4,), 0.6), THRESHOLD, "zero"), second),
    )
    return LIFNetwork(layers, 6, 4, dt=nir_models.DT)


def images(steps: int = 64) -> Tensor:
    """Random spikes [steps, 1, *IMAGE]."""
    return nir_models.random_spikes(int(np.prod(IMAGE)), steps).reshape(steps, 1, *IMAGE)


def braille_input(steps: int = 256) -> Tensor:
    """Random spikes [steps, 12], about as many as a touch gives."""
    return nir_models.random_spikes(12, steps, rate=0.1, seed=7)


def events(steps: int = 100) -> Tensor:
    """Random spikes [steps, 2, 34, 34], about as many as an event camera gives."""
    return nir_models.random_spikes(2 * 34 * 34, steps, rate=0.03, seed=8).reshape(steps, 2, 34, 34)


def spikingjelly() -> None:
    exchange, neuron = (
        importlib.import_module(f"spikingjelly.activation_based.{part}") for part in ("nir_exchange", "neuron")
    )
    first, second = projections()
    cells = [
        neuron.LIFNode(tau=tau, v_threshold=THRESHOLD, decay_input=decays)
        for tau, decays in ((5.0, False), (2.5, True))
    ]
    net = nn.Sequential(first, cells[0], second, cells[1])
    given = nir_models.random_spikes(6)
    graph = exchange.export_to_nir(net, torch.rand(1, 6), dt=nir_models.DT)
    write("spikingjelly", graph, given, kept(net, given[:, None]), "zero", nir_models.DT)

    graph = nir_models.to_graph(written_network())
    read = exchange.import_from_nir(graph, dt=nir_models.DT)
    write("spikingjelly_read", graph, given, stepped(read, given[:, None]), "zero", nir_models.DT)

    torch.manual_seed(31)
    net = nn.Sequential(
        strong(nn.Linear(6, 9)),
        neuron.CUBALIFNode(c_decay=0.6, v_decay=0.8, v_threshold=THRESHOLD, v_reset=-0.2),
        strong(nn.Linear(9, 4, bias=False)),
        neuron.ParametricLIFNode(init_tau=3.0, v_threshold=THRESHOLD, v_reset=0.1),
    )
    graph = exchange.export_to_nir(net, torch.rand(1, 6), dt=nir_models.DT)
    write("spikingjelly_cuba", graph, given, kept(net, given[:, None]), "value", nir_models.DT)

    torch.manual_seed(32)
    net = nn.Sequential(
        strong(nn.Conv2d(2, 4, 3, padding=1, bias=False)),
        neuron.IFNode(v_threshold=1.5),
        nn.AvgPool2d(2),
        strong(nn.Conv2d(4, 3, 3, stride=1, dilation=1)),
        neuron.LIFNode(tau=2.0),
        nn.Flatten(),
        strong(nn.Linear(12, 5)),
        neuron.IFNode(),
    )
    graph = exchange.export_to_nir(net, torch.rand(1, *IMAGE), dt=nir_models.DT)
    write("spikingjelly_conv", graph, images().flatten(1), kept(net, images()), "value", nir_models.DT)


def norse() -> None:
    library, box = importlib.import_module("norse.torch"), importlib.import_module("norse.torch.module.lif_box")
    integrator = importlib.import_module("norse.torch.module.leaky_integrator_box")

    def lif(shape: tuple[int, ...], rate: float, threshold: float = 0.2) -> Any:
        full = torch.ones(shape)
        values = {"tau_mem_inv": rate * full, "v_leak": 0.1 * full, "v_th": threshold * full}
        return box.LIFBoxCell(box.LIFBoxParameters(**values), dt=1e-3)

    given = nir_models.random_spikes(6)
    first, second = projections()
    net = library.SequentialState(first, lif((9,), 200.0), second, lif((4,), 400.0))
    # its exporter writes tau as dt / tau_mem_inv, which is a time constant for a dt of 1
    graph = library.to_nir(net, torch.rand(6), dt=1.0)
    write("norse", graph, given, stepped(net, given[:, None]), "zero", 1e-3)

    # the readout is a membrane potential
    readout = integrator.LIBoxCell(
        integrator.LIBoxParameters(tau_mem_inv=torch.full((4,), 100.0), v_leak=torch.full((4,), 0.3)), dt=1e-3
    )
    net = library.SequentialState(first, lif((9,), 200.0), second, readout)
    graph = library.to_nir(net, torch.rand(6), dt=1.0)
    write("norse_readout", graph, given, stepped(net, given[:, None]), "zero", 1e-3)

    torch.manual_seed(33)
    net = library.SequentialState(
        strong(nn.Conv2d(2, 4, 3, padding=1)),
        lif((4, 8, 8), 300.0),
        strong(nn.Conv2d(4, 3, 3, stride=2)),
        lif((3, 3, 3), 500.0),
    )
    graph = library.to_nir(net, torch.rand(1, *IMAGE), dt=1.0)
    sizes = iter([(8, 8), (8, 8)])
    for node in graph.nodes.values():
        # left out by the exporter, and the package nir cannot write nothing
        if type(node).__name__ == "Conv2d":
            node.input_shape = next(sizes)
    write("norse_conv", graph, images().flatten(1), stepped(net, images()), "zero", 1e-3)

    # its integrate-and-fire cells have no time step: a dt of 1
    cells = importlib.import_module("norse.torch.module.iaf")
    net = library.SequentialState(
        first,
        cells.IAFCell(cells.IAFParameters(v_th=torch.ones(9))),
        second,
        cells.IAFCell(cells.IAFParameters(v_th=torch.ones(4))),
    )
    graph = library.to_nir(net, torch.rand(6))
    write("norse_if", graph, given, stepped(net, given[:, None]), "zero", 1.0)

    # LIFCell adds its input to the current as it is; the exporter leaves out the gain tau_syn / dt that this is in NIR
    cell, values = importlib.import_module("norse.torch.module.lif"), torch.ones(9)
    parameters = cell.LIFParameters(
        tau_mem_inv=200 * values, tau_syn_inv=300 * values, v_leak=0 * values, v_th=0.4 * values, v_reset=0 * values
    )
    net = library.SequentialState(first, cell.LIFCell(parameters, dt=1e-3))
    graph = library.to_nir(net, torch.rand(6), dt=1.0)
    graph.nodes["1"].w_in = 1 / (300 * 1e-3) * np.ones(9, np.float32)
    write("norse_cuba", graph, given, stepped(net, given[:, None]), "zero", 1e-3)

    resets = importlib.import_module("norse.torch.functional.reset")
    answers: dict[str, Any] = {}
    for name, reset in (("bias_zero", resets.reset_value), ("noBias_subtract", resets.reset_subtract)):
        graph = importlib.import_module("nir").read(HERE / "nir_paper" / f"braille_noDelay_{name}.nir")
        net = library.from_nir(graph, dt=nir_models.DT, reset_method=reset)
        answers[name] = stepped(net, braille_input()[:, None]).numpy().astype(np.uint8)
    np.savez_compressed(HERE / "norse_paper.npz", **answers, made_by=made_by("norse"))


def sinabs() -> None:
    layers, exchange = importlib.import_module("sinabs.layers"), importlib.import_module("sinabs.nir")
    torch.manual_seed(34)
    net: Any = nn.Sequential(
        strong(nn.Conv2d(2, 4, 3, padding=1, bias=False)),
        layers.IAFSqueeze(batch_size=1),
        layers.SumPool2d(2),
        nn.Conv2d(4, 3, 3),
        layers.IAFSqueeze(batch_size=1, spike_threshold=torch.tensor(2.0)),
        nn.Flatten(),
        nn.Linear(12, 5, bias=False),
        layers.IAFSqueeze(batch_size=1),
    )
    given = images()[:, 0]
    with torch.no_grad():
        net(given)  # the exporter takes the shapes of the layers from their last run
        graph = exchange.to_nir(net, given)
        graph.infer_types()  # without its shapes it cannot be written
        for part in (1, 4, 7):
            net[part].reset_states()
        answers = net(given)
    write("sinabs_conv", graph, given.flatten(1), answers, "subtract_multiple", 1.0)

    # time constants are in steps; the layers decay by exp(-1 / tau)
    first, second = projections(35)
    parts = [
        strong(first),
        layers.LIFSqueeze(tau_mem=torch.full((9,), 6.0), spike_threshold=torch.full((9,), 0.5), batch_size=1),
        second,
        layers.ExpLeakSqueeze(tau_mem=torch.full((4,), 10.0), batch_size=1, norm_input=True),
    ]
    net = nn.Sequential(*parts)
    given = nir_models.random_spikes(6)
    with torch.no_grad():
        net(given)
        graph = exchange.to_nir(net, given)
        for part in (1, 3):
            net[part].reset_states()
        answers = net(given)
    write("sinabs_readout", graph, given, answers, "subtract_multiple", 1.0, "exponential")

    graph = importlib.import_module("nir").read(HERE / "nir_paper" / "cnn_sinabs.nir")
    found: dict[str, Any] = {}
    for name in ("bounded", "free"):
        net = exchange.from_nir(graph, batch_size=1)
        cells = [part for part in net.modules() if isinstance(part, layers.IAFSqueeze)]
        for cell in cells:
            # the reader of sinabs sets a lower bound of the potential, which NIR does not have
            cell.min_v_mem = cell.min_v_mem if name == "bounded" else None
        with torch.no_grad():
            output = net(events())
        found[name] = (output[0] if isinstance(output, tuple) else output).numpy().astype(np.uint8)
    np.savez_compressed(HERE / "sinabs_paper.npz", **found, made_by=made_by("sinabs"))


def kept(net: Any, steps: Tensor) -> Tensor:
    """Answers [T, outputs] of a network that keeps its state."""
    with torch.no_grad():
        return torch.stack([net(step)[0] for step in steps]).flatten(1)


def stepped(net: Any, steps: Tensor) -> Tensor:
    """Answers [T, outputs] of a network that is handed its state."""
    answers, state = [], None
    with torch.no_grad():
        for step in steps:
            answer, state = net(step, state)
            answers.append(answer[0].flatten())
    return torch.stack(answers)


def made_by(framework: str) -> str:
    """The versions that run."""
    return ", ".join(f"{package} {version(package)}" for package in (framework, "nir", "nirtorch", "torch"))


def write(
    name: str, graph: Any, given: Tensor, answers: Tensor, reset: Reset, dt: float, method: Method = "euler"
) -> None:
    nir_models.annotate(graph, dt=dt, reset=reset, golden_input=given, golden_output=answers, method=method)
    graph.metadata[nir_models.KEY]["made_by"] = made_by(name.partition("_")[0])
    importlib.import_module("nir").write(str(HERE / f"{name}.nir"), graph)
    print(name, f"mean output {answers.mean():.3f}")


if __name__ == "__main__":
    {"norse": norse, "sinabs": sinabs, "spikingjelly": spikingjelly}[sys.argv[1]]()

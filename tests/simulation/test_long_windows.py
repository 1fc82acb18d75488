"""A snnTorch network that is fed for a minute, as a NIR file and as a torch module: windows change no spike.

It runs in a network of populations, behind synapses with a delay, in windows of many lengths. In the middle it is
saved, made anew, and goes on. The reference is one long run: the NIR file in one window, and the first steps of the
module itself, called by torch step by step.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from numpy.typing import NDArray
from torch import nn

from brainnet.connectome import build, load
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import EXCITATORY, INHIBITORY
from brainnet.simulation.network import Network
from brainnet.simulation.spikes import Spikes
from brainnet.snn.nir.snntorch import export_snntorch
from tests.simulation import models

pytest.importorskip("nir", reason="needs brainnet[nir]")
INPUTS, OUTPUTS = 9, 5
CALLED = 1_000
"""Steps for which torch is called directly."""
DELAY = 1_000
WINDOWS = (1, 2, 7, 64, 333, 999, 1_000, 20)

NET = """\
import snntorch
from torch import nn


def Net(recurrent):
    options = {"init_hidden": True, "surrogate_disable": True}
    first = snntorch.RLeaky(0.9, linear_features=12, **options) if recurrent else snntorch.Leaky(0.9, **options)
    return nn.Sequential(nn.Linear(9, 12), first, nn.Linear(12, 5), snntorch.Leaky(0.8, threshold=0.3, **options))
"""
CONNECTOME = """\
version: 1
seed: 11
clock: {dt_ms: 1}
populations:
  - {id: source, model: poisson, size: 9, parameters: {rate_hz: 100}}
  - {id: file, model: "nir:net.nir", parameters: {ignore_dt: true}}
  - {id: module, model: "torch:net.py:Net", checkpoint: net.pt, parameters: {arguments: {recurrent: RECURRENT}}}
projections:
  - {from: source, to: file, synapses: {connect: one_to_one, weight: 1, delay_ms: 1000}}
  - {from: source, to: module, synapses: {connect: one_to_one, weight: 1, delay_ms: 1000}}
"""


@pytest.mark.parametrize(("recurrent", "steps"), [(False, 60_000), (True, 6_000)])
def test_windows_have_the_spikes_of_one_long_run(tmp_path: Path, recurrent: bool, steps: int) -> None:
    net = written(tmp_path, recurrent)
    connectome = load(tmp_path / "net.yaml")
    windows = itertools.cycle(WINDOWS)
    middle = DELAY + steps // 2 + 17
    first, second = build(connectome), build(connectome)
    fired = in_windows(first, middle, windows)
    for name, population in second.populations.items():
        population.load(first.populations[name].save())
    for name, parts in in_windows(second, DELAY + steps - middle, windows).items():
        fired[name] += parts
    spikes = {name: Spikes.joined(parts) for name, parts in fired.items()}

    fed = np.zeros((DELAY + steps, INPUTS), np.int64)
    fed[DELAY:] = spikes["source"].dense(INPUTS).T[:steps]
    assert fed[DELAY:].mean() == pytest.approx(0.1, rel=0.05)  # 100 Hz
    exported = models.build(f"nir:{tmp_path}/net.nir", OUTPUTS, ignore_dt=True)
    whole = models.run(exported, {EXCITATORY: fed * UNIT, INHIBITORY: 0 * fed}, DELAY + steps).dense(OUTPUTS).T
    rates = whole[DELAY:].mean(0)
    assert ((rates > 0.001) & (rates < 0.5)).all()
    assert np.array_equal(called(net, fed[: DELAY + CALLED]), whole[: DELAY + CALLED])
    for target in ("file", "module"):
        assert np.array_equal(spikes[target].dense(OUTPUTS).T, whole)


def written(folder: Path, recurrent: bool) -> nn.Module:
    """Write the network as a NIR file by snnTorch's own exporter, as a module, and as a checkpoint, and return it."""
    (folder / "net.py").write_text(NET)
    (folder / "net.yaml").write_text(CONNECTOME.replace("RECURRENT", str(recurrent).lower()))
    namespace: dict[str, Any] = {}
    exec(NET, namespace)
    torch.manual_seed(4)
    net: nn.Module = namespace["Net"](recurrent)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            weight.mul_(2 if name.endswith("weight") else 0)
    torch.save(net.state_dict(), folder / "net.pt")
    export_snntorch(net, folder / "net.nir", input_shape=(INPUTS,))
    return net


def in_windows(network: Network, steps: int, windows: itertools.cycle[int]) -> dict[str, list[Spikes]]:
    fired: dict[str, list[Spikes]] = {name: [] for name in network.populations}
    while steps:
        part = min(steps, next(windows))
        for name, spikes in network.advance(part).items():
            fired[name].append(spikes)
        steps -= part
    return fired


def called(net: nn.Module, inputs: NDArray[Any]) -> NDArray[Any]:
    """The spikes of the module, called by torch step by step from the beginning."""
    for part in net.modules():
        if isinstance(part, snntorch.SpikingNeuron):
            part.reset_mem()
    with torch.no_grad():
        return torch.cat([net(step[None]) for step in torch.from_numpy(inputs).float()]).numpy()

"""Sparsity and synaptic operations against counting by hand, and against NeuroBench where it is installed."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import pytest
import snntorch
import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.neurons.lif import LIF
from brainnet.snn.synops import (
    Meter,
    activation_sparsity,
    connection_sparsity,
    footprint,
    layer_operations,
    parameter_count,
)


def sparse(*shape: int, seed: int = 0, graded: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = (torch.rand(shape, generator=generator) < 0.4).float()
    return values * torch.randn(shape, generator=generator) if graded else values


def pruned(module: nn.Module) -> Any:
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.mul_(sparse(*parameter.shape, seed=number + 5))
    return module


def test_operations_of_a_linear_layer_counted_one_by_one() -> None:
    torch.manual_seed(0)
    layer, inputs = pruned(nn.Linear(6, 4)), sparse(3, 2, 6)
    by_hand = sum(
        int(inputs[t, b, i] != 0 and layer.weight[o, i] != 0)
        for t, b, i, o in itertools.product(range(3), range(2), range(6), range(4))
    )
    assert 0 < by_hand < 3 * 2 * 6 * 4
    assert layer_operations(layer, inputs) == (by_hand, 3 * 2 * 6 * 4)
    for batched in (inputs[0, 0], inputs[0, :1]):
        assert layer_operations(layer, batched) == (
            int((batched != 0).double() @ (layer.weight != 0).sum(0).double()),
            24,
        )


def test_operations_of_a_convolution_counted_one_by_one() -> None:
    torch.manual_seed(0)
    layer, inputs = pruned(nn.Conv1d(2, 3, 3, stride=2, padding=1)), sparse(1, 2, 7)
    effective = dense = 0
    for out, position, channel, tap in itertools.product(range(3), range(4), range(2), range(3)):
        at = position * 2 + tap - 1
        if 0 <= at < 7:  # padding makes no operation
            dense += 1
            effective += int(inputs[0, channel, at] != 0 and layer.weight[out, channel, tap] != 0)
    assert layer_operations(layer, inputs) == (effective, dense)


@pytest.mark.parametrize("layer", [nn.Conv2d(2, 4, 3, groups=2, dilation=2), nn.Conv3d(1, 2, 2)])
def test_dense_operations_of_a_convolution_are_its_arithmetic(layer: Any) -> None:
    sizes = [2, layer.in_channels, *[8] * (layer.weight.ndim - 2)]
    inputs = torch.ones(sizes)
    outputs = layer(inputs).numel()
    assert layer_operations(layer, inputs) == (outputs * layer.weight[0].numel(),) * 2


class Net(nn.Module):
    """Graded input, spikes after it; keeps what it saw for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.neurons = nn.Linear(6, 8), LIF(torch.full((8,), 2.0))
        self.second, self.last = nn.Linear(8, 3, bias=False), LIF(torch.full((3,), 2.0))

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        self.hidden, _ = self.neurons(self.first(inputs))
        self.out, _ = self.last(self.second(self.hidden))
        out: Tensor = self.out
        return out


def test_the_meter_adds_up_accumulates_and_multiplications_per_sample() -> None:
    torch.manual_seed(1)
    net = pruned(Net())
    inputs = sparse(10, 4, 6, graded=True) * 3
    with Meter(net, samples=4) as meter, torch.no_grad():
        net(inputs)
        first, second = (layer_operations(*p) for p in ((net.first, inputs), (net.second, net.hidden)))
        net(inputs.sign())  # -1, 0 and 1 are spikes
        signed, after = (layer_operations(*p) for p in ((net.first, inputs), (net.second, net.hidden)))
    net(inputs)  # no longer metered
    operations = meter.synaptic_operations
    assert operations.Effective_MACs == first[0] / 4
    assert operations.Effective_ACs == (second[0] + signed[0] + after[0]) / 4
    assert operations.Dense == 2 * (10 * 4 * (6 * 8 + 8 * 3)) / 4
    assert operations.Effective_ACs > 0


def test_activation_sparsity_is_over_all_neurons_and_steps() -> None:
    torch.manual_seed(1)
    net = Net()
    with Meter(net, samples=4) as meter, torch.no_grad():
        net(sparse(10, 4, 6) * 3)
    silent = sum(float((x == 0).sum()) for x in (net.hidden, net.out))
    assert meter.activation_sparsity == silent / (10 * 4 * (8 + 3))
    assert 0 < meter.activation_sparsity < 1
    assert activation_sparsity([torch.tensor([0, 1, 0]), torch.tensor([-1])]) == 0.5
    assert activation_sparsity([]) == 0.0


def test_static_metrics_and_the_report() -> None:
    net = Net()
    with torch.no_grad():
        net.first.weight[:, :3] = 0
    assert connection_sparsity(net) == (8 * 3) / (8 * 6 + 8 * 3)
    parameters = 8 * 6 + 8 + 8 + 8 * 3 + 3
    assert parameter_count(net) == parameters
    assert footprint(net) == 4 * parameters
    net.register_buffer("count", torch.zeros(2, dtype=torch.float64))
    report = Meter(net, samples=1).report()
    assert report["footprint"] == 4 * parameters + 16
    assert report["synaptic_operations"] == {"Effective_MACs": 0, "Effective_ACs": 0, "Dense": 0}
    assert report["connection_sparsity"] == connection_sparsity(net)
    assert report["activation_sparsity"] == 0
    assert report["parameter_count"] == parameters


def test_input_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelError, match="samples must be at least 1"):
        Meter(Net(), samples=0)
    with pytest.raises(ModelError, match="Linear or a convolution, not ReLU"):
        layer_operations(nn.ReLU(), torch.ones(3))
    with pytest.raises(ModelError, match="at least one Linear or convolution"):
        connection_sparsity(nn.ReLU())
    for shape in [(3, 5), ()]:
        with pytest.raises(ModelError, match=r"inputs must be \[\.\.\., 6\]"):
            layer_operations(nn.Linear(6, 2), torch.ones(shape))
    for shape in [(2, 3, 7), (3, 7), (1, 2, 3, 7), (7,)]:
        with pytest.raises(ModelError, match=r"inputs must be what Conv1d\(2, 4, .* takes, not of shape"):
            layer_operations(nn.Conv1d(2, 4, 3), torch.ones(shape))
    assert layer_operations(nn.Conv1d(2, 4, 3), torch.ones(2, 7)) == (2 * 3 * 4 * 5,) * 2


@pytest.mark.parametrize("graded", [False, True])
def test_neurobench_counts_the_same(graded: bool) -> None:
    pytest.importorskip("neurobench", reason="the original metrics, not among the dependencies")
    metrics = importlib.import_module("neurobench.metrics.workload")
    static = importlib.import_module("neurobench.metrics.static")
    model = importlib.import_module("neurobench.models").SNNTorchModel
    torch.manual_seed(0)

    def net(**last: Any) -> nn.Sequential:
        torch.manual_seed(0)
        return pruned(  # type: ignore[no-any-return]
            nn.Sequential(
                nn.Conv2d(1, 3, 3, padding=1),
                snntorch.Leaky(beta=0.9, init_hidden=True),
                nn.Flatten(),
                nn.Linear(3 * 25, 4),
                snntorch.Leaky(beta=0.8, init_hidden=True, **last),
            )
        )

    theirs, ours = model(net(output=True)), net()
    data = sparse(2, 7, 1, 5, 5, seed=3, graded=graded)
    theirs.register_hooks()
    found = theirs(data)
    operations = metrics.SynapticOperations()(theirs, found, (data, None))
    with Meter(ours, samples=2) as meter, torch.no_grad():
        for step in data.unbind(1):
            ours(step)
    assert meter.synaptic_operations._asdict() == operations
    assert bool(meter.synaptic_operations.Effective_MACs) == graded
    assert meter.activation_sparsity == metrics.ActivationSparsity()(theirs, found, (data, None))
    assert round(meter.connection_sparsity, 4) == static.ConnectionSparsity()(theirs)
    assert footprint(ours) <= static.Footprint()(theirs)
    assert parameter_count(ours) == static.ParameterCount()(theirs)

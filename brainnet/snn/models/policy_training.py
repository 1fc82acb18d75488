"""The spiking policy of `brainnet.snn.models.policy` as a torch module for training, and its non-spiking twin."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from brainnet.snn.models.policy import Layer, PolicyShape, SpikingPolicy
from brainnet.snn.neurons.lif import LIFParams, lif_sequence


class TrainableSpikingPolicy(nn.Module):
    """Features [..., inputs] -> actions before clipping [..., outputs]; `to_policy` gives the numpy twin.

    The first layer is drawn wide (weights doubled, biases uniform in [-1, 1]) so that from the start its neurons fire
    at different levels of their drive, which is what the rate code's resolution rests on.
    """

    def __init__(self, inputs: int, hidden: list[int], outputs: int, shape: PolicyShape) -> None:
        super().__init__()
        self.hidden, self.readout = _layers(inputs, hidden, outputs)
        self.shape = shape
        first = self.hidden[0]
        assert isinstance(first, nn.Linear)
        with torch.no_grad():
            first.weight.mul_(2.0)
            first.bias.uniform_(-1.0, 1.0)

    def forward(self, features: Tensor) -> Tensor:
        params = LIFParams(beta=torch.tensor(self.shape.beta), threshold=self.shape.threshold, reset="subtract")
        rates = []
        first, *rest = self.hidden
        drive = first(features)
        currents = drive.expand(self.shape.steps, *drive.shape)  # the features do not change from step to step
        while True:
            spikes, _ = lif_sequence(currents, None, params)
            rates.append(spikes.mean(0))
            if len(rates) == len(self.hidden):
                break
            currents = rest[len(rates) - 1](spikes)
        actions: Tensor = self.readout(torch.cat(rates, dim=-1))
        return actions

    def to_policy(self) -> SpikingPolicy:
        """The numpy policy with this module's weights."""
        layers = [_layer(layer) for layer in self.hidden]
        return SpikingPolicy(layers, _layer(self.readout), self.shape)


class RectifiedPolicy(nn.Module):
    """The non-spiking twin: the same layers and readout, rectified units in place of spiking neurons."""

    def __init__(self, inputs: int, hidden: list[int], outputs: int) -> None:
        super().__init__()
        self.hidden, self.readout = _layers(inputs, hidden, outputs)

    def forward(self, features: Tensor) -> Tensor:
        activities = []
        for layer in self.hidden:
            features = torch.relu(layer(features))
            activities.append(features)
        actions: Tensor = self.readout(torch.cat(activities, dim=-1))
        return actions


def _layers(inputs: int, hidden: list[int], outputs: int) -> tuple[nn.ModuleList, nn.Linear]:
    """The linear maps of a policy; the readout sees every hidden layer."""
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([inputs, *hidden])), nn.Linear(sum(hidden), outputs)


def _layer(linear: nn.Module) -> Layer:
    assert isinstance(linear, nn.Linear)
    return Layer(linear.weight.detach().numpy(), linear.bias.detach().numpy())

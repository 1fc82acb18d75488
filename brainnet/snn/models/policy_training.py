"""The spiking policy of `brainnet.snn.models.policy` as a torch module for training, and a ReLU baseline."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from brainnet.snn.models.policy import Layer, PolicyShape, SpikingPolicy
from brainnet.snn.neurons.lif import LIFParams, lif_sequence


class TrainableSpikingPolicy(nn.Module):
    """Features [..., inputs] -> actions before clipping [..., outputs].

    The initial weights of the first layer are doubled, and its biases are uniform in [-1, 1], so that its neurons start
    to fire at different levels of their input. The resolution of the rate code depends on that.
    """

    def __init__(self, inputs: int, hidden: list[int], outputs: int, shape: PolicyShape) -> None:
        super().__init__()
        self.hidden, self.readout = _linear_layers(inputs, hidden, outputs)
        self.shape = shape
        first = self.hidden[0]
        assert isinstance(first, nn.Linear)
        with torch.no_grad():
            first.weight.mul_(2.0)
            first.bias.uniform_(-1.0, 1.0)

    def forward(self, features: Tensor) -> Tensor:
        """Return the actions [..., outputs] before clipping."""
        params = LIFParams(beta=torch.tensor(self.shape.beta), threshold=self.shape.threshold, reset="subtract")
        rates = []
        first, *rest = self.hidden
        drive = first(features)
        currents = drive.expand(self.shape.steps, *drive.shape)  # a view: the features are constant over the steps
        while True:
            spikes, _ = lif_sequence(currents, None, params)
            rates.append(spikes.mean(0))
            if len(rates) == len(self.hidden):
                break
            currents = rest[len(rates) - 1](spikes)
        actions: Tensor = self.readout(torch.cat(rates, dim=-1))
        return actions

    def to_policy(self) -> SpikingPolicy:
        """Return the numpy policy with the weights of this module."""
        layers = [_to_numpy(layer) for layer in self.hidden]
        return SpikingPolicy(layers, _to_numpy(self.readout), self.shape)


class ReLUPolicy(nn.Module):
    """The same layers and readout with ReLU units instead of spiking neurons, as a baseline."""

    def __init__(self, inputs: int, hidden: list[int], outputs: int) -> None:
        super().__init__()
        self.hidden, self.readout = _linear_layers(inputs, hidden, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Return the actions [..., outputs] before clipping."""
        activities = []
        for layer in self.hidden:
            features = torch.relu(layer(features))
            activities.append(features)
        actions: Tensor = self.readout(torch.cat(activities, dim=-1))
        return actions


def _linear_layers(inputs: int, hidden: list[int], outputs: int) -> tuple[nn.ModuleList, nn.Linear]:
    """Return the linear maps of a policy; the readout sees every hidden layer."""
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([inputs, *hidden])), nn.Linear(sum(hidden), outputs)


def _to_numpy(linear: nn.Module) -> Layer:
    assert isinstance(linear, nn.Linear)
    return Layer(linear.weight.detach().numpy(), linear.bias.detach().numpy())

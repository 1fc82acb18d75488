"""The spiking policy of `brainnet.snn.policy` as a torch module, for training with surrogate gradients."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from brainnet.snn.lif import LIFParams, lif_sequence
from brainnet.snn.policy import Layer, PolicyShape, SpikingPolicy


class TrainableSpikingPolicy(nn.Module):
    """Features [B, inputs] -> actions before clipping [B, outputs]; `to_policy` gives the numpy twin.

    The first layer is drawn wide (weights doubled, biases uniform in [-1, 1]) so that from the start its neurons fire
    at different levels of their drive, which is what the rate code's resolution rests on.
    """

    def __init__(self, inputs: int, hidden: list[int], outputs: int, shape: PolicyShape) -> None:
        super().__init__()
        sizes = [inputs, *hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.readout = nn.Linear(sum(hidden), outputs)
        self.shape = shape
        first = self.hidden[0]
        assert isinstance(first, nn.Linear)
        with torch.no_grad():
            first.weight.mul_(2.0)
            first.bias.uniform_(-1.0, 1.0)

    def forward(self, features: Tensor) -> Tensor:
        params = LIFParams(beta=torch.tensor(self.shape.beta), threshold=self.shape.threshold, reset="subtract")
        rates = []
        spikes = features.unsqueeze(0).expand(self.shape.steps, -1, -1)
        for layer in self.hidden:
            spikes, _ = lif_sequence(layer(spikes), None, params)
            rates.append(spikes.mean(0))
        actions: Tensor = self.readout(torch.cat(rates, dim=-1))
        return actions

    def to_policy(self) -> SpikingPolicy:
        """The numpy policy with this module's weights."""
        layers = [_layer(layer) for layer in self.hidden]
        return SpikingPolicy(layers, _layer(self.readout), self.shape)


def _layer(linear: nn.Module) -> Layer:
    assert isinstance(linear, nn.Linear)
    return Layer(linear.weight.detach().numpy(), linear.bias.detach().numpy())

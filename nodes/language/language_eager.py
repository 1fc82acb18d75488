"""The language model in plain torch operations, one token at a time: the baseline for the speed of generation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from brainnet.snn.layers.norm import EPSILON
from brainnet.snn.models.text_model import SpikingTextModel


class EagerModel:
    """One step of a spiking model for one text, without autograd and without unnecessary operations.

    Args:
        model: The model.
    """

    def __init__(self, model: SpikingTextModel) -> None:
        self._embedding = model.embedding.weight.detach()
        self._norm = model.norm.weight.detach()
        self._blocks = [{k: v.detach() for k, v in block.named_parameters()} for block in model.blocks]
        for block in self._blocks:
            for name in [name for name in block if name.endswith("decay")]:
                block[name] = torch.sigmoid(block[name])
        self._states = [list(state) for state in model.rest(1)]

    @torch.inference_mode()
    def advance(self, token: int) -> Tensor:
        """Process one token, and return the logits [vocabulary] of the next."""
        x = self._embedding[token : token + 1]
        for p, state in zip(self._blocks, self._states, strict=True):
            spikes, state[0] = _fire(x, p, "mixer", state[0])
            forget, value, gate = F.linear(spikes, p["project.weight"]).chunk(3, -1)
            state[1] = torch.lerp(value, state[1], torch.sigmoid(forget + p["forget_bias"]))
            x = x + F.linear(_normal(state[1], p["hidden_norm.weight"]) * F.silu(gate), p["out.weight"])
            spikes, state[2] = _fire(x, p, "channel", state[2])
            spikes, state[3] = _fire(F.linear(spikes, p["expand.weight"]), p, "expanded", state[3])
            x = x + F.linear(spikes, p["contract.weight"])
        return F.linear(_normal(x, self._norm), self._embedding)[0]


def _normal(x: Tensor, gain: Tensor) -> Tensor:
    return F.rms_norm(x, gain.shape, gain, EPSILON)


def _fire(x: Tensor, p: dict[str, Tensor], name: str, membrane: Tensor) -> tuple[Tensor, Tensor]:
    normal = F.rms_norm(x, x.shape[-1:], None, EPSILON)
    each = len(p[f"{name}.gain"]) // x.shape[-1]
    normal = normal if each == 1 else normal.repeat(1, each)
    currents = torch.addcmul(p[f"{name}.bias"], normal, p[f"{name}.gain"])
    membrane = p[f"{name}.decay"] * membrane + currents - (membrane > 1).float()
    return (membrane > 1).float(), membrane

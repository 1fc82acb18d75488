"""A spiking language model without attention: constant memory per token, projections that see only 0/1 input.

Each block mixes along time with a gated linear recurrence and along channels with a two-layer spiking network, both
around a float residual stream; the time axis of the neurons is the token axis (Zhu et al. 2023, *SpikeGPT*; the gate is
that of HGRN, Qin et al. 2023)::

    z       = LIF(RMSNorm(x))                 f, v, g = W z
    h_t     = f_t h_{t-1} + (1 - f_t) v_t     x = x + O (RMSNorm(h) * SiLU(g))
    z       = LIF(RMSNorm(x))                 x = x + W2 LIF(RMSNorm(W1 z))

Tensors are time first: tokens [T, B], activations [T, B, width]. The embedding is also the output projection.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.lif import LIF, LIFState
from brainnet.snn.norm import RMSNorm
from brainnet.snn.recurrence import gated_scan


@dataclass(frozen=True)
class LanguageConfig:
    """Sizes of the model; they travel in the metadata of its weights file."""

    vocabulary: int = 2048
    width: int = 192
    layers: int = 5
    expansion: int = 4


class BlockState(NamedTuple):
    """What one block remembers between tokens."""

    mixer: LIFState
    hidden: Tensor
    channel: LIFState
    expanded: LIFState


def neurons(count: int) -> LIF:
    """Neurons whose decay starts spread out, from fast (beta 0.12) to slow (0.88)."""
    return LIF(torch.linspace(-2, 2, count))


class Block(nn.Module):
    """Token mixing by recurrence, then channel mixing; see the module's equations."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        width, wide = config.width, config.width * config.expansion
        self.mixer_norm, self.mixer_lif = RMSNorm(width), neurons(width)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.forget_bias = nn.Parameter(torch.linspace(0, 6, width))
        self.hidden_norm, self.out = RMSNorm(width), nn.Linear(width, width, bias=False)
        self.channel_norm, self.channel_lif = RMSNorm(width), neurons(width)
        self.expand = nn.Linear(width, wide, bias=False)
        self.expanded_norm, self.expanded_lif = RMSNorm(wide), neurons(wide)
        self.contract = nn.Linear(wide, width, bias=False)
        # unit-variance currents when about 30 % of the inputs fire; residual branches start small
        residual = 0.5 / math.sqrt(2 * config.layers)
        nn.init.normal_(self.project.weight, 0, 1 / math.sqrt(0.3 * width))
        nn.init.normal_(self.expand.weight, 0, 1 / math.sqrt(0.3 * width))
        nn.init.normal_(self.out.weight, 0, residual / math.sqrt(width))
        nn.init.normal_(self.contract.weight, 0, residual / math.sqrt(0.3 * wide))

    def forward(self, x: Tensor, state: BlockState | None) -> tuple[Tensor, BlockState]:
        spikes, mixer = self.mixer_lif(self.mixer_norm(x), state.mixer if state else None)
        forget, value, gate = self.project(spikes).float().chunk(3, -1)
        hidden, last = gated_scan(torch.sigmoid(forget + self.forget_bias), value, state.hidden if state else None)
        x = x + self.out(self.hidden_norm(hidden) * F.silu(gate)).float()
        spikes, channel = self.channel_lif(self.channel_norm(x), state.channel if state else None)
        currents = self.expanded_norm(self.expand(spikes))
        spikes, expanded = self.expanded_lif(currents, state.expanded if state else None)
        return x + self.contract(spikes).float(), BlockState(mixer, last, channel, expanded)


class SpikingLanguageModel(nn.Module):
    """Next-token logits for token sequences, with the state carried explicitly."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        # small, so that a token does not begin by predicting itself through the shared matrix
        nn.init.normal_(self.embedding.weight, 0, 0.05)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width)

    def forward(self, tokens: Tensor, state: list[BlockState] | None = None) -> tuple[Tensor, list[BlockState]]:
        """Logits [T, B, vocabulary] for ``tokens`` [T, B], and the state to continue from; None starts afresh."""
        x = self.embedding(tokens)
        after = []
        for index, block in enumerate(self.blocks):
            x, block_state = block(x, state[index] if state else None)
            after.append(block_state)
        return F.linear(self.norm(x), self.embedding.weight), after


def detached(state: list[BlockState]) -> list[BlockState]:
    """The same state, cut from the graph that made it: truncated back-propagation through time."""
    return [
        BlockState(
            LIFState(block.mixer.membrane.detach()),
            block.hidden.detach(),
            LIFState(block.channel.membrane.detach()),
            LIFState(block.expanded.membrane.detach()),
        )
        for block in state
    ]


def load_language_model(path: Path) -> SpikingLanguageModel:
    """The model of a weights file, in float32 and eval mode.

    Raises ModelError, naming the file, when it is no safetensors file or not of this model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            config = LanguageConfig(**json.loads((file.metadata() or {})["config"]))
            model = SpikingLanguageModel(config)
            model.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} holds no spiking language model: {error}") from error
    return model.eval()


def weights_metadata(config: LanguageConfig) -> dict[str, str]:
    """The safetensors metadata that :func:`load_language_model` reads."""
    return {"config": json.dumps(asdict(config))}

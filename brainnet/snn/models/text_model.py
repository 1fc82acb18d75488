"""A spiking text model without attention: constant memory per token, projections (all but O) that see only 0/1.

Each block mixes along time with a gated linear recurrence and along channels with a two-layer spiking network, both
around a float residual stream; the time axis of the neurons is the token axis (Zhu et al. 2023, *SpikeGPT*; the gate is
that of HGRN, Qin et al. 2023)::

    z       = LIF(RMSNorm(x))                 f, v, g = W z
    h_t     = f_t h_{t-1} + (1 - f_t) v_t     x = x + O (RMSNorm(h) * SiLU(g))
    z       = LIF(RMSNorm(x))                 x = x + W2 LIF(RMSNorm(W1 z))

Each channel of the residual stream drives several neurons, which begin as ON and OFF cells of two sensitivities: a
population that tells more of the channel than one bit. Neurons forget quickly at first; what should last is learned.
Tensors are time first: tokens [T, B], activations [T, B, width]. The embedding is also the output projection. The same
network with SiLU in place of every LIF layer, which then sends floats, is the control that spikes are measured against.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.layers.norm import RMSNorm
from brainnet.snn.models.text_control import normalised_units
from brainnet.snn.models.text_layers import (
    gated_memory,
    next_token_loss,
    normalised_neurons,
    product,
)

_SCALE = ".scale"


@dataclass(frozen=True)
class TextModelConfig:
    """Sizes of the model; they travel in the metadata of its weights file.

    `mixer_neurons` and `channel_neurons` are how many each channel of the residual stream drives, before the
    recurrence and before the feed-forward part, which has `expansion` hidden neurons a channel.
    """

    vocabulary: int = 2048
    width: int = 192
    layers: int = 5
    expansion: int = 4
    mixer_neurons: int = 4
    channel_neurons: int = 2
    spiking: bool = True


class BlockState(NamedTuple):
    """What one block remembers between tokens: membrane potentials of its LIF layers and the recurrence's hidden state.

    All [B, neurons]; the membranes of a control, which has none, stay zero.
    """

    mixer: Tensor
    hidden: Tensor
    channel: Tensor
    expanded: Tensor


class Neurons(nn.Module):
    """`each` neurons for every one of `channels`, which they see normalised; in a control SiLU units."""

    def __init__(self, channels: int, each: int, spiking: bool) -> None:
        super().__init__()
        gains = torch.tensor([1.0, -1.0, 2.0, -2.0])[torch.arange(each) % 4]
        self.gain = nn.Parameter(gains.repeat_interleave(channels))
        self.bias = nn.Parameter(torch.zeros(each * channels))
        # beta from 0.002 to 0.05: at first, what was before is noise to a neuron that is to send what is now
        self.decay = nn.Parameter(torch.linspace(-6, -3, channels).repeat(each)) if spiking else None
        self.price = 0.0

    def forward(self, x: Tensor, membrane: Tensor) -> tuple[Tensor, Tensor]:
        """What `x` [T, B, channels] makes them send to the next projection, and their membrane after."""
        if self.decay is None:
            return normalised_units(x, self.gain, self.bias), membrane
        return normalised_neurons(x, self.gain, self.bias, torch.sigmoid(self.decay), membrane, self.price)


class Block(nn.Module):
    """Token mixing by recurrence, then channel mixing; see the module's equations."""

    def __init__(self, config: TextModelConfig, dropout: float, half: bool) -> None:
        super().__init__()
        width, wide = config.width, config.width * config.expansion
        mixing, seen = config.width * config.mixer_neurons, config.width * config.channel_neurons
        self.mixer = Neurons(width, config.mixer_neurons, config.spiking)
        self.project = nn.Linear(mixing, 3 * width, bias=False)
        self.forget_bias = nn.Parameter(torch.linspace(0, 6, width))
        self.hidden_norm, self.out = RMSNorm(width), nn.Linear(width, width, bias=False)
        self.channel = Neurons(width, config.channel_neurons, config.spiking)
        self.expand = nn.Linear(seen, wide, bias=False)
        self.expanded = Neurons(wide, 1, config.spiking)
        self.contract = nn.Linear(wide, width, bias=False)
        self._dropout, self._half = dropout, half
        # unit-variance currents when about 30 % of the inputs fire; residual branches start small
        residual = 0.5 / math.sqrt(2 * config.layers)
        nn.init.normal_(self.project.weight, 0, 1 / math.sqrt(0.3 * mixing))
        nn.init.normal_(self.expand.weight, 0, 1 / math.sqrt(0.3 * seen))
        nn.init.normal_(self.out.weight, 0, residual / math.sqrt(width))
        nn.init.normal_(self.contract.weight, 0, residual / math.sqrt(0.3 * wide))

    def forward(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        sent, mixer = self.mixer(x, state.mixer)
        mixed, hidden = gated_memory(
            self._times(sent, self.project), self.forget_bias, self.hidden_norm.weight, state.hidden
        )
        x = x + self._kept(self._times(mixed, self.out))
        sent, channel = self.channel(x, state.channel)
        sent, expanded = self.expanded(self._times(sent, self.expand), state.expanded)
        return x + self._kept(self._times(sent, self.contract)), BlockState(mixer, hidden, channel, expanded)

    def _times(self, x: Tensor, matrix: nn.Linear) -> Tensor:
        return product(x, matrix.weight, self._half and self.training)

    def _kept(self, x: Tensor) -> Tensor:
        """Dropout, in steps of 1/256: a byte a number is drawn, in a tenth of the time that torch takes."""
        dropped = round(256 * self._dropout)
        if not dropped or not self.training:
            return x
        seed = int(torch.randint(2**31, ()))
        drawn = np.frombuffer(np.random.default_rng(seed).bytes(x.numel()), np.uint8)
        mask = (drawn >= dropped) * np.float32(256 / (256 - dropped))
        return x * torch.from_numpy(mask).to(x.device).view(x.shape)


class SpikingTextModel(nn.Module):
    """Next-token logits for token sequences, with the state carried explicitly.

    `dropout` is that of the residual branches while training; with `half` training multiplies in bfloat16.
    """

    def __init__(self, config: TextModelConfig, dropout: float = 0.0, half: bool = False) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        # small, so that a token does not begin by predicting itself through the shared matrix
        nn.init.normal_(self.embedding.weight, 0, 0.05)
        self.blocks = nn.ModuleList(Block(config, dropout, half) for _ in range(config.layers))
        self.norm = RMSNorm(config.width)

    def forward(self, tokens: Tensor, state: list[BlockState] | None = None) -> tuple[Tensor, list[BlockState]]:
        """Logits [T, B, vocabulary] for `tokens` [T, B], and the state to continue from; None starts afresh."""
        features, after = self.features(tokens, state)
        return F.linear(features, self.embedding.weight), after

    def loss(
        self, tokens: Tensor, targets: Tensor, state: list[BlockState] | None = None
    ) -> tuple[Tensor, list[BlockState]]:
        """Mean cross-entropy in nats of `targets` [T, B], each the token that follows, and the state after."""
        features, after = self.features(tokens, state)
        return next_token_loss(features.flatten(0, 1), self.embedding.weight, targets.flatten()), after

    def features(self, tokens: Tensor, state: list[BlockState] | None) -> tuple[Tensor, list[BlockState]]:
        """What the logits are computed from, [T, B, width], and the state to continue from."""
        x = self.embedding(tokens)
        after = []
        for block, before in zip(self.blocks, state or self.rest(tokens.shape[1]), strict=True):
            x, block_state = block(x, before)
            after.append(block_state)
        return self.norm(x), after

    def set_price(self, price: float) -> None:
        """From now on gradients are those of the loss and `price` for every spike, in nats."""
        for part in self.modules():
            if isinstance(part, Neurons):
                part.price = price

    def rest(self, streams: int) -> list[BlockState]:
        """The state before the first token of `streams` texts: all zero."""
        each = (self.config.mixer_neurons, 1, self.config.channel_neurons, self.config.expansion)
        rest = [self.embedding.weight.new_zeros(streams, self.config.width * count) for count in each]
        return [BlockState(*rest) for _ in self.blocks]


def share_fired(state: list[BlockState]) -> float:
    """The share of all neurons that fired at the last token, over all streams; 0 for a control."""
    membranes = [part for block in state for part in (block.mixer, block.channel, block.expanded)]
    return sum(int((part > 1).sum()) for part in membranes) / sum(part.numel() for part in membranes)


def detached(state: list[BlockState]) -> list[BlockState]:
    """The same state, cut from the graph that made it: truncated back-propagation through time."""
    return [BlockState(*(part.detach() for part in block)) for block in state]


def rounded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """`matrix` as whole numbers -127..127 (int8) and a scale for each row, by which they are to be multiplied.

    Rounding what has been rounded gives the same numbers.
    """
    # a row of zeros has any scale
    scale = matrix.float().abs().amax(1).clamp_min(1e-30) / 127
    return torch.round(matrix.float() / scale[:, None]).to(torch.int8), scale


def load_text_model(path: Path) -> SpikingTextModel:
    """The model of a weights file, in float32 and eval mode.

    Raises ModelError, naming the file, when it is no safetensors file or not of this model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            config = TextModelConfig(**json.loads((file.metadata() or {})["config"]))
            model = SpikingTextModel(config)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        scales = {name: tensors.pop(name).float() for name in list(tensors) if name.endswith(_SCALE)}
        for name, scale in scales.items():
            tensors[name.removesuffix(_SCALE)] = tensors[name.removesuffix(_SCALE)].float() * scale[:, None]
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} holds no spiking text model: {error}") from error
    return model.eval()


def stored(model: SpikingTextModel) -> dict[str, Tensor]:
    """The tensors of a weights file: matrices as int8 with the scales of their rows, the rest as it is.

    To be written in float32: a scale in fewer bits would change every weight of its row.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 2:
            tensors[name], tensors[name + _SCALE] = rounded(tensor)
        else:
            tensors[name] = tensor
    return tensors


def weights_metadata(config: TextModelConfig) -> dict[str, str]:
    """The safetensors metadata that `load_text_model` reads."""
    return {"config": json.dumps(asdict(config))}

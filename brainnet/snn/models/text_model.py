"""A spiking text model without attention: constant memory per token, and 0/1 inputs of all projections except O.

Each block mixes along time with a gated linear recurrence, and along channels with a two-layer spiking network, both
with a float residual. The time axis of the neurons is the token axis (Zhu et al. 2023, *SpikeGPT*; the gate is that of
HGRN, Qin et al. 2023):

    z       = LIF(RMSNorm(x))                 f, v, g = W z
    h_t     = f_t h_{t-1} + (1 - f_t) v_t     x = x + O (RMSNorm(h) * SiLU(g))
    z       = LIF(RMSNorm(x))                 x = x + W2 LIF(RMSNorm(W1 z))

Each channel of the residual drives several neurons, initialised as ON and OFF cells of two sensitivities, so that the
population encodes more than one bit of the channel. Neurons are initialised with a fast decay; slower ones are learned.
Tensors are time first: tokens [T, B], activations [T, B, width]. The embedding is also the output projection. The
control for the effect of spikes is the same network with SiLU units, which send floats, in place of every LIF layer.
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
from brainnet.snn.models.text_control import normalized_silu
from brainnet.snn.models.text_layers import (
    gated_recurrence,
    linear,
    next_token_loss,
    normalized_lif,
)

_SCALE = ".scale"


@dataclass(frozen=True)
class TextModelConfig:
    """Sizes of the model, stored in the metadata of its weights file.

    Attributes:
        vocabulary: number of tokens.
        width: channels of the residual.
        layers: number of blocks.
        expansion: hidden neurons of the feed-forward part per channel.
        mixer_neurons: neurons per channel before the recurrence.
        channel_neurons: neurons per channel before the feed-forward part.
        spiking: False for the control.
    """

    vocabulary: int = 2048
    width: int = 192
    layers: int = 5
    expansion: int = 4
    mixer_neurons: int = 4
    channel_neurons: int = 2
    spiking: bool = True


class BlockState(NamedTuple):
    """The state of one block between tokens: membrane potentials of its LIF layers, and the hidden state.

    All are [B, neurons]; the membrane potentials of a control stay zero.
    """

    mixer: Tensor
    hidden: Tensor
    channel: Tensor
    expanded: Tensor


class LIFPopulation(nn.Module):
    """A population of neurons for each normalised channel; SiLU units in a control.

    Args:
        channels: the number of channels.
        per_channel: neurons per channel.
        spiking: False for SiLU units.
    """

    def __init__(self, channels: int, per_channel: int, spiking: bool) -> None:
        super().__init__()
        # ON and OFF cells of two sensitivities
        gains = torch.tensor([1.0, -1.0, 2.0, -2.0])[torch.arange(per_channel) % 4]
        self.gain = nn.Parameter(gains.repeat_interleave(channels))
        self.bias = nn.Parameter(torch.zeros(per_channel * channels))
        # logits of beta from 0.002 to 0.05: initially a neuron should encode the present token, for which the membrane
        # potential of earlier tokens is noise
        self.decay = nn.Parameter(torch.linspace(-6, -3, channels).repeat(per_channel)) if spiking else None
        self.spike_cost = 0.0

    def forward(self, x: Tensor, membrane: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output [T, B, neurons] for `x` [T, B, channels], and the last membrane potential."""
        if self.decay is None:
            return normalized_silu(x, self.gain, self.bias), membrane
        return normalized_lif(x, self.gain, self.bias, torch.sigmoid(self.decay), membrane, self.spike_cost)


class Block(nn.Module):
    """Token mixing by a recurrence, then channel mixing; see the equations of the module."""

    def __init__(self, config: TextModelConfig, dropout: float, half: bool) -> None:
        super().__init__()
        width, expanded_size = config.width, config.width * config.expansion
        mixer_size, channel_size = config.width * config.mixer_neurons, config.width * config.channel_neurons
        self.mixer = LIFPopulation(width, config.mixer_neurons, config.spiking)
        self.project = nn.Linear(mixer_size, 3 * width, bias=False)
        # forget gates from 0.5 to 0.998: time constants from one token to hundreds
        self.forget_bias = nn.Parameter(torch.linspace(0, 6, width))
        self.hidden_norm, self.out = RMSNorm(width), nn.Linear(width, width, bias=False)
        self.channel = LIFPopulation(width, config.channel_neurons, config.spiking)
        self.expand = nn.Linear(channel_size, expanded_size, bias=False)
        self.expanded = LIFPopulation(expanded_size, 1, config.spiking)
        self.contract = nn.Linear(expanded_size, width, bias=False)
        self._dropout, self._half = dropout, half
        # currents of unit variance if about 30 % of the inputs fire; small residual branches, so that a deep network
        # starts close to the identity
        residual = 0.5 / math.sqrt(2 * config.layers)
        nn.init.normal_(self.project.weight, 0, 1 / math.sqrt(0.3 * mixer_size))
        nn.init.normal_(self.expand.weight, 0, 1 / math.sqrt(0.3 * channel_size))
        nn.init.normal_(self.out.weight, 0, residual / math.sqrt(width))
        nn.init.normal_(self.contract.weight, 0, residual / math.sqrt(0.3 * expanded_size))

    def forward(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """Return the residual [T, B, width] after the block, and the next state."""
        sent, mixer = self.mixer(x, state.mixer)
        mixed, hidden = gated_recurrence(
            self._matmul(sent, self.project), self.forget_bias, self.hidden_norm.weight, state.hidden
        )
        x = x + self._drop(self._matmul(mixed, self.out))
        sent, channel = self.channel(x, state.channel)
        sent, expanded = self.expanded(self._matmul(sent, self.expand), state.expanded)
        return x + self._drop(self._matmul(sent, self.contract)), BlockState(mixer, hidden, channel, expanded)

    def _matmul(self, x: Tensor, matrix: nn.Linear) -> Tensor:
        return linear(x, matrix.weight, self._half and self.training)

    def _drop(self, x: Tensor) -> Tensor:
        """Apply dropout with a probability that is rounded to 1/256.

        One random byte per number takes a tenth of the time of torch's dropout.
        """
        dropped = round(256 * self._dropout)
        if not dropped or not self.training:
            return x
        # seeded by torch, so that torch.manual_seed determines it
        seed = int(torch.randint(2**31, ()))
        random_bytes = np.frombuffer(np.random.default_rng(seed).bytes(x.numel()), np.uint8)
        mask = (random_bytes >= dropped) * np.float32(256 / (256 - dropped))
        return x * torch.from_numpy(mask).to(x.device).view(x.shape)


class SpikingTextModel(nn.Module):
    """A model that predicts the next token, with explicit state.

    Args:
        config: the sizes.
        dropout: dropout of the residual branches in training.
        half: multiply in bfloat16 in training.
    """

    def __init__(self, config: TextModelConfig, dropout: float = 0.0, half: bool = False) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        # small: the embedding is also the output projection, and large rows would predict the present token again
        nn.init.normal_(self.embedding.weight, 0, 0.05)
        self.blocks = nn.ModuleList(Block(config, dropout, half) for _ in range(config.layers))
        self.norm = RMSNorm(config.width)

    def forward(self, tokens: Tensor, state: list[BlockState] | None = None) -> tuple[Tensor, list[BlockState]]:
        """Return the logits [T, B, vocabulary] for `tokens` [T, B], and the next state; None starts from rest."""
        features, after = self.features(tokens, state)
        return F.linear(features, self.embedding.weight), after

    def loss(
        self, tokens: Tensor, targets: Tensor, state: list[BlockState] | None = None
    ) -> tuple[Tensor, list[BlockState]]:
        """Return the mean cross-entropy in nats, and the next state.

        Args:
            tokens: [T, B].
            targets: [T, B], the token that follows each.
            state: the state to continue from; None for rest.
        """
        features, after = self.features(tokens, state)
        return next_token_loss(features.flatten(0, 1), self.embedding.weight, targets.flatten()), after

    def features(self, tokens: Tensor, state: list[BlockState] | None) -> tuple[Tensor, list[BlockState]]:
        """Return the input [T, B, width] of the output projection, and the next state."""
        x = self.embedding(tokens)
        after = []
        for block, before in zip(self.blocks, state or self.rest(tokens.shape[1]), strict=True):
            x, block_state = block(x, before)
            after.append(block_state)
        return self.norm(x), after

    def set_spike_cost(self, cost: float) -> None:
        """Set the spike cost: from now on gradients are those of the loss plus `cost` times the number of spikes.

        Args:
            cost: in nats per spike.
        """
        for part in self.modules():
            if isinstance(part, LIFPopulation):
                part.spike_cost = cost

    def rest(self, streams: int) -> list[BlockState]:
        """Return the state before the first token of `streams` texts: all zero."""
        per_channel = (self.config.mixer_neurons, 1, self.config.channel_neurons, self.config.expansion)
        rest = [self.embedding.weight.new_zeros(streams, self.config.width * count) for count in per_channel]
        return [BlockState(*rest) for _ in self.blocks]


def firing_fraction(state: list[BlockState]) -> float:
    """Return the fraction of all neurons that fired at the last token, over all streams; 0 for a control."""
    membranes = [part for block in state for part in (block.mixer, block.channel, block.expanded)]
    return sum(int((part > 1).sum()) for part in membranes) / sum(part.numel() for part in membranes)


def detach_state(state: list[BlockState]) -> list[BlockState]:
    """Return the state without its graph, for truncated back-propagation through time."""
    return [BlockState(*(part.detach() for part in block)) for block in state]


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise a matrix to int8 with one scale per row.

    Quantising a dequantised matrix gives the same integers.

    Returns:
        Integers from -127 to 127 (int8), and the float32 scale [rows] that multiplies them.
    """
    # a row of zeros may have any scale above 0
    scale = matrix.float().abs().amax(1).clamp_min(1e-30) / 127
    return torch.round(matrix.float() / scale[:, None]).to(torch.int8), scale


def load_text_model(path: Path) -> SpikingTextModel:
    """Return the model of a weights file, in float32 and eval mode.

    Raises:
        ModelError: the file is not a safetensors file of this model.
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


def quantized_tensors(model: SpikingTextModel) -> dict[str, Tensor]:
    """Return the tensors of a weights file: matrices as int8 with a scale per row, other tensors unchanged.

    The scales must be written in float32: one with fewer bits would change all weights of its row.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 2:
            tensors[name], tensors[name + _SCALE] = quantize_rows(tensor)
        else:
            tensors[name] = tensor
    return tensors


def weights_metadata(config: TextModelConfig) -> dict[str, str]:
    """Return the safetensors metadata that `load_text_model` reads."""
    return {"config": json.dumps(asdict(config))}

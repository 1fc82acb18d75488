"""The router: which regions a prompt is for, decided by a small spiking network with a working memory.

    tokens -> TAS spikes -> LIF working memory -> ChronoSpikeAttention -> decision vector -> scores -> modulation

The working memory's membrane potential is carried from prompt to prompt of a session, so that "once more"
means what was done before; the threshold of its neurons is set by how sure the previous decision was.
Route names come with the weights; nothing here knows them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.codes.tas import TasEncoder, TasWindow
from brainnet.snn.layers.attention import ChronoSpikeAttention
from brainnet.snn.models import decision
from brainnet.snn.models.quantum import EPSILON, MAX_TEMPERATURE, PLASTICITY
from brainnet.snn.models.text_features import HashedVocabulary, clip_middle, route_tokens
from brainnet.snn.neurons.lif import LIFParams

__all__ = ["RouteDecision", "Router", "RouterConfig", "RouterNet", "RouterState", "ending", "prompt_tokens", "rows_of"]


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """The shape of a router: `routes` in the order of its scores, sizes, and the constants of its neurons.

    Decays are learned; those of attention's neurons and of every second one of working memory start from `beta`, the
    others from `slow_beta`, which still holds most of a prompt at the end of the next.

    `scale` multiplies the scores. Training fits it so that the modulated probabilities mean what they say
    (temperature scaling, Guo et al. 2017, applied before the modulation); it never changes which route is first.
    """

    routes: tuple[str, ...]
    steps: int = 12
    positions: int = 24
    width: int = 64
    heads: int = 2
    beta: float = 0.9
    slow_beta: float = 0.98
    unknown_rows: int = 16
    base_threshold: float = 1.0
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class RouterState:
    """What a session's working memory holds between two prompts.

    `membrane` float32 [D], the mean membrane potential over the last prompt's positions; `threshold`,
    the firing threshold that the last decision's uncertainty set.
    """

    membrane: NDArray[np.float32]
    threshold: float


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """One decision and everything it follows from; rows run over `names`, the routes that were available.

    `scores` before softmax; `probs`, `entropy` (nats), `alpha`, `temperature`, `threshold` and `route_probs` as
    in `quantum.Modulation`; `chosen`, likeliest first; `spikes` uint8 [neurons, T], the prompt's TAS
    code (neuron = position * D + channel); `state` to pass to the session's next decision.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float64]
    probs: NDArray[np.float64]
    entropy: float
    alpha: float
    temperature: float
    threshold: float
    route_probs: NDArray[np.float64]
    chosen: tuple[str, ...]
    spikes: NDArray[np.uint8]
    state: RouterState


def prompt_tokens(text: str, *, has_image: bool, has_audio: bool, limit: int) -> list[str]:
    """The tokens of a prompt: a start mark, what comes with the text, the text, its middle cut to fit `limit`."""
    marks = ["<start>", *(["<image>"] if has_image else []), *(["<audio>"] if has_audio else [])]
    return marks + clip_middle(route_tokens(text), limit - len(marks))


def ending(word: str) -> str:
    """The token that stands for all words with this word's last three letters."""
    return f"~{word[-3:]}"


def rows_of(tokens: list[str], vocabulary: HashedVocabulary) -> NDArray[np.int64]:
    """Rows of the embedding table, int64 [L]; a word that is not known has that of its `ending`, if that is known."""
    rows = vocabulary.rows(tokens)
    strange = rows <= vocabulary.unknown_rows
    return np.where(strange, vocabulary.rows([ending(token) for token in tokens]), rows) if strange.any() else rows


class RouterNet(nn.Module):
    """The trainable part: TAS spikes and a membrane potential in, route scores and a membrane potential out."""

    def __init__(self, config: RouterConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = TasEncoder(vocabulary, config.width, TasWindow(config.steps, config.positions))
        self.input = nn.Linear(config.width, config.width)
        self.attention = ChronoSpikeAttention(config.width, config.heads, tau=config.steps / 4, beta=config.beta)
        self.readout = nn.Linear(4 * config.width, len(config.routes))
        decay = torch.full((config.width,), config.beta)
        decay[1::2] = config.slow_beta
        self.decay = nn.Parameter(torch.logit(decay))

    @property
    def beta(self) -> Tensor:
        """The decay per step of working memory's neurons, [D], each in (0, 1)."""
        return torch.sigmoid(self.decay)

    def forward(
        self, spikes: Tensor, mask: Tensor, membrane: Tensor | None, threshold: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scores [B, N] and membrane potential [B, D] after TAS spikes [B, T, L, D] with token mask bool [B, L].

        Every position starts from the session's membrane potential [B, D] (None: rest).
        """
        memory, kept = self.remember(spikes, mask, membrane, threshold)
        present = mask.to(spikes.dtype)
        attended = self.attention(memory) * present[:, None, :, None]
        rates = torch.cat([memory.mean(1), attended.mean(1)], dim=-1)
        # what the prompt is about on the whole, and the strongest sign of anything in it, however long it is
        mean = rates.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        decision_vector = torch.cat([mean, rates.amax(1)], dim=-1)
        scores: Tensor = self.config.scale * self.readout(decision_vector)
        return scores, kept

    def remember(
        self, spikes: Tensor, mask: Tensor, membrane: Tensor | None, threshold: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Working memory alone: its spikes [B, T, L, D] and the membrane potential [B, D] that it keeps."""
        params = LIFParams(self.beta, self.config.base_threshold if threshold is None else threshold)
        memory, kept = decision.remember(self.input(spikes).transpose(0, 1), mask, membrane, params)
        return memory.transpose(0, 1), kept


class Router:
    """A trained router. Not thread-safe: use it from one thread."""

    def __init__(self, net: RouterNet, vocabulary: HashedVocabulary) -> None:
        self.net = net.eval()
        self.config = net.config
        self.vocabulary = vocabulary

    @classmethod
    def load(cls, path: Path | str) -> Router:
        """Reads the weights; raises ModelError naming the file when it is missing or does not hold a router."""
        try:
            with safe_open(str(path), framework="pt") as file:
                meta = json.loads((file.metadata() or {})["router"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            vocabulary = HashedVocabulary(tensors.pop("vocabulary").numpy(), meta["unknown_rows"])
            config = RouterConfig(**{**meta, "routes": tuple(meta["routes"])})
            net = RouterNet(config, len(vocabulary))
            net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError, ModelError) as error:
            raise ModelError(f"{path} holds no router weights ({error}); `brainnet train` makes them") from error
        return cls(net, vocabulary)

    def save(self, path: Path | str) -> None:
        """Writes the weights in float16 with shape and route names in the metadata."""
        tensors = {name: tensor.half().contiguous() for name, tensor in self.net.state_dict().items()}
        tensors["vocabulary"] = torch.from_numpy(self.vocabulary.hashes)
        save_file(tensors, str(path), metadata={"router": json.dumps(asdict(self.config))})

    def token_rows(self, text: str, *, has_image: bool = False, has_audio: bool = False) -> NDArray[np.int64]:
        """The prompt's tokens as rows of the embedding table, int64 [L]."""
        tokens = prompt_tokens(text, has_image=has_image, has_audio=has_audio, limit=self.config.positions)
        return rows_of(tokens, self.vocabulary)

    def encode(self, text: str, *, has_image: bool = False, has_audio: bool = False) -> NDArray[np.uint8]:
        """The prompt's TAS code as it goes to the regions: uint8 [L * D, T], neuron = position * D + channel."""
        with torch.no_grad():
            return _on_the_wire(self._spikes(text, has_image, has_audio))

    def decide(
        self,
        text: str,
        *,
        has_image: bool = False,
        has_audio: bool = False,
        available: Collection[str] | None = None,
        state: RouterState | None = None,
        mass: float = 0.8,
        plasticity: float = PLASTICITY,
        epsilon: float = EPSILON,
        max_temperature: float = MAX_TEMPERATURE,
    ) -> RouteDecision:
        """Routes one prompt among the routes that are `available` (None: all that the weights know).

        Deterministic. Names in `available` that the weights do not know are left out. `state` is what the
        session's previous decision returned; None starts from rest at the base threshold. Raises ModelError when
        none of the available names is known.
        """
        with torch.no_grad():
            spikes = self._spikes(text, has_image, has_audio)
            present = torch.ones(1, spikes.shape[2], dtype=torch.bool)
            membrane = None if state is None else torch.from_numpy(state.membrane)[None]
            scores, after = self.net(spikes, present, membrane, state and state.threshold)
        params = decision.DecisionParams(mass, self.config.base_threshold, plasticity, epsilon, max_temperature)
        made = decision.decide(scores[0].double().numpy(), self.config.routes, available, params)
        modulation = made.modulation
        return RouteDecision(
            names=made.names,
            scores=made.scores,
            probs=modulation.probs,
            entropy=modulation.entropy,
            alpha=modulation.alpha,
            temperature=modulation.temperature,
            threshold=modulation.threshold,
            route_probs=modulation.route_probs,
            chosen=made.chosen,
            spikes=_on_the_wire(spikes),
            state=RouterState(after[0].numpy().copy(), modulation.threshold),
        )

    def _spikes(self, text: str, has_image: bool, has_audio: bool) -> Tensor:
        rows = self.token_rows(text, has_image=has_image, has_audio=has_audio)
        spikes: Tensor = self.net.encoder(torch.from_numpy(rows)[None])
        return spikes


def _on_the_wire(spikes: Tensor) -> NDArray[np.uint8]:
    """[1, T, L, D] -> uint8 [L * D, T]."""
    return np.ascontiguousarray(spikes[0].flatten(1).T.to(torch.uint8).numpy())

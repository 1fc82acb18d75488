"""The router: a small spiking network with a working memory that decides which nodes a prompt is sent to.

    tokens -> TAS spikes -> LIF working memory -> ChronoSpikeAttention -> decision vector -> scores -> modulation
                                                                     bids -> LIF neurons ---^

Regions may have said how well they could answer (`brainnet.snn.models.bid_layer`); the names of those that have bid are
routes as well, also those that the weights do not know.

The membrane potential of the working memory is carried from prompt to prompt of a session, so that "once more" refers
to the previous prompt. Answers change it in between: the spikes of a region that answers where the network did not
expect it move the potentials to where a prompt for that region would have left them, so that "once more" goes to who
answered. The certainty of the previous decision sets the threshold of the neurons. The names of the routes are stored
with the weights; this module does not depend on them.

A decision is computed in numpy (`brainnet.snn.models.router_inference`), and nothing here imports torch: a process that
only decides starts faster and smaller. `brainnet.snn.models.router_network` has the network as a torch module, which
training needs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from brainnet.errors import ModelError
from brainnet.snn.models import decision
from brainnet.snn.models.bid_layer import BidLayer, untrained
from brainnet.snn.models.quantum import EPSILON, PLASTICITY
from brainnet.snn.models.router_inference import RouterInference
from brainnet.snn.models.text_features import HashedVocabulary, clip_middle, route_tokens
from brainnet.snn.neurons.lif_steps import Floats

__all__ = [
    "RouteDecision",
    "RouteRequest",
    "Router",
    "RouterConfig",
    "RouterState",
    "TextScores",
    "embedding_rows",
    "prompt_tokens",
    "suffix_token",
]


MAX_ROUTING_TEMPERATURE = 10.0
"""Default clamp of the routing temperature. The trained weights are measured with it; the node, the trainings that use
the router and this module take it from here."""


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """The configuration of a router, stored in the metadata of its weights file.

    Attributes:
        routes: the names of the routes, in the order of the scores.
        steps: time steps of the TAS window.
        positions: the largest number of tokens.
        width: channels per token.
        heads: heads of the attention.
        beta: initial decay of the attention's neurons and of every second neuron of working memory; decays are learned.
        slow_beta: initial decay of the other neurons of working memory, which keep most of a prompt until the next one
            ends.
        unknown_rows: rows of the embedding table that unknown tokens share.
        base_threshold: the threshold of working memory after a certain decision.
        scale: multiplies the scores. It is fitted so that the modulated probabilities are calibrated (temperature
            scaling, Guo et al. 2017, before the modulation); it never changes which route is first.

    Raises:
        ModelError: sizes that do not fit.
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

    def __post_init__(self) -> None:
        if self.steps < 2 or self.positions < 1:
            raise ModelError(f"window must have at least 2 steps and 1 position, not {self.steps} and {self.positions}")
        if self.heads < 1 or self.width < 1 or self.width % self.heads:
            raise ModelError(f"width must be a multiple of heads, both at least 1, not {self.width} and {self.heads}")


@dataclass(frozen=True, slots=True)
class RouterState:
    """The working memory of a session between two prompts.

    Attributes:
        membrane: float32 [D], the mean membrane potential over the positions of the last prompt.
        threshold: the firing threshold that follows from the certainty of the last decision.
    """

    membrane: NDArray[np.float32]
    threshold: float


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """One prompt to be routed.

    Attributes:
        text: the prompt.
        has_image: whether an image comes with it.
        has_audio: whether audio comes with it.
        state: the state of the previous decision of the session; None starts from rest at the base threshold.
        bids: how well regions say they could answer, 0 to 1, by name.
    """

    text: str
    has_image: bool = False
    has_audio: bool = False
    state: RouterState | None = None
    bids: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextScores:
    """What the network finds in a prompt alone.

    Attributes:
        scores: float64, by the routes of the configuration.
        membrane: the potentials that the prompt leaves in working memory, float32 [D].
    """

    scores: NDArray[np.float64]
    membrane: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """One decision and all values that it follows from; rows run over `names`.

    Attributes:
        names: the names of the available routes.
        scores: before the softmax, with the bids.
        probs: as in `quantum.Modulation`, like the next five.
        entropy: in nats.
        alpha: the certainty.
        temperature: the routing temperature.
        threshold: the next threshold of working memory.
        route_probs: the modulated probabilities.
        chosen: the chosen routes, likeliest first.
        state: to be passed to the next decision of the session.
        text_scores: of the text alone, by name; those that the weights do not know have none.
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
    state: RouterState
    text_scores: dict[str, float]


def prompt_tokens(text: str, *, has_image: bool, has_audio: bool, limit: int) -> list[str]:
    """Return the tokens of a prompt: a start mark, marks for an image or audio, and those of the text.

    If there are more than `limit`, tokens in the middle of the text are dropped.
    """
    marks = ["<start>", *(["<image>"] if has_image else []), *(["<audio>"] if has_audio else [])]
    return marks + clip_middle(route_tokens(text), limit - len(marks))


def suffix_token(word: str) -> str:
    """Return the token that stands for all words with the same last three letters."""
    return f"~{word[-3:]}"


def embedding_rows(tokens: list[str], vocabulary: HashedVocabulary) -> NDArray[np.int64]:
    """Return the rows of the embedding table, int64 [L].

    An unknown word gets the row of its suffix token, if that is known.
    """
    rows = vocabulary.rows(tokens)
    unknown = rows <= vocabulary.unknown_rows
    if not unknown.any():
        return rows
    return np.where(unknown, vocabulary.rows([suffix_token(token) for token in tokens]), rows)


class Router:
    """A trained router. Not thread-safe.

    Args:
        config: the configuration.
        weights: float32, by the names of the parameters of `router_network.RouterNet`.
        vocabulary: the known tokens, one for each row of the embedding table.

    Raises:
        ModelError: weights that do not fit the configuration and the vocabulary.
    """

    def __init__(self, config: RouterConfig, weights: Mapping[str, Floats], vocabulary: HashedVocabulary) -> None:
        _check_weights(config, weights, len(vocabulary))
        self.config = config
        self.weights = weights
        self.vocabulary = vocabulary
        self._inference = RouterInference(config, weights)
        self._bids = BidLayer(config.routes, weights)

    @classmethod
    def load(cls, path: Path | str) -> Router:
        """Read the weights.

        Raises:
            ModelError: the file is missing or is not the weights of a router.
        """
        try:
            with safe_open(str(path), framework="numpy") as file:
                meta = json.loads((file.metadata() or {})["router"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            vocabulary = HashedVocabulary(tensors.pop("vocabulary"), meta["unknown_rows"])
            config = RouterConfig(**{**meta, "routes": tuple(meta["routes"])})
            # Weights from before answers reached working memory lack these.
            tensors.setdefault("answers", np.zeros((len(config.routes), config.width), np.float16))
            tensors = untrained(len(config.routes)) | tensors
            return cls(config, {name: array.astype(np.float32) for name, array in tensors.items()}, vocabulary)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, ModelError) as error:
            raise ModelError(f"{path} holds no router weights ({error}); `brainnet train` makes them") from error

    def save(self, path: Path | str) -> None:
        """Write the weights in float16, with the configuration in the metadata."""
        tensors: dict[str, NDArray[Any]] = {
            name: np.ascontiguousarray(array, np.float16) for name, array in self.weights.items()
        }
        tensors["vocabulary"] = self.vocabulary.hashes
        save_file(tensors, str(path), metadata={"router": json.dumps(asdict(self.config))})

    def rescaled(self, scale: float) -> Router:
        """Return a router with the same weights and another scale of its scores."""
        return Router(replace(self.config, scale=scale), self.weights, self.vocabulary)

    def token_rows(self, text: str, *, has_image: bool = False, has_audio: bool = False) -> NDArray[np.int64]:
        """Return the tokens of the prompt as rows of the embedding table, int64 [L]."""
        tokens = prompt_tokens(text, has_image=has_image, has_audio=has_audio, limit=self.config.positions)
        return embedding_rows(tokens, self.vocabulary)

    def encode(self, text: str, *, has_image: bool = False, has_audio: bool = False) -> NDArray[np.uint8]:
        """Return the TAS code of the prompt: uint8 [L * D, T], neuron = position * D + channel."""
        rows = self.token_rows(text, has_image=has_image, has_audio=has_audio)
        spikes = self._inference.encode(rows[None])[:, 0]
        return np.ascontiguousarray(spikes.reshape(len(spikes), -1).T).view(np.uint8)

    def after_answer(self, state: RouterState | None, route: str, strength: float) -> RouterState:
        """Return the state of a session after a region has answered in it; deterministic.

        The membrane potentials move by `strength` towards those that a prompt for that region leaves behind.

        Args:
            state: the state before; None is rest at the base threshold.
            route: who answered; a name that the weights do not know changes nothing.
            strength: how far, 0 to 1.
        """
        if state is None:
            state = RouterState(np.zeros(self.config.width, np.float32), self.config.base_threshold)
        if route not in self.config.routes:
            return state
        towards = self.weights["answers"][self.config.routes.index(route)]
        return RouterState(state.membrane + np.float32(strength) * (towards - state.membrane), state.threshold)

    def with_answers(self, prompts: Mapping[str, Iterable[RouteRequest]]) -> Router:
        """Return a router whose working memory knows the answers of regions from prompts that are theirs.

        Args:
            prompts: prompts for each region; what an answer of the region moves working memory towards is the mean of
                what they leave behind. A region without prompts keeps what it has.
        """
        answers = self.weights["answers"].copy()
        for route, requests in prompts.items():
            left = [self.decide_batch([request])[0].state.membrane for request in requests]
            if left:
                answers[self.config.routes.index(route)] = np.mean(left, axis=0)
        return Router(self.config, {**self.weights, "answers": answers}, self.vocabulary)

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
        max_temperature: float = MAX_ROUTING_TEMPERATURE,
    ) -> RouteDecision:
        """Choose the routes of one prompt; deterministic.

        Args:
            text: the prompt.
            has_image: whether an image comes with it.
            has_audio: whether audio comes with it.
            available: the routes to choose from; None for all. Names that the weights do not know are ignored.
            state: the state of the previous decision of the session; None starts from rest at the base threshold.
            mass: the probability that the chosen routes reach together.
            plasticity: as in `quantum.modulate`, like the next two.
            epsilon: see `plasticity`.
            max_temperature: see `plasticity`.

        Raises:
            ModelError: none of the available names is known.
        """
        params = decision.DecisionParams(mass, self.config.base_threshold, plasticity, epsilon, max_temperature)
        request = RouteRequest(text, has_image=has_image, has_audio=has_audio, state=state)
        return self.decide_batch([request], available=available, params=params)[0]

    def decide_batch(
        self,
        requests: Sequence[RouteRequest],
        *,
        available: Collection[str] | None = None,
        params: decision.DecisionParams | None = None,
    ) -> list[RouteDecision]:
        """Choose the routes of several prompts, each as `decide` does; scores differ by the rounding of float32 sums.

        Args:
            requests: the prompts.
            available: the routes to choose from; None for all.
            params: the constants; by default those of `decide`.

        Raises:
            ModelError: none of the available names is known.
        """
        made = zip(requests, self.score_batch(requests), strict=True)
        return [self.choose(scored, request.bids, available=available, params=params) for request, scored in made]

    def score_batch(self, requests: Sequence[RouteRequest]) -> list[TextScores]:
        """Run the network for several prompts; their bids do not count yet.

        Prompts with the same number of tokens are computed together, which takes less time than one after the other.
        """
        rows = [self.token_rows(r.text, has_image=r.has_image, has_audio=r.has_audio) for r in requests]
        groups: dict[tuple[int, float | None], list[int]] = {}
        for index, request in enumerate(requests):
            threshold = None if request.state is None else request.state.threshold
            groups.setdefault((len(rows[index]), threshold), []).append(index)
        scored: dict[int, TextScores] = {}
        for (_, threshold), members in groups.items():
            # a group has states for all of its prompts or for none, because those without have no threshold
            held = [state.membrane for index in members if (state := requests[index].state) is not None]
            spikes = self._inference.encode(np.stack([rows[index] for index in members]))
            scores, membranes = self._inference.run(spikes, np.stack(held) if held else None, threshold)
            for index, row, potential in zip(members, scores.astype(np.float64), membranes, strict=True):
                scored[index] = TextScores(row, potential.copy())
        return [scored[index] for index in range(len(requests))]

    def choose(
        self,
        scored: TextScores,
        bids: Mapping[str, float],
        *,
        available: Collection[str] | None = None,
        params: decision.DecisionParams | None = None,
    ) -> RouteDecision:
        """Choose the routes of one prompt from what the network found in its text and from the bids; deterministic.

        Args:
            scored: what `score_batch` made of the prompt.
            bids: how well regions could answer, by name. Where the weights do not know the name, it is a route as well.
            available: the routes to choose from; None for all.
            params: the constants; by default those of `decide`.

        Raises:
            ModelError: none of the available names is known, or has bid.
        """
        if params is None:
            params = decision.DecisionParams(
                base_threshold=self.config.base_threshold, max_temperature=MAX_ROUTING_TEMPERATURE
            )
        names, scores = self._bids.scores(scored.scores, bids)
        chosen = decision.decide(scores, names, available, params)
        modulation = chosen.modulation
        text_scores = dict(zip(self.config.routes, map(float, scored.scores), strict=True))
        return RouteDecision(
            names=chosen.names,
            scores=chosen.scores,
            probs=modulation.probs,
            entropy=modulation.entropy,
            alpha=modulation.alpha,
            temperature=modulation.temperature,
            threshold=modulation.threshold,
            route_probs=modulation.route_probs,
            chosen=chosen.chosen,
            state=RouterState(scored.membrane, modulation.threshold),
            text_scores={name: score for name, score in text_scores.items() if name in chosen.names},
        )

    def with_bids(self, weights: Mapping[str, Floats]) -> Router:
        """Return a router with other weights of its bids (`brainnet.snn.models.bid_layer`)."""
        return Router(self.config, {**self.weights, **weights}, self.vocabulary)


def _check_weights(config: RouterConfig, weights: Mapping[str, Floats], rows: int) -> None:
    """Raise ModelError unless these are the weights of a network with this configuration and number of tokens."""
    width, routes = config.width, len(config.routes)
    expected = {
        "answers": (routes, width),
        **{name: array.shape for name, array in untrained(routes).items()},
        "encoder.embedding.weight": (rows, width),
        "input.weight": (width, width),
        "input.bias": (width,),
        "decay": (width,),
        "attention.neurons.decay": (width,),
        "attention.project.weight": (3 * width, width),
        "attention.output.weight": (width, width),
        "readout.weight": (routes, 4 * width),
        "readout.bias": (routes,),
    }
    found = {name: array.shape for name, array in weights.items()}
    wrong = [
        f"{name} is {found.get(name, 'missing')} and should be {expected.get(name, 'left out')}"
        for name in sorted({*expected, *found})
        if found.get(name) != expected.get(name)
    ]
    if wrong:
        raise ModelError("; ".join(wrong))

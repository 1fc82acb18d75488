"""Text from the spiking language model, token by token, with event-driven kernels on one core.

Every large projection of the model sees 0/1 input, so a step adds up the weight rows of the neurons that fired and
never multiplies by zeros. The state is a few numbers per neuron, whatever the length of the text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from brainnet.errors import ModelError
from brainnet.snn.kernels import FloatArray, compiled
from brainnet.snn.language_model import SpikingLanguageModel, load_language_model
from brainnet.snn.norm import EPSILON

END_TOKEN = 0
_ONE = np.float32(1)
_EPSILON = np.float32(EPSILON)


class Weights(NamedTuple):
    """The model's arrays, blocks stacked first; matrices are [inputs, outputs], so that a spike selects a row."""

    embedding: FloatArray
    norm: FloatArray
    mixer_norm: FloatArray
    mixer_beta: FloatArray
    project: FloatArray
    forget_bias: FloatArray
    hidden_norm: FloatArray
    out: FloatArray
    channel_norm: FloatArray
    channel_beta: FloatArray
    expand: FloatArray
    expanded_norm: FloatArray
    expanded_beta: FloatArray
    contract: FloatArray


class State(NamedTuple):
    """Membrane potentials [layers, neurons] of each block's three LIF layers, and the recurrence's hidden state."""

    mixer: FloatArray
    hidden: FloatArray
    channel: FloatArray
    expanded: FloatArray


@numba.njit(fastmath=True)
def _normalised(x: FloatArray, gain: FloatArray, result: FloatArray) -> None:
    total = np.float32(0)
    for i in range(x.shape[0]):
        total += x[i] * x[i]
    scale = _ONE / np.sqrt(total / np.float32(x.shape[0]) + _EPSILON)
    for i in range(x.shape[0]):
        result[i] = x[i] * scale * gain[i]


@numba.njit
def _fire(
    currents: FloatArray, beta: FloatArray, membrane: FloatArray, fired: NDArray[np.uint8], active: NDArray[np.int32]
) -> int:
    """One LIF step (threshold 1, reset by subtraction); fills ``fired`` and lists who fired in ``active``."""
    count = 0
    for i in range(currents.shape[0]):
        u = beta[i] * membrane[i] + currents[i] - (_ONE if membrane[i] > _ONE else np.float32(0))
        membrane[i] = u
        fired[i] = u > _ONE
        if u > _ONE:
            active[count] = i
            count += 1
    return count


@numba.njit(fastmath=True)
def _add_rows(matrix: FloatArray, active: NDArray[np.int32], count: int, result: FloatArray) -> None:
    """``result += matrix[active[:count]].sum(0)``, four rows a pass."""
    whole = count // 4 * 4
    for k in range(0, whole, 4):
        a, b = matrix[active[k]], matrix[active[k + 1]]
        c, d = matrix[active[k + 2]], matrix[active[k + 3]]
        for j in range(result.shape[0]):
            result[j] += (a[j] + b[j]) + (c[j] + d[j])
    for k in range(whole, count):
        row = matrix[active[k]]
        for j in range(result.shape[0]):
            result[j] += row[j]


@compiled
def _advance(token: int, wanted: bool, w: Weights, s: State, fired: NDArray[np.uint8], logits: FloatArray) -> None:
    """Take in one token: updates ``s``, fills ``fired`` (all neurons, block by block) and, if wanted, ``logits``."""
    width, wide = w.embedding.shape[1], w.contract.shape[1]
    x = w.embedding[token].copy()
    y = np.empty(width, np.float32)
    projected = np.empty(3 * width, np.float32)
    currents = np.empty(wide, np.float32)
    active = np.empty(wide, np.int32)
    at = 0
    for layer in range(w.project.shape[0]):
        _normalised(x, w.mixer_norm[layer], y)
        count = _fire(y, w.mixer_beta[layer], s.mixer[layer], fired[at : at + width], active)
        at += width
        projected[:] = 0
        _add_rows(w.project[layer], active, count, projected)
        hidden = s.hidden[layer]
        for i in range(width):
            forget = _ONE / (_ONE + np.exp(-(projected[i] + w.forget_bias[layer, i])))
            hidden[i] = forget * hidden[i] + (_ONE - forget) * projected[width + i]
        _normalised(hidden, w.hidden_norm[layer], y)
        for i in range(width):
            gate = projected[2 * width + i]
            gated = y[i] * gate / (_ONE + np.exp(-gate))
            row = w.out[layer, i]
            for j in range(width):
                x[j] += gated * row[j]
        _normalised(x, w.channel_norm[layer], y)
        count = _fire(y, w.channel_beta[layer], s.channel[layer], fired[at : at + width], active)
        at += width
        currents[:] = 0
        _add_rows(w.expand[layer], active, count, currents)
        _normalised(currents, w.expanded_norm[layer], currents)
        count = _fire(currents, w.expanded_beta[layer], s.expanded[layer], fired[at : at + wide], active)
        at += wide
        _add_rows(w.contract[layer], active, count, x)
    if wanted:
        _normalised(x, w.norm, y)
        _dot_rows(w.embedding, y, logits)


@numba.njit(fastmath=True)
def _dot_rows(matrix: FloatArray, x: FloatArray, result: FloatArray) -> None:
    for i in range(matrix.shape[0]):
        row = matrix[i]
        total = np.float32(0)
        for j in range(x.shape[0]):
            total += row[j] * x[j]
        result[i] = total


def arrays(model: SpikingLanguageModel) -> Weights:
    """The model's parameters as the kernels want them."""

    def stacked(name: str) -> FloatArray:
        parameters = [block.get_parameter(name).detach().float() for block in model.blocks]
        if name.endswith("decay"):
            parameters = [torch.sigmoid(p) for p in parameters]
        return np.stack([np.ascontiguousarray(p.t() if p.ndim == 2 else p) for p in parameters])

    return Weights(
        model.embedding.weight.detach().float().numpy().copy(),
        model.norm.weight.detach().float().numpy().copy(),
        stacked("mixer_norm.weight"),
        stacked("mixer_lif.decay"),
        stacked("project.weight"),
        stacked("forget_bias"),
        stacked("hidden_norm.weight"),
        stacked("out.weight"),
        stacked("channel_norm.weight"),
        stacked("channel_lif.decay"),
        stacked("expand.weight"),
        stacked("expanded_norm.weight"),
        stacked("expanded_lif.decay"),
        stacked("contract.weight"),
    )


class EventDrivenModel:
    """The model as a stepper: same logits as the torch module, computed from events."""

    def __init__(self, model: SpikingLanguageModel) -> None:
        self._weights = arrays(model)
        layers, wide, width = self._weights.contract.shape
        self.neurons = layers * (2 * width + wide)
        self.vocabulary = len(self._weights.embedding)
        self._state = State(*(np.zeros((layers, n), np.float32) for n in (width, width, width, wide)))

    def reset(self) -> None:
        """Forget everything: all membranes and hidden states back to zero."""
        for part in self._state:
            part.fill(0)

    def advance(self, token: int) -> tuple[FloatArray, NDArray[np.uint8]]:
        """Take in one token; the logits [vocabulary] of the next, and which neurons fired: 0/1 [neurons]."""
        logits, fired = np.empty(self.vocabulary, np.float32), np.empty(self.neurons, np.uint8)
        _advance(token, True, self._weights, self._state, fired, logits)
        return logits, fired

    def read(self, tokens: list[int]) -> None:
        """Take in several tokens whose logits nobody needs."""
        logits, fired = np.empty(0, np.float32), np.empty(self.neurons, np.uint8)
        for token in tokens:
            _advance(token, False, self._weights, self._state, fired, logits)


def sample(logits: FloatArray, temperature: float, top_p: float, generator: np.random.Generator) -> tuple[int, float]:
    """A token and the probability that the untempered model gives it.

    Nucleus sampling (Holtzman et al. 2020): drawn from the smallest set of tokens whose tempered probabilities reach
    ``top_p``; temperature 0 takes the most probable token.
    """
    shifted = logits - logits.max()
    weights = np.exp(shifted)
    if temperature == 0:
        token = int(shifted.argmax())
        return token, float(weights[token] / weights.sum())
    tempered = np.exp(shifted / np.float32(temperature))
    tempered /= tempered.sum()
    # no token below (1 - top_p) / n can be needed to reach top_p, so only the rest is sorted
    candidates = np.flatnonzero(tempered > (1 - top_p) / len(tempered)) if top_p < 1 else np.arange(len(tempered))
    candidates = candidates[np.argsort(-tempered[candidates], kind="stable")]
    reached = np.cumsum(tempered[candidates], dtype=np.float64)
    kept = int(np.searchsorted(reached, top_p)) + 1
    reached = reached[:kept]
    token = int(candidates[min(np.searchsorted(reached, generator.random() * reached[-1]), len(reached) - 1)])
    return token, float(weights[token] / weights.sum())


@dataclass(frozen=True)
class GeneratedToken:
    """One token: its ``text`` (empty while a character's bytes are incomplete), the model's probability for it, and
    which ``neurons`` fired, 0/1, on the step that chose it."""

    text: str
    probability: float
    neurons: NDArray[np.uint8]


class TextGenerator:
    """Continues texts. Not safe for use by two threads at once: the state belongs to one text at a time."""

    def __init__(self, weights: Path, tokenizer: Path, context_characters: int = 8000) -> None:
        """Raises ModelError when one of the files is not what it should be or they do not fit each other."""
        try:
            self.tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # the package raises bare Exception
            raise ModelError(f"{tokenizer} holds no tokenizer: {error}") from error
        self.model = EventDrivenModel(load_language_model(weights))
        if self.tokenizer.get_vocab_size() > self.model.vocabulary:
            raise ModelError(
                f"{tokenizer} has {self.tokenizer.get_vocab_size()} tokens, {weights} knows {self.model.vocabulary}"
            )
        self._context = context_characters

    def warm_up(self) -> None:
        """Compile the kernel, or load it from the cache."""
        self.model.read([END_TOKEN])

    def generate(
        self, prompt: str, max_tokens: int, temperature: float = 0.8, top_p: float = 0.95, seed: int = 0
    ) -> Iterator[GeneratedToken]:
        """Yield up to ``max_tokens`` tokens that continue ``prompt`` (its last ``context_characters``).

        Ends early where the model ends the text. The same seed gives the same text.
        """
        generator = np.random.default_rng(seed)
        stream = DecodeStream(skip_special_tokens=True)
        ids = self.tokenizer.encode(prompt[-self._context :]).ids
        self.model.reset()
        self.model.read([END_TOKEN, *ids[:-1]] if ids else [])
        logits, fired = self.model.advance(ids[-1] if ids else END_TOKEN)
        for _ in range(max_tokens):
            token, probability = sample(logits, temperature, top_p, generator)
            if token == END_TOKEN:
                return
            yield GeneratedToken(stream.step(self.tokenizer, token) or "", probability, fired)
            logits, fired = self.model.advance(token)

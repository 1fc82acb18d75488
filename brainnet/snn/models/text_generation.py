"""Text from the spiking text model, token by token, with event-driven kernels on one core.

Every large projection of the model sees 0/1 input, so a step adds up the weight rows of the neurons that fired and
never multiplies by zeros; weights are whole numbers of 8 bits, and so are the sums exact. The state is a few numbers
per neuron, whatever the length of the text.
"""

from __future__ import annotations

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
from brainnet.snn.layers.norm import EPSILON
from brainnet.snn.models.text_kernels import exponential, logistic, scale_of
from brainnet.snn.models.text_model import SpikingTextModel, load_text_model, rounded

END_TOKEN = 0
_ZERO, _ONE = np.float32(0), np.float32(1)
_EPSILON = np.float32(EPSILON)
_SUMMED = 256
"""Rows that are added up in 16 bits: 256 x 127 just fits."""
ByteArray = NDArray[np.int8]


class Weights(NamedTuple):
    """The model's arrays, blocks stacked first. Matrices that spikes select rows of are [inputs, outputs]."""

    embedding: ByteArray
    embedding_scale: FloatArray
    norm: FloatArray
    mixer_gain: FloatArray
    mixer_bias: FloatArray
    mixer_beta: FloatArray
    project: ByteArray
    project_scale: FloatArray
    forget_bias: FloatArray
    hidden_norm: FloatArray
    out: ByteArray
    out_scale: FloatArray
    channel_gain: FloatArray
    channel_bias: FloatArray
    channel_beta: FloatArray
    expand: ByteArray
    expand_scale: FloatArray
    expanded_gain: FloatArray
    expanded_bias: FloatArray
    expanded_beta: FloatArray
    contract: ByteArray
    contract_scale: FloatArray


class State(NamedTuple):
    """Membrane potentials [layers, neurons] of each block's three LIF layers, and the recurrence's hidden state."""

    mixer: FloatArray
    hidden: FloatArray
    channel: FloatArray
    expanded: FloatArray


@numba.njit(fastmath=True)
def _normalised(x: FloatArray, gain: FloatArray, result: FloatArray) -> None:
    scale = scale_of(x, _EPSILON)
    for i in range(x.shape[0]):
        result[i] = x[i] * scale * gain[i]


@numba.njit(fastmath=True)
def _integrate(
    x: FloatArray, scale: np.float32, gain: FloatArray, bias: FloatArray, beta: FloatArray, membrane: FloatArray
) -> None:
    for i in range(x.shape[0]):
        fired = _ONE if membrane[i] > _ONE else _ZERO
        membrane[i] = beta[i] * membrane[i] + x[i] * scale * gain[i] + bias[i] - fired


@numba.njit
def _fire(
    x: FloatArray,
    gain: FloatArray,
    bias: FloatArray,
    beta: FloatArray,
    membrane: FloatArray,
    fired: NDArray[np.uint8],
    active: NDArray[np.int32],
) -> int:
    """One LIF step (threshold 1, reset by subtraction) of neurons that see `x` normalised, the first of each channel
    before the second; fills `fired` and lists who fired in `active`.
    """
    scale, channels = scale_of(x, _EPSILON), x.shape[0]
    for start in range(0, membrane.shape[0], channels):
        part = slice(start, start + channels)
        _integrate(x, scale, gain[part], bias[part], beta[part], membrane[part])
    count = 0
    for i in range(membrane.shape[0]):
        # written always and kept only by a count that moves on: no branch to mispredict
        active[count] = i
        fired[i] = membrane[i] > _ONE
        count += fired[i]
    return count


@numba.njit(error_model="numpy")
def _add_rows(
    matrix: ByteArray,
    scale: FloatArray,
    active: NDArray[np.int32],
    count: int,
    total: NDArray[np.int16],
    result: FloatArray,
) -> None:
    """`result += scale * matrix[active[:count]].sum(0)`, four rows a pass."""
    columns = result.shape[0]
    for start in range(0, count, _SUMMED):
        stop = min(count, start + _SUMMED)
        whole = start + (stop - start) // 4 * 4
        for j in range(columns):
            total[j] = 0
        for k in range(start, whole, 4):
            a, b = matrix[active[k]], matrix[active[k + 1]]
            c, d = matrix[active[k + 2]], matrix[active[k + 3]]
            for j in range(columns):
                total[j] = total[j] + a[j] + b[j] + c[j] + d[j]
        for k in range(whole, stop):
            row = matrix[active[k]]
            for j in range(columns):
                total[j] += row[j]
        for j in range(columns):
            result[j] += scale[j] * np.float32(total[j])


@numba.njit(fastmath=True, error_model="numpy")
def _dot_rows(matrix: ByteArray, scale: FloatArray, x: FloatArray, result: FloatArray) -> None:
    """`result += scale * (matrix @ x)`."""
    for i in range(matrix.shape[0]):
        row = matrix[i]
        total = _ZERO
        for j in range(x.shape[0]):
            total += np.float32(row[j]) * x[j]
        result[i] += scale[i] * total


@compiled
def _advance(token: int, wanted: bool, w: Weights, s: State, fired: NDArray[np.uint8], logits: FloatArray) -> None:
    """Take in one token: updates `s`, fills `fired` (all neurons, block by block) and, if wanted, `logits`."""
    width, mixing, (seen, wide) = w.embedding.shape[1], w.project.shape[1], w.expand.shape[1:]
    x = np.empty(width, np.float32)
    for i in range(width):
        x[i] = w.embedding_scale[token] * np.float32(w.embedding[token, i])
    y = np.empty(width, np.float32)
    projected = np.empty(3 * width, np.float32)
    currents = np.empty(wide, np.float32)
    active = np.empty(max(mixing, seen, wide), np.int32)
    total = np.empty(max(3 * width, wide), np.int16)
    at = 0
    for layer in range(w.project.shape[0]):
        gain, bias, beta = w.mixer_gain[layer], w.mixer_bias[layer], w.mixer_beta[layer]
        count = _fire(x, gain, bias, beta, s.mixer[layer], fired[at : at + mixing], active)
        at += mixing
        projected[:] = _ZERO
        _add_rows(w.project[layer], w.project_scale[layer], active, count, total, projected)
        hidden = s.hidden[layer]
        for i in range(width):
            forget = logistic(projected[i] + w.forget_bias[layer, i])
            hidden[i] = forget * hidden[i] + (_ONE - forget) * projected[width + i]
        _normalised(hidden, w.hidden_norm[layer], y)
        for i in range(width):
            gate = projected[2 * width + i]
            y[i] *= gate * logistic(gate)
        _dot_rows(w.out[layer], w.out_scale[layer], y, x)
        gain, bias, beta = w.channel_gain[layer], w.channel_bias[layer], w.channel_beta[layer]
        count = _fire(x, gain, bias, beta, s.channel[layer], fired[at : at + seen], active)
        at += seen
        currents[:] = _ZERO
        _add_rows(w.expand[layer], w.expand_scale[layer], active, count, total, currents)
        gain, bias, beta = w.expanded_gain[layer], w.expanded_bias[layer], w.expanded_beta[layer]
        count = _fire(currents, gain, bias, beta, s.expanded[layer], fired[at : at + wide], active)
        at += wide
        _add_rows(w.contract[layer], w.contract_scale[layer], active, count, total, x)
    if wanted:
        _normalised(x, w.norm, y)
        logits[:] = _ZERO
        _dot_rows(w.embedding, w.embedding_scale, y, logits)


def arrays(model: SpikingTextModel) -> Weights:
    """The model's parameters as the kernels want them, matrices rounded as they are in a weights file."""

    def stacked(name: str) -> FloatArray:
        parameters = [block.get_parameter(name).detach().float() for block in model.blocks]
        return np.stack([p.numpy() for p in parameters])

    def neurons(name: str) -> tuple[FloatArray, FloatArray, FloatArray]:
        decays = torch.from_numpy(stacked(f"{name}.decay"))
        return stacked(f"{name}.gain"), stacked(f"{name}.bias"), torch.sigmoid(decays).numpy()

    def rows(name: str, by_input: bool = True) -> tuple[ByteArray, FloatArray]:
        parts = [rounded(block.get_parameter(name).detach()) for block in model.blocks]
        numbers = np.stack([(whole.t() if by_input else whole).contiguous().numpy() for whole, _ in parts])
        return numbers, np.stack([scale.numpy() for _, scale in parts])

    embedding, embedding_scale = rounded(model.embedding.weight.detach())
    return Weights(
        embedding.numpy(),
        embedding_scale.numpy(),
        model.norm.weight.detach().float().numpy().copy(),
        *neurons("mixer"),
        *rows("project.weight"),
        stacked("forget_bias"),
        stacked("hidden_norm.weight"),
        *rows("out.weight", by_input=False),
        *neurons("channel"),
        *rows("expand.weight"),
        *neurons("expanded"),
        *rows("contract.weight"),
    )


class EventDrivenModel:
    """The model as a stepper: the torch module's logits, computed from events.

    Matrices are rounded to 8 bits a weight, which changes nothing for a model from a weights file.
    """

    def __init__(self, model: SpikingTextModel) -> None:
        """Raises ModelError for a control, which has no neurons."""
        if not model.config.spiking:
            raise ModelError("model is a control without neurons: there are no events to be driven by")
        self._weights = arrays(model)
        layers, mixing, _ = self._weights.project.shape
        _, seen, wide = self._weights.expand.shape
        self.neurons = layers * (mixing + seen + wide)
        self.vocabulary, width = self._weights.embedding.shape
        self._state = State(*(np.zeros((layers, n), np.float32) for n in (mixing, width, seen, wide)))

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


@compiled
def _draw(logits: FloatArray, temperature: np.float32, top_p: float, uniform: float) -> tuple[int, float]:
    """The token at `uniform` (0..1) of the nucleus' distribution, and the untempered probability of it."""
    classes = logits.shape[0]
    top = logits.max()
    tempered = np.empty(classes, np.float32)
    mass = _ZERO
    for i in range(classes):
        mass += exponential(logits[i] - top)
    total = _ZERO
    for i in range(classes):
        tempered[i] = exponential((logits[i] - top) / temperature)
        total += tempered[i]
    # no token below (1 - top_p) / n can be needed to reach top_p, so only the rest is sorted
    least = np.float32((1 - top_p) / classes) * total
    candidates = np.flatnonzero(tempered > least) if top_p < 1 else np.arange(classes)
    candidates = candidates[np.argsort(-tempered[candidates], kind="mergesort")]
    kept, reached = 0, 0.0
    while kept < candidates.size and (kept == 0 or reached < top_p * total):
        reached += tempered[candidates[kept]]
        kept += 1
    chosen, before = candidates[kept - 1], 0.0
    for k in range(kept):
        before += tempered[candidates[k]]
        if before >= uniform * reached:
            chosen = candidates[k]
            break
    return chosen, exponential(logits[chosen] - top) / mass


def sample(logits: FloatArray, temperature: float, top_p: float, generator: np.random.Generator) -> tuple[int, float]:
    """A token and the probability that the untempered model gives it.

    Nucleus sampling (Holtzman et al. 2020): drawn from the smallest set of tokens whose tempered probabilities reach
    `top_p`; temperature 0 takes the most probable token.
    """
    if temperature == 0:
        token = int(logits.argmax())
        return token, float(1 / np.exp(logits - logits[token]).sum())
    token, probability = _draw(logits, np.float32(temperature), top_p, generator.random())
    return int(token), float(probability)


@dataclass(frozen=True)
class GeneratedToken:
    """One token: its `text` (empty while a character's bytes are incomplete), the model's probability for it, and
    which `neurons` fired, 0/1, on the step that chose it.
    """

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
        self.model = EventDrivenModel(load_text_model(weights))
        if self.tokenizer.get_vocab_size() > self.model.vocabulary:
            raise ModelError(
                f"{tokenizer} has {self.tokenizer.get_vocab_size()} tokens, {weights} knows {self.model.vocabulary}"
            )
        self._context = context_characters

    def warm_up(self) -> None:
        """Compile the kernels, or load them from the cache."""
        sample(self.model.advance(END_TOKEN)[0], 1.0, 0.5, np.random.default_rng(0))

    def generate(
        self, prompt: str, max_tokens: int, temperature: float = 0.8, top_p: float = 0.95, seed: int = 0
    ) -> Iterator[GeneratedToken]:
        """Yield up to `max_tokens` tokens that continue `prompt` (its last `context_characters`).

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

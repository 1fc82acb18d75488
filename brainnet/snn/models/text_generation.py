"""Text generation with the spiking text model, token by token, with event-driven kernels on one core.

Every large projection of the model has 0/1 inputs. So a step adds the weight rows of the neurons that fired, and never
multiplies by zeros. Weights are int8, which makes the sums exact. The state has a few numbers per neuron, whatever the
length of the text.
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
from brainnet.snn.models.text_kernels import exponential, inverse_rms, logistic
from brainnet.snn.models.text_model import SpikingTextModel, load_text_model, quantize_rows

END_TOKEN = 0
# typed constants: a Python float literal would turn the arithmetic of a kernel into float64
_ZERO, _ONE = np.float32(0), np.float32(1)
_EPSILON = np.float32(EPSILON)
_MAX_INT16_ROWS = 256
"""Rows of int8 that are added in int16 without overflow, since 256 x 127 < 2^15. A vector register holds twice as many
int16 as int32."""
ByteArray = NDArray[np.int8]


class Weights(NamedTuple):
    """The arrays of the model, one block after the other along the first axis.

    Matrices whose rows are selected by spikes are [inputs, outputs], so that each row is contiguous.
    """

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
    """Membrane potentials [layers, neurons] of the three LIF layers of each block, and the recurrent hidden state."""

    mixer: FloatArray
    hidden: FloatArray
    channel: FloatArray
    expanded: FloatArray


@numba.njit(fastmath=True)
def _rms_norm(x: FloatArray, gain: FloatArray, result: FloatArray) -> None:
    scale = inverse_rms(x, _EPSILON)
    for i in range(x.shape[0]):
        result[i] = x[i] * scale * gain[i]


@numba.njit(fastmath=True)
def _integrate(
    x: FloatArray, scale: np.float32, gain: FloatArray, bias: FloatArray, beta: FloatArray, membrane: FloatArray
) -> None:
    for i in range(x.shape[0]):
        # the spike of the previous step follows from the potential, so only the potential is stored
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
    """Run one LIF step (threshold 1, reset by subtraction) of neurons on the normalised `x`.

    Neuron i sees channel i modulo C. Fills `fired`, and `active` with the indices of the neurons that fired.

    Returns:
        The number of neurons that fired.
    """
    scale, channels = inverse_rms(x, _EPSILON), x.shape[0]
    # one population of C neurons per turn: `x` needs no repetition and no index modulo C
    for start in range(0, membrane.shape[0], channels):
        part = slice(start, start + channels)
        _integrate(x, scale, gain[part], bias[part], beta[part], membrane[part])
    count = 0
    for i in range(membrane.shape[0]):
        # written for every neuron; `count` moves on only if it fired. A branch would often be mispredicted
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
    """Add `scale * matrix[active[:count]].sum(0)` to `result`."""
    columns = result.shape[0]
    for start in range(0, count, _MAX_INT16_ROWS):
        stop = min(count, start + _MAX_INT16_ROWS)
        # four rows per pass: `total` is read and written once instead of four times
        unrolled_end = start + (stop - start) // 4 * 4
        for j in range(columns):
            total[j] = 0
        for k in range(start, unrolled_end, 4):
            a, b = matrix[active[k]], matrix[active[k + 1]]
            c, d = matrix[active[k + 2]], matrix[active[k + 3]]
            for j in range(columns):
                total[j] = total[j] + a[j] + b[j] + c[j] + d[j]
        # the remaining one to three rows
        for k in range(unrolled_end, stop):
            row = matrix[active[k]]
            for j in range(columns):
                total[j] += row[j]
        # back to float32 once per 256 rows; the scale belongs to the output, so it multiplies the sum
        for j in range(columns):
            result[j] += scale[j] * np.float32(total[j])


@numba.njit(fastmath=True, error_model="numpy")
def _dot_rows(matrix: ByteArray, scale: FloatArray, x: FloatArray, result: FloatArray) -> None:
    """Add `scale * (matrix @ x)` to `result`."""
    # dense inputs: row by row, as a matrix [outputs, inputs] lies in memory; fastmath lets the sum vectorise
    for i in range(matrix.shape[0]):
        row = matrix[i]
        total = _ZERO
        for j in range(x.shape[0]):
            total += np.float32(row[j]) * x[j]
        result[i] += scale[i] * total


@compiled
def _advance(
    token: int, compute_logits: bool, w: Weights, s: State, fired: NDArray[np.uint8], logits: FloatArray
) -> None:
    """Process one token: updates `s` and fills `fired` (all neurons, block by block).

    Fills `logits` only if `compute_logits`.
    """
    width, mixer_size, (channel_size, expanded_size) = w.embedding.shape[1], w.project.shape[1], w.expand.shape[1:]
    x = np.empty(width, np.float32)
    for i in range(width):
        x[i] = w.embedding_scale[token] * np.float32(w.embedding[token, i])
    # scratch arrays, allocated once per token and shared by all blocks
    y = np.empty(width, np.float32)
    projected = np.empty(3 * width, np.float32)
    currents = np.empty(expanded_size, np.float32)
    active = np.empty(max(mixer_size, channel_size, expanded_size), np.int32)
    total = np.empty(max(3 * width, expanded_size), np.int16)
    at = 0
    for layer in range(w.project.shape[0]):
        gain, bias, beta = w.mixer_gain[layer], w.mixer_bias[layer], w.mixer_beta[layer]
        count = _fire(x, gain, bias, beta, s.mixer[layer], fired[at : at + mixer_size], active)
        at += mixer_size
        # event-driven: `active` lists the neurons that fired, the others cost nothing
        projected[:] = _ZERO
        _add_rows(w.project[layer], w.project_scale[layer], active, count, total, projected)
        hidden = s.hidden[layer]
        for i in range(width):
            forget = logistic(projected[i] + w.forget_bias[layer, i])
            hidden[i] = forget * hidden[i] + (_ONE - forget) * projected[width + i]
        _rms_norm(hidden, w.hidden_norm[layer], y)
        for i in range(width):
            gate = projected[2 * width + i]
            y[i] *= gate * logistic(gate)
        # the only projection of a block with dense inputs; it adds to the residual `x` in place
        _dot_rows(w.out[layer], w.out_scale[layer], y, x)
        gain, bias, beta = w.channel_gain[layer], w.channel_bias[layer], w.channel_beta[layer]
        count = _fire(x, gain, bias, beta, s.channel[layer], fired[at : at + channel_size], active)
        at += channel_size
        currents[:] = _ZERO
        _add_rows(w.expand[layer], w.expand_scale[layer], active, count, total, currents)
        gain, bias, beta = w.expanded_gain[layer], w.expanded_bias[layer], w.expanded_beta[layer]
        count = _fire(currents, gain, bias, beta, s.expanded[layer], fired[at : at + expanded_size], active)
        at += expanded_size
        # also adds to the residual in place
        _add_rows(w.contract[layer], w.contract_scale[layer], active, count, total, x)
    # reading a prompt skips this product, the largest of a step
    if compute_logits:
        _rms_norm(x, w.norm, y)
        logits[:] = _ZERO
        _dot_rows(w.embedding, w.embedding_scale, y, logits)


def kernel_weights(model: SpikingTextModel) -> Weights:
    """Return the parameters of the model as the kernels need them, matrices quantised as in a weights file."""

    def stacked(name: str) -> FloatArray:
        parameters = [block.get_parameter(name).detach().float() for block in model.blocks]
        return np.stack([p.numpy() for p in parameters])

    def neurons(name: str) -> tuple[FloatArray, FloatArray, FloatArray]:
        decays = torch.from_numpy(stacked(f"{name}.decay"))
        # the sigmoid once here instead of at every token, and torch's, so that beta is that of the trained model
        return stacked(f"{name}.gain"), stacked(f"{name}.bias"), torch.sigmoid(decays).numpy()

    def rows(name: str, by_input: bool = True) -> tuple[ByteArray, FloatArray]:
        parts = [quantize_rows(block.get_parameter(name).detach()) for block in model.blocks]
        # transposed, so that the weights of one input neuron are contiguous; `out` has dense inputs and stays as it is
        values = np.stack([(values.t() if by_input else values).contiguous().numpy() for values, _ in parts])
        return values, np.stack([scale.numpy() for _, scale in parts])

    embedding, embedding_scale = quantize_rows(model.embedding.weight.detach())
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
    """The model as a stepper: the logits of the torch module, computed from events.

    Matrices are quantised to int8, which changes nothing for a model from a weights file.

    Raises:
        ModelError: the model is a control without spiking neurons.
    """

    def __init__(self, model: SpikingTextModel) -> None:
        if not model.config.spiking:
            raise ModelError("model is a control without neurons: there are no events to be driven by")
        self._weights = kernel_weights(model)
        layers, mixer_size, _ = self._weights.project.shape
        _, channel_size, expanded_size = self._weights.expand.shape
        self.neurons = layers * (mixer_size + channel_size + expanded_size)
        self.vocabulary, width = self._weights.embedding.shape
        self._state = State(
            *(np.zeros((layers, n), np.float32) for n in (mixer_size, width, channel_size, expanded_size))
        )

    def reset(self) -> None:
        """Set all membrane potentials and hidden states to zero."""
        for part in self._state:
            part.fill(0)

    def advance(self, token: int) -> tuple[FloatArray, NDArray[np.uint8]]:
        """Process one token.

        Returns:
            The logits [vocabulary] of the next token, and which neurons fired, 0/1 [neurons].

        Raises:
            ModelError: The token is not of the vocabulary.
        """
        self._check(token)
        # new arrays for every token: callers may keep them
        logits, fired = np.empty(self.vocabulary, np.float32), np.empty(self.neurons, np.uint8)
        _advance(token, True, self._weights, self._state, fired, logits)
        return logits, fired

    def prefill(self, tokens: list[int]) -> None:
        """Process tokens without computing their logits.

        Raises:
            ModelError: A token is not of the vocabulary.
        """
        logits, fired = np.empty(0, np.float32), np.empty(self.neurons, np.uint8)
        for token in tokens:
            self._check(token)
            _advance(token, False, self._weights, self._state, fired, logits)

    def _check(self, token: int) -> None:
        # the compiled kernel checks no index: it would read whatever stands beside the table
        if not 0 <= token < self.vocabulary:
            raise ModelError(f"token {token} is outside the vocabulary of {self.vocabulary}")


@compiled
def _sample_nucleus(logits: FloatArray, temperature: np.float32, top_p: float, uniform: float) -> tuple[int, float]:
    """Return the token at quantile `uniform` (0..1) of the nucleus, and its probability at temperature 1."""
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
    # tokens below (1 - top_p) / n add up to less than 1 - top_p: the others reach top_p, and only those are sorted
    least = np.float32((1 - top_p) / classes) * total
    candidates = np.flatnonzero(tempered > least) if top_p < 1 else np.arange(classes)
    # a stable sort: equal probabilities stay in the order of the tokens, on every machine
    candidates = candidates[np.argsort(-tempered[candidates], kind="mergesort")]
    nucleus, nucleus_mass = 0, 0.0
    while nucleus < candidates.size and (nucleus == 0 or nucleus_mass < top_p * total):
        nucleus_mass += tempered[candidates[nucleus]]
        nucleus += 1
    # the last token of the nucleus, if rounding keeps the sum below uniform * nucleus_mass
    chosen, cumulative = candidates[nucleus - 1], 0.0
    for k in range(nucleus):
        cumulative += tempered[candidates[k]]
        if cumulative >= uniform * nucleus_mass:
            chosen = candidates[k]
            break
    return chosen, exponential(logits[chosen] - top) / mass


def sample(logits: FloatArray, temperature: float, top_p: float, generator: np.random.Generator) -> tuple[int, float]:
    """Return a token, and its probability at temperature 1.

    Nucleus sampling (Holtzman et al. 2020): the token is drawn from the smallest set whose probabilities at
    `temperature` reach `top_p`. Temperature 0 takes the most probable token.
    """
    # no random number is drawn, so greedy decoding does not depend on the seed
    if temperature == 0:
        token = int(logits.argmax())
        return token, float(1 / np.exp(logits - logits[token]).sum())
    token, probability = _sample_nucleus(logits, np.float32(temperature), top_p, generator.random())
    return int(token), float(probability)


@dataclass(frozen=True)
class GeneratedToken:
    """One generated token.

    Attributes:
        text: empty while the bytes of a character are incomplete.
        probability: the probability of the token at temperature 1.
        neurons: which neurons fired in the step that computed its logits, 0/1 [neurons].
    """

    text: str
    probability: float
    neurons: NDArray[np.uint8]


class TextGenerator:
    """Continue texts. Not thread-safe: the state belongs to one text at a time.

    Args:
        weights: the weights file of the model.
        tokenizer: the tokenizer file.
        context_characters: the number of characters of a prompt that are used, from its end.

    Raises:
        ModelError: a file cannot be read, or the two do not fit each other.
    """

    def __init__(self, weights: Path, tokenizer: Path, context_characters: int = 8000) -> None:
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
        """Compile the kernels, or load them from the cache, and run once all that `generate` runs."""
        # no end of the text can come between: the model is asked for one token at a time
        for _ in range(4):
            for _ in self.generate("Once upon a time there was", 1):
                pass
        sample(self.model.advance(END_TOKEN)[0], 1.0, 0.5, np.random.default_rng(0))

    def generate(
        self, prompt: str, max_tokens: int, temperature: float = 0.8, top_p: float = 0.95, seed: int = 0
    ) -> Iterator[GeneratedToken]:
        """Yield up to `max_tokens` tokens that continue `prompt`.

        Generation ends early where the model ends the text. The same seed gives the same text.
        """
        generator = np.random.default_rng(seed)
        stream = DecodeStream(skip_special_tokens=True)
        ids = self.tokenizer.encode(prompt[-self._context :]).ids
        self.model.reset()
        # an end token marks the boundary before the text; the last token is left for `advance`, which returns logits
        self.model.prefill([END_TOKEN, *ids[:-1]] if ids else [])
        logits, fired = self.model.advance(ids[-1] if ids else END_TOKEN)
        for _ in range(max_tokens):
            token, probability = sample(logits, temperature, top_p, generator)
            if token == END_TOKEN:
                return
            yield GeneratedToken(stream.step(self.tokenizer, token) or "", probability, fired)
            logits, fired = self.model.advance(token)

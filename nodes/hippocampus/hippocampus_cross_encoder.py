"""A small transformer that reads a question together with a statement: does the statement answer it, and how?

It is BERT (Devlin et al. 2019), its weights in int8 with a factor for each row, the vectors of its pieces in blocks of
4 bits, and inference needs only numpy. It sees what word by word comparison does not: that who "may go home on Friday"
is "discharged" then, and that "the oak boards" are not the walnut boards. It reads any language that the encoder knew
with which its training began; question and statement may be in two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from brainnet.errors import ModelError
from hippocampus_judge import BLEND as JUDGED
from hippocampus_pieces import PADDING, Pieces

Array = NDArray[np.float32]

NOTHING, YES, NO = range(3)
"""What a statement says to a question: nothing, the answer (or yes), or no."""
OUTCOMES = 3
BATCH_TOKENS = 2048
"""Tokens, padding included, that are computed together."""
BLOCK = 32
"""Values of a vector of a piece that share a factor."""
_EPSILON = 1e-12
BLEND = 1 + JUDGED
"""Figures that are blended: the cross-encoder's own logit, and those of the judge (`Judge.figures`)."""


def read_tensors(path: Path | str) -> tuple[dict[str, NDArray[np.generic]], dict[str, Any]]:
    """Read a file of weights: its tensors, and what it says of the model."""
    with safe_open(str(path), framework="np") as file:
        meta = json.loads((file.metadata() or {})["cross_encoder"])
        return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118


def write_tensors(tensors: dict[str, NDArray[np.generic]], meta: dict[str, Any], path: Path | str) -> None:
    """Write a file of weights."""
    save_file(tensors, str(path), metadata={"cross_encoder": json.dumps(meta)})


def packed(vectors: Array) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Write vectors in 4 bits: blocks of 32 values share a factor, as in the format Q4_0 of GGML.

    The value of largest size becomes -8 times the factor, so that vectors that were read from such blocks are written
    as they were.

    Args:
        vectors: [rows, width], the width a multiple of BLOCK.

    Returns:
        The values plus 8, of each block the first half in the lower four bits and the other in the upper ones,
        [rows, width / 2]; and the factors, [rows, width / BLOCK].
    """
    blocks = vectors.reshape(len(vectors), -1, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    factors = (largest / -8).astype(np.float16)
    divided = blocks / np.where(factors == 0, 1, factors).astype(np.float32)
    values = np.clip(np.round(divided) + 8, 0, 15).astype(np.uint8)
    halves = values[..., : BLOCK // 2] | values[..., BLOCK // 2 :] << 4
    return halves.reshape(len(vectors), -1).astype(np.uint8), factors[..., 0]


def unpacked(halves: NDArray[np.generic], factors: NDArray[np.generic]) -> Array:
    """Read vectors that `packed` wrote; the first dimensions may be any."""
    blocks = halves.astype(np.uint8, copy=False).reshape(*factors.shape, BLOCK // 2)
    values = np.concatenate([blocks & 15, blocks >> 4], -1).astype(np.float32) - 8
    values *= factors.astype(np.float32)[..., None]
    return values.reshape(*factors.shape[:-1], -1)


class CrossEncoder:
    """Reads pairs of texts; deterministic.

    Args:
        weights: `words.weight` and `words.scale` (`packed`), `positions.weight`, `norm.*`; of each layer
            `layers.N.` with `attention.*` [3 D, D], `attended.*`, `norm.*`, `inner.*`, `outer.*`, `last.*`; and
            `out.*`. Those with int8 values have a `NAME.scale` with a factor for each row.
        pieces: Cuts texts.
        layers: Number of layers.
        heads: Number of attention heads.
        blend: Weights of `figures`, and last the bias, [BLEND + 1].
        threshold: Probability from which on a statement is asserted.
    """

    def __init__(
        self,
        weights: dict[str, NDArray[np.generic]],
        pieces: Pieces,
        layers: int,
        heads: int,
        blend: Sequence[float] = (1.0, *[0.0] * BLEND),
        threshold: float = 0.5,
    ) -> None:
        self.layers, self.heads = layers, heads
        self.blend = np.asarray(blend, np.float32)
        self.threshold = threshold
        if self.blend.shape != (BLEND + 1,):
            raise ModelError(f"a cross-encoder blends {BLEND} figures, got {len(self.blend) - 1} weights")
        self._words, self._word_scale = weights.pop("words.weight"), weights.pop("words.scale")
        self.weights: dict[str, Array] = {}
        self._matrices: dict[str, NDArray[np.int8]] = {}
        for name, value in weights.items():
            if f"{name.removesuffix('.weight')}.scale" in weights:
                # Transposed, so that the product with a row of tokens needs no copy. It stays in int8: a quarter of the
                # memory, and writing it in float32 for each product takes a thirtieth of the time of the product.
                self._matrices[name] = np.ascontiguousarray(value.astype(np.int8, copy=False).T)
            else:
                self.weights[name] = value.astype(np.float32)
        self._pieces = pieces

    @classmethod
    def load(cls, path: Path | str) -> CrossEncoder:
        """Read the weights.

        Raises:
            ModelError: The file is missing, or does not hold such a model.
        """
        try:
            tensors, meta = read_tensors(path)
            words = tensors.pop("vocabulary").tobytes().decode().split("\n")
            pieces = Pieces(words, tensors.pop("scores").tolist())
            layers, heads = int(meta["layers"]), int(meta["heads"])
            return cls(tensors, pieces, layers, heads, meta["blend"], float(meta["threshold"]))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} holds no cross-encoder ({error}); make it with `brainnet train`") from error

    def judge(self, question: str, statements: Sequence[str], judged: Array) -> tuple[Array, Array]:
        """Judge statements.

        Args:
            question: The question.
            statements: The statements; at least one.
            judged: What the judge found of each, [statements, JUDGED].

        Returns:
            How probably each statement says yes to a question for yes or no, rather than no; and how probably it
            answers the question at all; float32 [statements].
        """
        logits = self.logits(question, statements)
        affirms = logits[:, YES] - logits[:, NO]
        blended = figures(logits, judged) @ self.blend[:-1] + self.blend[-1]
        return _probability(affirms), _probability(blended)

    def logits(self, question: str, statements: Sequence[str]) -> Array:
        """Return the logits of NOTHING, YES and NO for each statement, float32 [statements, OUTCOMES]."""
        logits = np.zeros((len(statements), OUTCOMES), np.float32)
        pairs = self._pieces.pairs(question, statements)
        # Pairs of similar length are computed together, so that little is padded.
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i]))
        while order:
            count = 1
            while count < len(order) and (count + 1) * len(pairs[order[count]]) <= BATCH_TOKENS:
                count += 1
            chosen, order = order[:count], order[count:]
            logits[chosen] = self._compute([pairs[i] for i in chosen])
        return logits

    def _compute(self, pairs: Sequence[list[int]]) -> Array:
        longest = max(map(len, pairs))
        numbers = np.array([ids + [PADDING] * (longest - len(ids)) for ids in pairs])
        hidden = np.array([[0.0] * len(ids) + [-1e9] * (longest - len(ids)) for ids in pairs], np.float32)
        w = self.weights
        x = unpacked(self._words[numbers], self._word_scale[numbers])
        x = self._norm(x + w["positions.weight"][:longest], "norm")
        for layer in range(self.layers):
            at = f"layers.{layer}."
            # The last layer is asked only for the first token, which the outcome is read from.
            last = layer == self.layers - 1
            x = self._layer(x, hidden, at, first_only=last)
        return np.asarray(x[:, 0] @ w["out.weight"].T + w["out.bias"], np.float32)

    def _layer(self, x: Array, hidden: Array, at: str, *, first_only: bool) -> Array:
        count, length, width = x.shape
        parts = self._linear(x, f"{at}attention").reshape(count, length, 3, self.heads, width // self.heads)
        query, key, value = (parts[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        if first_only:
            query, x = query[:, :, :1], x[:, :1]
        scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(width / self.heads, dtype=np.float32)
        scores += hidden[:, None, None]
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        attended = (scores @ value).transpose(0, 2, 1, 3).reshape(x.shape)
        x = self._norm(x + self._linear(attended, f"{at}attended"), f"{at}norm")
        return self._norm(x + self._linear(_gelu(self._linear(x, f"{at}inner")), f"{at}outer"), f"{at}last")

    def _linear(self, x: Array, name: str) -> Array:
        flat = x.reshape(-1, x.shape[-1]) @ self._matrices[f"{name}.weight"].astype(np.float32)
        flat *= self.weights[f"{name}.scale"]
        flat += self.weights[f"{name}.bias"]
        return np.asarray(flat.reshape(*x.shape[:-1], -1), np.float32)

    def _norm(self, x: Array, name: str) -> Array:
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(-1, keepdims=True) + _EPSILON)
        x *= self.weights[f"{name}.weight"]
        x += self.weights[f"{name}.bias"]
        return np.asarray(x, np.float32)


def _probability(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)


def figures(logits: Array, judged: Array) -> Array:
    """Return what is blended for each statement, float32 [statements, BLEND]."""
    own = np.logaddexp(logits[:, YES], logits[:, NO]) - logits[:, NOTHING]
    return np.column_stack([own, judged]).astype(np.float32)


def _gelu(x: Array) -> Array:
    """Compute GELU by its approximation with tanh (Hendrycks and Gimpel 2016)."""
    # 0.5 (1 + tanh(u)) is 1 / (1 + exp(-2 u)), and NumPy computes exp three times as fast as tanh.
    inner = np.square(x)
    inner *= np.float32(-2 * np.sqrt(2 / np.pi) * 0.044715)
    inner -= np.float32(2 * np.sqrt(2 / np.pi))
    inner *= x
    np.minimum(inner, 80, out=inner)
    np.exp(inner, out=inner)
    inner += 1
    return np.asarray(np.divide(x, inner, out=inner), np.float32)

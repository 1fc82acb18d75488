"""A small transformer that reads a question together with a statement: does the statement answer it, and how?

It is BERT (Devlin et al. 2019), its weights in int8 with a scale for each row, and inference needs only numpy. It sees
what word by word comparison does not: that who "may go home on Friday" is "discharged" then, and that "the oak boards"
are not the walnut boards. It knows English only.
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
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from brainnet.errors import ModelError
from hippocampus_judge import BLEND as JUDGED
from hippocampus_judge import LEAST_FOUND

Array = NDArray[np.float32]

NOTHING, YES, NO = range(3)
"""What a statement says to a question: nothing, the answer (or yes), or no."""
OUTCOMES = 3
MAX_TOKENS = 96
"""Tokens of a question and a statement together; longer ones are cut, the statement first."""
BATCH_TOKENS = 2048
"""Tokens, padding included, that are computed together."""
_EPSILON = 1e-12
BLEND = 1 + JUDGED
"""Figures that are blended: the cross-encoder's own logit, and those of the judge (`Judge.figures`)."""
SIGNS = 2
"""Figures that decide between yes and no: how much more probable yes is than no, and how well the least found word of
the question is found: a statement that holds all of them says yes."""


def read_tensors(path: Path | str) -> tuple[dict[str, NDArray[np.generic]], dict[str, Any]]:
    """Read a file of weights: its tensors, and what it says of the model."""
    with safe_open(str(path), framework="np") as file:
        meta = json.loads((file.metadata() or {})["cross_encoder"])
        return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118


def write_tensors(tensors: dict[str, NDArray[np.generic]], meta: dict[str, Any], path: Path | str) -> None:
    """Write a file of weights."""
    save_file(tensors, str(path), metadata={"cross_encoder": json.dumps(meta)})


class Pieces:
    """Cuts pairs of texts into word pieces.

    Args:
        words: The vocabulary of BERT, one piece a row, in the order of their numbers.
    """

    def __init__(self, words: Sequence[str]) -> None:
        vocabulary = {word: number for number, word in enumerate(words)}
        pieces = BertWordPieceTokenizer(vocabulary, lowercase=True)
        # The wrapper only sets it up.
        self._pieces: Tokenizer = pieces._tokenizer
        self._pieces.enable_truncation(MAX_TOKENS, strategy="longest_first")
        self._pieces.no_padding()

    def pairs(self, question: str, statements: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """Return the numbers of the pieces, and 0 for those of the question and 1 for those of the statement."""
        encoded = self._pieces.encode_batch([(question, statement) for statement in statements])
        return [(each.ids, each.type_ids) for each in encoded]


class CrossEncoder:
    """Reads pairs of texts; deterministic.

    Args:
        weights: `words.weight` [V, D], `positions.weight`, `types.weight`, `norm.*`; of each layer `layers.N.` with
            `attention.*` [3 D, D], `attended.*`, `norm.*`, `inner.*`, `outer.*`, `last.*`; and `out.*`. Those with
            int8 values have a `NAME.scale` with a factor for each row.
        words: The vocabulary.
        layers: Number of layers.
        heads: Number of attention heads.
        blend: Weights of `figures`, and last the bias, [BLEND + 1].
        sign: Weights of `sign_figures`, and last the bias, [SIGNS + 1].
        threshold: Probability from which on a statement is asserted.
    """

    language = "en"
    """The language that it knows."""

    def __init__(
        self,
        weights: dict[str, NDArray[np.generic]],
        words: Sequence[str],
        layers: int,
        heads: int,
        blend: Sequence[float] = (1.0, *[0.0] * BLEND),
        sign: Sequence[float] = (1.0, *[0.0] * SIGNS),
        threshold: float = 0.5,
    ) -> None:
        self.layers, self.heads = layers, heads
        self.blend, self.sign = np.asarray(blend, np.float32), np.asarray(sign, np.float32)
        self.threshold = threshold
        if self.blend.shape != (BLEND + 1,):
            raise ModelError(f"a cross-encoder blends {BLEND} figures, got {len(self.blend) - 1} weights")
        if self.sign.shape != (SIGNS + 1,):
            raise ModelError(f"a cross-encoder decides by {SIGNS} figures, got {len(self.sign) - 1} weights")
        self._words, self._word_scale = weights.pop("words.weight"), weights.pop("words.scale")
        scales = {name: weights.pop(name) for name in list(weights) if name.endswith(".scale")}
        self.weights: dict[str, Array] = {}
        for name, value in weights.items():
            numbers = value.astype(np.float32)
            scale = scales.get(f"{name.removesuffix('.weight')}.scale")
            # Transposed, so that the product with a row of tokens needs no copy.
            if scale is not None:
                numbers = np.ascontiguousarray((numbers * scale.astype(np.float32)[:, None]).T)
            self.weights[name] = numbers
        self._pieces = Pieces(words)

    @classmethod
    def load(cls, path: Path | str) -> CrossEncoder:
        """Read the weights.

        Raises:
            ModelError: The file is missing, or does not hold such a model.
        """
        try:
            tensors, meta = read_tensors(path)
            words = tensors.pop("vocabulary").tobytes().decode().split("\n")
            blend, sign, threshold = meta["blend"], meta["sign"], float(meta["threshold"])
            return cls(tensors, words, int(meta["layers"]), int(meta["heads"]), blend, sign, threshold)
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
        signs = sign_figures(logits, judged)
        affirms = signs @ self.sign[:-1] + self.sign[-1]
        blended = figures(logits, judged) @ self.blend[:-1] + self.blend[-1]
        return _probability(affirms), _probability(blended)

    def logits(self, question: str, statements: Sequence[str]) -> Array:
        """Return the logits of NOTHING, YES and NO for each statement, float32 [statements, OUTCOMES]."""
        logits = np.zeros((len(statements), OUTCOMES), np.float32)
        pairs = self._pieces.pairs(question, statements)
        # Pairs of similar length are computed together, so that little is padded.
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]))
        while order:
            count = 1
            while count < len(order) and (count + 1) * len(pairs[order[count]][0]) <= BATCH_TOKENS:
                count += 1
            chosen, order = order[:count], order[count:]
            logits[chosen] = self._compute([pairs[i] for i in chosen])
        return logits

    def _compute(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Array:
        longest = max(len(numbers) for numbers, _ in pairs)
        numbers = np.array([ids + [0] * (longest - len(ids)) for ids, _ in pairs])
        types = np.array([kinds + [0] * (longest - len(kinds)) for _, kinds in pairs])
        hidden = np.array([[0.0] * len(ids) + [-1e9] * (longest - len(ids)) for ids, _ in pairs], np.float32)
        w = self.weights
        x = self._words[numbers].astype(np.float32) * self._word_scale[numbers].astype(np.float32)[..., None]
        x = self._norm(x + w["positions.weight"][:longest] + w["types.weight"][types], "norm")
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
        flat = x.reshape(-1, x.shape[-1]) @ self.weights[f"{name}.weight"]
        flat += self.weights[f"{name}.bias"]
        return np.asarray(flat.reshape(*x.shape[:-1], -1), np.float32)

    def _norm(self, x: Array, name: str) -> Array:
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(-1, keepdims=True) + _EPSILON)
        x *= self.weights[f"{name}.weight"]
        x += self.weights[f"{name}.bias"]
        return np.asarray(x, np.float32)


def sign_figures(logits: Array, judged: Array) -> Array:
    """Return what decides between yes and no for each statement, float32 [statements, SIGNS]."""
    return np.column_stack([logits[:, YES] - logits[:, NO], judged[:, LEAST_FOUND]]).astype(np.float32)


def _probability(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)


def figures(logits: Array, judged: Array) -> Array:
    """Return what is blended for each statement, float32 [statements, BLEND]."""
    own = np.logaddexp(logits[:, YES], logits[:, NO]) - logits[:, NOTHING]
    return np.column_stack([own, judged]).astype(np.float32)


def _gelu(x: Array) -> Array:
    """Compute GELU by its approximation with tanh (Hendrycks and Gimpel 2016)."""
    inner = x * (1 + 0.044715 * np.square(x))
    inner *= np.float32(np.sqrt(2 / np.pi))
    np.tanh(inner, out=inner)
    inner += 1
    inner *= x
    inner *= np.float32(0.5)
    return np.asarray(inner, np.float32)

"""Bids for regions that are known by examples alone, and whether a prompt is about the brain itself.

Texts are compared by the spiking text embedder. A region of a user's own says with a few examples, and with its
description, which prompts are for it; the bid is calibrated on made-up regions (`prefrontal_prompt_sets`), and takes
into account how like the prompt is to those that other regions get.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from brainnet import Bid, Health
from brainnet.errors import ModelError
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.snn.models.text_features import WORD_PATTERN, hash32, normalise
from brainnet.texts import shorten

OTHER = "other"
"""The intent of prompts that are not about the brain itself."""
FEATURES = 6
"""Numbers from which the bid of a region known by examples is computed."""
PHRASES = 4096
"""Hashed features of the phrases of a text."""
MAX_PHRASE_TEXT = 300
"""Characters of a text whose phrases count: what is longer is hardly conversation."""
_PIECE = re.compile(rf"{WORD_PATTERN}|[?!.]")
LEAST_BID = 0.06
"""A bid by examples below counts as none: most regions have nothing to do with most prompts."""
LEAST_ABOUT = 0.25
"""A prompt that is less likely about the brain itself is taken for one that is not."""


def phrase_features(text: str) -> NDArray[np.float32]:
    """Return which short phrases a text has, float32 [PHRASES], unit length; zeros for a text without a letter.

    They are its groups of one to three words with marks and ends, and its groups of three and four characters, hashed:
    "who are you" and "where are you" have nearly the same meaning for a sum of word vectors.
    """
    found = ["<s>", *_PIECE.findall(normalise(text)[:MAX_PHRASE_TEXT]), "</s>"]
    vector = np.zeros(PHRASES, np.float32)
    if len(found) == 2:
        return vector
    for size in (1, 2, 3):
        for start in range(len(found) - size + 1):
            vector[hash32(" ".join(found[start : start + size])) % PHRASES] += 1.0
    joined = " ".join(found)
    for size in (3, 4):
        for start in range(len(joined) - size + 1):
            vector[hash32(f"#{joined[start : start + size]}") % PHRASES] += 0.7
    vector = np.sqrt(vector)
    return vector / np.linalg.norm(vector)


def intent_inputs(embedded: NDArray[np.float32], texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the inputs of the intents: vectors [N, D], phrases, and the constant 1, [N, D + PHRASES + 1]."""
    phrases = np.stack([phrase_features(text) for text in texts])
    return np.concatenate([embedded, phrases, np.ones((len(texts), 1), np.float32)], axis=1)


@dataclass(frozen=True, slots=True)
class ExampleWeights:
    """What training found.

    Attributes:
        background: Vectors of prompts for the standard regions, float32 [N, D], unit length.
        similar: Weights of the features of a bid, [FEATURES], and the bias, [1], in one row.
        intents: Names of the rows of `intent`.
        intent: Weights of `intent_inputs`, [intents, D + PHRASES + 1].
        embedder: Fingerprint of the embedder.
    """

    background: NDArray[np.float32]
    similar: NDArray[np.float32]
    intents: tuple[str, ...]
    intent: NDArray[np.float32]
    embedder: str

    @classmethod
    def load(cls, path: Path) -> ExampleWeights:
        """Read the weights.

        Raises:
            ModelError: The file is missing or holds something else.
        """
        try:
            with safe_open(str(path), framework="np") as file:
                meta = json.loads((file.metadata() or {})["examples"])
                arrays = [file.get_tensor(name).astype(np.float32) for name in ("background", "similar", "intent")]
            background, similar, intent = arrays
            background /= np.maximum(1e-9, np.linalg.norm(background, axis=1, keepdims=True))
            if similar.shape != (FEATURES + 1,) or intent.shape != (
                len(meta["intents"]),
                background.shape[1] + PHRASES + 1,
            ):
                raise ValueError(f"shapes {similar.shape} and {intent.shape}")
            return cls(background, similar, tuple(meta["intents"]), intent, str(meta["embedder"]))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{path} holds no weights of examples ({error}); `brainnet train prefrontal` makes them"
            ) from error

    def save(self, path: Path) -> None:
        """Write the weights, in float16."""
        arrays: dict[str, NDArray[Any]] = {
            "background": self.background.astype(np.float16),
            "similar": self.similar.astype(np.float32),
            "intent": self.intent.astype(np.float16),
        }
        meta = {"intents": list(self.intents), "embedder": self.embedder}
        save_file(arrays, str(path), metadata={"examples": json.dumps(meta)})


@dataclass(frozen=True, slots=True)
class Known:
    """A region as its examples show it.

    Attributes:
        name: Its id.
        texts: The examples.
        vectors: Their vectors, float32 [examples, D].
        about: The vector of its description, float32 [D]; zeros without one.
        own: Whether the router's weights do not know it, and it does not bid itself.
    """

    name: str
    texts: tuple[str, ...]
    vectors: NDArray[np.float32]
    about: NDArray[np.float32]
    own: bool


def known(embedder: SpikingTextEmbedder, name: str, about: str, examples: Sequence[str], *, own: bool) -> Known:
    """Compute the vectors of a region."""
    vectors = embedder.embed([*examples, about])
    return Known(name, tuple(examples), vectors[:-1], vectors[-1], own)


def features(
    vector: NDArray[np.float32], region: Known, others: Iterable[Known], background: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return what the bid of one region is computed from, [FEATURES].

    Args:
        vector: The prompt, [D].
        region: The region.
        others: The other regions.
        background: Vectors of prompts for the standard regions.
    """
    to_examples = np.sort(region.vectors @ vector)[::-1] if len(region.vectors) else np.zeros(1, np.float32)
    to_others = [float((other.vectors @ vector).max()) for other in others if len(other.vectors)]
    to_background = np.sort(background @ vector)[-3:] if len(background) else np.zeros(1)
    best = float(to_examples[0])
    about = float(region.about @ vector)
    against = max([float(to_background.max()), *to_others])
    return np.array([best, float(to_examples[:3].mean()), about, against, best - against, float(to_background.mean())])


class Examples:
    """Bids by examples, and the intent of prompts about the brain itself. Deterministic.

    Args:
        embedder: The text embedder that the weights were made with.
        weights: What training found.

    Raises:
        ModelError: The weights were made with another embedder.
    """

    def __init__(self, embedder: SpikingTextEmbedder, weights: ExampleWeights) -> None:
        if weights.embedder != embedder.fingerprint:
            raise ModelError(
                "the weights of examples were made with another text embedder; `brainnet train prefrontal` makes them"
            )
        self._embedder = embedder
        self._weights = weights
        self._known: list[Known] = []

    def know(self, regions: Iterable[Health], own: Iterable[str]) -> None:
        """Take in which regions there are.

        Args:
            regions: All of them.
            own: The names of those that bid by their examples.
        """
        names = set(own)
        self._known = [
            known(self._embedder, region.node_id, region.about, region.examples, own=region.node_id in names)
            for region in regions
            if region.examples or region.node_id in names
        ]

    def install(self, regions: Sequence[Known]) -> None:
        """Take these regions for those that there are."""
        self._known = list(regions)

    def bids(self, texts: Sequence[str]) -> list[tuple[dict[str, Bid], str, float]]:
        """Return for each text the bids by region, its intent, and how likely it is about the brain itself."""
        found = []
        vectors = self._embedder.embed(texts)
        logits = intent_inputs(vectors, texts) @ self._weights.intent.T
        for vector, row in zip(vectors, logits, strict=True):
            bids: dict[str, Bid] = {}
            for region in self._known:
                if region.own and vector.any():
                    others = [other for other in self._known if other is not region]
                    values = features(vector, region, others, self._weights.background)
                    logit = float(self._weights.similar[:-1] @ values + self._weights.similar[-1])
                    bid = _bid(logit, region, vector)
                    if bid.score >= LEAST_BID:
                        bids[region.name] = bid
            found.append((bids, *self._intent(row)))
        return found

    def _intent(self, logits: NDArray[np.float32]) -> tuple[str, float]:
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        other = self._weights.intents.index(OTHER)
        best = int(np.delete(shares, other).argmax())
        return self._weights.intents[best + (best >= other)], float(1.0 - shares[other])


def _bid(logit: float, region: Known, vector: NDArray[np.float32]) -> Bid:
    score = 1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0)))
    if not region.texts:
        return Bid(float(score), "by its description")
    return Bid(float(score), f"like its example {shorten(region.texts[int((region.vectors @ vector).argmax())], 80)!r}")

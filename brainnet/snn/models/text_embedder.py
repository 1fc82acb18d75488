"""Spiking text embedder: texts to spike counts whose cosine similarity says how related they are.

    words -> rows of a table, summed -> divided by their root mean square: current I [D], constant over T steps
    -> D ON and D OFF neurons (LIF) -> counts of ON minus counts of OFF

A known word has a row of its own, any other the rows of its character n-grams. An ON neuron is driven by I, its OFF
partner by -I, as in the retina: between them no sign is lost. The currents are scaled to a common strength by
divisive normalisation (Carandini and Heeger 2012), so that a long text fires no more than a short one. The neurons are
those of `brainnet.snn.neurons.lif` with reset by subtraction. Inference needs numpy alone: an addition of D numbers per
word, and no multiplication of matrices.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from brainnet.errors import ModelError
from brainnet.snn.models.text_features import SubwordVocabulary

__all__ = ["EmbedderConfig", "SpikingTextEmbedder", "count_thresholds", "lif_response"]

BATCH = 256
"""Texts whose rows are gathered at once."""


@dataclass(frozen=True, slots=True)
class EmbedderConfig:
    """Features and neuron constants of an embedder; `gain` is the root mean square of the currents of a text."""

    buckets: int = 12288
    ngram_sizes: tuple[int, ...] = (3, 4, 5)
    gain: float = 0.5
    steps: int = 24
    beta: float = 0.9
    threshold: float = 1.0


def lif_response(
    currents: NDArray[np.float32], steps: int, beta: float = 0.9, threshold: float = 1.0
) -> NDArray[np.uint8]:
    """Spikes uint8 [steps, ...] of LIF neurons from rest under constant currents [...].

    u_t = beta u_{t-1} + I - threshold s_{t-1};  s_t = 1 if u_t > threshold: `lif_sequence` with reset "subtract".
    """
    membrane = np.zeros_like(currents)
    spikes = np.zeros((steps, *currents.shape), np.uint8)
    for step in range(steps):
        fired = membrane > threshold
        membrane = np.float32(beta) * membrane + currents - np.where(fired, np.float32(threshold), np.float32(0))
        spikes[step] = membrane > threshold
    return spikes


def count_thresholds(steps: int, beta: float = 0.9, threshold: float = 1.0) -> NDArray[np.float32]:
    """The least current float32 under which a neuron of `lif_response` fires once, twice, ... `steps` times.

    The count of spikes never falls as the current rises, so that these currents, found by bisection down to the last
    bit, tell the count under any other.
    """
    wanted = np.arange(1, steps + 1)
    low = np.zeros(steps, np.float32)
    high = np.full(steps, 4 * threshold, np.float32)
    while True:
        middle = ((low + high) / 2).astype(np.float32)
        open_ = (middle > low) & (middle < high)
        if not open_.any():
            return high
        enough = lif_response(middle, steps, beta, threshold).sum(0) >= wanted
        high[open_ & enough], low[open_ & ~enough] = middle[open_ & enough], middle[open_ & ~enough]


class SpikingTextEmbedder:
    """A trained embedder with `hashes` int64 [words] of its known words, and a table of `rows` int8
    [words + buckets, D] with a `scale` float32 for each row. Deterministic; safe to use from any thread.

    Raises:
        ModelError: shapes that do not fit each other.
    """

    def __init__(
        self,
        config: EmbedderConfig,
        hashes: NDArray[np.int64],
        rows: NDArray[np.int8],
        scale: NDArray[np.floating],
    ) -> None:
        self.config = config
        self.vocabulary = SubwordVocabulary(hashes, config.buckets, config.ngram_sizes)
        if rows.ndim != 2 or len(rows) != len(self.vocabulary) or scale.shape != (len(rows),):
            raise ModelError(
                f"an embedder of {len(hashes)} words and {config.buckets} buckets has as many rows and scales,"
                f" got rows {rows.shape} and scales {scale.shape}"
            )
        self.rows = np.asarray(rows, np.int8)
        self.scale = np.asarray(scale, np.float32)
        self._thresholds = count_thresholds(config.steps, config.beta, config.threshold)

    @property
    def width(self) -> int:
        """D, the length of the vectors."""
        return int(self.rows.shape[1])

    @property
    def fingerprint(self) -> str:
        """Names these weights: vectors of embedders with different fingerprints cannot be compared."""
        digest = blake2b(digest_size=8)
        for part in (self.vocabulary.hashes, self.rows, self.scale):
            digest.update(np.ascontiguousarray(part).data)
        digest.update(repr(self.config).encode())
        return digest.hexdigest()

    @classmethod
    def load(cls, path: Path | str) -> SpikingTextEmbedder:
        """Reads the weights.

        Raises:
            ModelError: the file is missing or holds no embedder of this kind.
        """
        try:
            with safe_open(str(path), framework="np") as file:
                meta = json.loads((file.metadata() or {})["embedder"])
                config = EmbedderConfig(**{**meta, "ngram_sizes": tuple(meta["ngram_sizes"])})
                hashes = file.get_tensor("hashes").astype(np.int64)
                return cls(config, hashes, file.get_tensor("rows"), file.get_tensor("scale"))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} holds no text embedder ({error}); make it with `brainnet train`") from error

    def save(self, path: Path | str) -> None:
        """Writes the weights, the configuration in the metadata."""
        hashes = self.vocabulary.hashes.astype(np.uint32)
        tensors = {"hashes": hashes, "rows": self.rows, "scale": self.scale.astype(np.float16)}
        save_file(tensors, str(path), metadata={"embedder": json.dumps(asdict(self.config))})

    def currents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The input currents of the ON neurons, float32 [len(texts), D]; zero for a text without a letter or digit."""
        found = np.zeros((len(texts), self.width), np.float32)
        for start in range(0, len(texts), BATCH):
            self._sum_rows(texts[start : start + BATCH], found[start : start + BATCH])
        strength = np.sqrt(np.square(found).mean(1, keepdims=True))
        return np.divide(found * np.float32(self.config.gain), strength, out=found, where=strength > 0)

    def spikes(self, text: str) -> NDArray[np.uint8]:
        """The spike trains of a text, uint8 [2 D, T], ON neurons first; silent for a text without a letter or digit."""
        currents = self.currents([text])[0]
        both = np.concatenate([currents, -currents])
        config = self.config
        return np.ascontiguousarray(lif_response(both, config.steps, config.beta, config.threshold).T)

    def counts(self, texts: Sequence[str]) -> NDArray[np.int8]:
        """Counts of ON minus counts of OFF spikes, int8 [len(texts), D], equal to those of `spikes`."""
        currents = self.currents(texts)
        strength = np.abs(currents)
        size = np.zeros(currents.shape, np.int8)
        for least in self._thresholds:
            size += strength >= least
        return np.where(currents < 0, -size, size)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The counts at unit length, float32 [len(texts), D]; a text without a letter or digit gives zeros."""
        counts = self.counts(texts).astype(np.float32)
        norms = np.linalg.norm(counts, axis=1, keepdims=True)
        return np.divide(counts, norms, out=np.zeros_like(counts), where=norms > 0)

    def _sum_rows(self, texts: Sequence[str], out: NDArray[np.float32]) -> None:
        rows: list[int] = []
        weights: list[float] = []
        ends: list[int] = []
        for text in texts:
            some, weighing = self.vocabulary.bag(text)
            rows += some
            weights += weighing
            ends.append(len(rows))
        at = np.array(rows, np.int64)
        gathered = self.rows[at].astype(np.float32)
        weighed = np.array(weights, np.float32) * self.scale[at]
        start = 0
        for number, end in enumerate(ends):
            np.matmul(weighed[start:end], gathered[start:end], out=out[number])
            start = end

"""Spiking text embedder: texts to unit vectors whose cosine similarity says how related they are.

    hashed word and n-gram features -> linear -> current I [D], constant over T steps -> D ON and D OFF neurons (LIF)
    -> counts of ON minus counts of OFF, at unit length

An ON neuron is driven by I, its OFF partner by -I, as in the retina: between them no sign is lost, which at this
width is worth twice as many neurons of one kind. The neurons are those of `brainnet.snn.lif` with reset by
subtraction. Inference needs numpy alone: a few hundred additions per word and T steps of 2 D neurons.
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
from brainnet.snn.text_features import bag_of_features

__all__ = ["EmbedderConfig", "SpikingTextEmbedder", "lif_response"]


@dataclass(frozen=True, slots=True)
class EmbedderConfig:
    """Sizes, features and neuron constants of an embedder."""

    buckets: int = 4096
    width: int = 480
    steps: int = 24
    beta: float = 0.9
    threshold: float = 1.0
    ngram_sizes: tuple[int, ...] = (3, 4, 5)
    ngram_weight: float = 0.5


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


class SpikingTextEmbedder:
    """A trained embedder with `weight` float32 [buckets, D]. Deterministic; safe to use from any thread."""

    def __init__(self, config: EmbedderConfig, weight: NDArray[np.floating]) -> None:
        if weight.shape != (config.buckets, config.width):
            raise ModelError(
                f"embedder weights of shape {weight.shape} do not fit {config.buckets} buckets x {config.width}"
            )
        self.config = config
        self.weight = np.asarray(weight, np.float32)

    @property
    def width(self) -> int:
        """D, the length of the vectors."""
        return self.config.width

    @property
    def fingerprint(self) -> str:
        """Names these weights: vectors of embedders with different fingerprints cannot be compared."""
        digest = blake2b(self.weight.tobytes(), digest_size=8)
        digest.update(repr(self.config).encode())
        return digest.hexdigest()

    @classmethod
    def load(cls, path: Path | str) -> SpikingTextEmbedder:
        """Reads the weights; raises ModelError naming the file when it is missing or holds no embedder."""
        try:
            with safe_open(str(path), framework="np") as file:
                meta = json.loads((file.metadata() or {})["embedder"])
                config = EmbedderConfig(**{**meta, "ngram_sizes": tuple(meta["ngram_sizes"])})
                return cls(config, file.get_tensor("weight"))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{path} holds no text embedder ({error}); make it with nodes/training/hippocampus.py"
            ) from error

    def save(self, path: Path | str) -> None:
        """Writes the weights in float16, the configuration in the metadata."""
        tensors = {"weight": self.weight.astype(np.float16)}
        save_file(tensors, str(path), metadata={"embedder": json.dumps(asdict(self.config))})

    def currents(self, text: str) -> NDArray[np.float32]:
        """The input current of each ON neuron, float32 [D]; zero for a text without a letter or digit."""
        config = self.config
        ids, weights = bag_of_features(text, config.buckets, config.ngram_sizes, config.ngram_weight)
        return weights @ self.weight[ids]

    def spikes(self, text: str) -> NDArray[np.uint8]:
        """The spike trains of a text, uint8 [2 D, T], ON neurons first; silent for a text without a letter or digit."""
        return np.ascontiguousarray(self._response(self.currents(text)).T)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors float32 [len(texts), D]; a text without a letter or digit gives zeros."""
        width = self.config.width
        currents = np.array([self.currents(text) for text in texts], np.float32).reshape(len(texts), width)
        on_off = self._response(currents).sum(0, dtype=np.float32)
        counts = on_off[:, :width] - on_off[:, width:]
        norms = np.linalg.norm(counts, axis=1, keepdims=True)
        return np.divide(counts, norms, out=np.zeros_like(counts), where=norms > 0)

    def _response(self, currents: NDArray[np.float32]) -> NDArray[np.uint8]:
        config = self.config
        both = np.concatenate([currents, -currents], axis=-1)
        return lif_response(both, config.steps, config.beta, config.threshold)

"""Spiking text embedder: texts to spike counts whose cosine similarity measures how related they are.

    words -> rows of a table, summed -> divided by their root mean square: current I [D], constant over T steps
    -> D ON and D OFF neurons (LIF) -> counts of ON minus counts of OFF

A known word has its own row; any other word has the rows of its character n-grams. An ON neuron receives I, its OFF
partner -I, as in the retina, so that no sign is lost. The currents are scaled to a common strength by divisive
normalisation (Carandini and Heeger 2012), so that long texts do not fire more than short ones. The neurons are those of
`brainnet.snn.neurons.lif` with reset by subtraction. Inference needs only numpy: an addition of D numbers per word, and
no matrix product.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
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
"""Texts whose rows are gathered at once: enough to amortise numpy's calls, and the copy of rows stays small."""


@dataclass(frozen=True, slots=True)
class EmbedderConfig:
    """Features and neuron constants of an embedder.

    Attributes:
        buckets: rows that n-grams share.
        ngram_sizes: lengths of the n-grams.
        gain: root mean square of the currents of a text.
        steps: T.
        beta: decay per step.
        threshold: firing threshold.
    """

    buckets: int = 12288
    ngram_sizes: tuple[int, ...] = (3, 4, 5)
    gain: float = 0.5
    steps: int = 24
    beta: float = 0.9
    threshold: float = 1.0


def lif_response(
    currents: NDArray[np.float32], steps: int, beta: float = 0.9, threshold: float = 1.0
) -> NDArray[np.uint8]:
    """Return the spikes uint8 [steps, ...] of LIF neurons that start from rest under constant currents [...].

    u_t = beta u_{t-1} + I - threshold s_{t-1};  s_t = 1 if u_t > threshold: `lif_sequence` with reset "subtract".
    """
    membrane, reset = np.zeros_like(currents), np.zeros_like(currents)
    spikes = np.zeros((steps, *currents.shape), np.bool_)
    for fired in spikes:  # in place: new arrays would cost more than the sums
        membrane *= np.float32(beta)
        membrane += currents
        membrane -= reset
        np.greater(membrane, threshold, out=fired)
        np.multiply(fired, np.float32(threshold), out=reset)
    return spikes.view(np.uint8)


def count_thresholds(steps: int, beta: float = 0.9, threshold: float = 1.0) -> NDArray[np.float32]:
    """Return the smallest float32 currents under which a neuron fires once, twice, ... `steps` times.

    The spike count never falls when the current rises. So these currents, found by bisection down to the last bit, give
    the count of any current without a simulation.
    """
    counts = np.arange(1, steps + 1)
    low = np.zeros(steps, np.float32)
    high = np.full(steps, 4 * threshold, np.float32)
    while True:
        middle = ((low + high) / 2).astype(np.float32)
        # an interval is closed when no float32 lies between its ends
        undecided = (middle > low) & (middle < high)
        if not undecided.any():
            return high
        enough = lif_response(middle, steps, beta, threshold).sum(0) >= counts
        high[undecided & enough], low[undecided & ~enough] = middle[undecided & enough], middle[undecided & ~enough]


def _mapped(path: Path, name: str) -> NDArray[np.int8]:
    """Return an int8 matrix of a safetensors file as pages of the file.

    The processes of a machine share them, and only those are in memory whose words have been seen.

    Raises:
        ValueError: it is no int8 matrix within the file.
    """
    with path.open("rb") as file:
        # the format: the length of the header in 8 bytes, the header in JSON, the data
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    if entry["dtype"] != "I8" or len(entry["shape"]) != 2:
        raise ValueError(f"{name} is {entry['dtype']} {entry['shape']}, not an int8 matrix")
    rows, width = entry["shape"]
    return np.memmap(path, np.int8, "r", 8 + length + entry["data_offsets"][0], (rows, width))


class SpikingTextEmbedder:
    """A trained embedder. Deterministic; safe to use from any thread.

    Args:
        config: the configuration.
        hashes: int64 [words], the sorted hashes of the known words.
        rows: int8 [words + buckets, D], the table.
        scale: float [words + buckets], the scale of each row.

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

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights: vectors of embedders with different fingerprints are not comparable."""
        digest = blake2b(digest_size=8)
        for part in (self.vocabulary.hashes, self.rows, self.scale):
            digest.update(np.ascontiguousarray(part).data)
        digest.update(repr(self.config).encode())
        pages = getattr(self.rows.base, "base", None)
        if isinstance(pages, mmap.mmap):
            # they were read for this alone
            pages.madvise(mmap.MADV_DONTNEED)
        return digest.hexdigest()

    @classmethod
    def load(cls, path: Path | str) -> SpikingTextEmbedder:
        """Read the weights.

        Raises:
            ModelError: the file is missing or is not the weights of such an embedder.
        """
        try:
            with safe_open(str(path), framework="np") as file:
                meta = json.loads((file.metadata() or {})["embedder"])
                config = EmbedderConfig(**{**meta, "ngram_sizes": tuple(meta["ngram_sizes"])})
                hashes = file.get_tensor("hashes").astype(np.int64)
                return cls(config, hashes, _mapped(Path(path), "rows"), file.get_tensor("scale"))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} holds no text embedder ({error}); make it with `brainnet train`") from error

    def save(self, path: Path | str) -> None:
        """Write the weights, with the configuration in the metadata.

        An embedder that was loaded from the file goes on with what it has.
        """
        hashes = self.vocabulary.hashes.astype(np.uint32)
        tensors = {"hashes": hashes, "rows": self.rows, "scale": self.scale.astype(np.float16)}
        # A new file in the place of the old one: processes may have that one mapped.
        written = Path(path).with_name(f".{Path(path).name}.new")
        save_file(tensors, str(written), metadata={"embedder": json.dumps(asdict(self.config))})
        written.replace(path)

    def currents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the currents of the ON neurons, float32 [texts, D]; zero for a text without a letter or digit."""
        currents = np.zeros((len(texts), self.width), np.float32)
        for start in range(0, len(texts), BATCH):
            self._sum_rows(texts[start : start + BATCH], currents[start : start + BATCH])
        strength = np.sqrt(np.square(currents).mean(1, keepdims=True))
        return np.divide(currents * np.float32(self.config.gain), strength, out=currents, where=strength > 0)

    def spikes(self, text: str) -> NDArray[np.uint8]:
        """Return the spike trains of a text, uint8 [2 D, T], ON neurons first.

        A text without a letter or digit has no spikes.
        """
        (spikes,) = self._trains(self.currents([text]))
        return spikes

    def counts(self, texts: Sequence[str]) -> NDArray[np.int8]:
        """Return the counts of ON minus those of OFF spikes, int8 [texts, D]; equal to those of `spikes`."""
        return self._counts(self.currents(texts))

    def counts_and_spikes(self, texts: Sequence[str]) -> tuple[NDArray[np.int8], list[NDArray[np.uint8]]]:
        """Return the counts [texts, D] as `counts`, and the spike trains of each text as `spikes`, in one run."""
        currents = self.currents(texts)
        return self._counts(currents), self._trains(currents)

    def _trains(self, currents: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
        config = self.config
        # one neuron of each pair has no positive current, and never fires
        fired = lif_response(np.abs(currents), config.steps, config.beta, config.threshold)
        trains = []
        for number, sign in enumerate((currents < 0).astype(np.intp)):
            spikes = np.zeros((2, self.width, config.steps), np.uint8)
            spikes[sign, np.arange(self.width)] = fired[:, number].T
            trains.append(spikes.reshape(-1, config.steps))
        return trains

    def _counts(self, currents: NDArray[np.float32]) -> NDArray[np.int8]:
        # comparisons with T thresholds instead of T simulated steps: exact, see count_thresholds
        strength = np.abs(currents)
        size = np.zeros(currents.shape, np.int8)
        for threshold in self._thresholds:
            size += strength >= threshold
        return np.where(currents < 0, -size, size)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the counts at unit length, float32 [texts, D]; zeros for a text without a letter or digit."""
        counts = self.counts(texts).astype(np.float32)
        norms = np.linalg.norm(counts, axis=1, keepdims=True)
        return np.divide(counts, norms, out=np.zeros_like(counts), where=norms > 0)

    def word_vectors(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of single words, for comparing words instead of texts.

        They are computed as `embed` computes those of texts, by the same spikes: a word is a text of one word. Words of
        like meaning have a cosine similarity of about 0.6 to 0.9, others mostly below 0.4.

        Args:
            words: the words, in any case; several words in one string count as one text.

        Returns:
            float32 [words, D] of unit length; zeros for a string without a letter or digit.
        """
        return self.embed(words)

    def _sum_rows(self, texts: Sequence[str], out: NDArray[np.float32]) -> None:
        # all rows are gathered with one index, because a call of numpy per text costs more than its additions
        rows: list[int] = []
        weights: list[float] = []
        ends: list[int] = []
        for text in texts:
            text_rows, text_weights = self.vocabulary.bag(text)
            rows += text_rows
            weights += text_weights
            ends.append(len(rows))
        at = np.array(rows, np.int64)
        gathered = self.rows[at].astype(np.float32)
        scaled = np.array(weights, np.float32) * self.scale[at]
        start = 0
        for number, end in enumerate(ends):
            np.matmul(scaled[start:end], gathered[start:end], out=out[number])
            start = end

# mypy: allow-untyped-calls, no-warn-return-any
"""The text embedder while it is trained: its known words, its loss, and the fit of its n-grams."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.snn.models.text_embedder import EmbedderConfig, count_thresholds
from brainnet.snn.models.text_features import SubwordVocabulary

RIDGE = 0.01
"""Ridge penalty of the fit of the n-grams."""


class TrainableEmbedder(nn.Module):
    """The known words of a `SpikingTextEmbedder`, trained through the counts of its spikes.

    The count is a step function of the current. In the backward pass it is replaced by a proportional function: the
    straight-through estimator of Bengio et al. 2013, *Estimating or propagating gradients through stochastic neurons*.

    Args:
        config: Configuration of the embedder.
        rows: Initial rows of the known words, [words, D].
    """

    def __init__(self, config: EmbedderConfig, rows: Tensor) -> None:
        super().__init__()
        self.config = config
        self.bag = nn.EmbeddingBag.from_pretrained(rows, freeze=False, mode="sum")
        levels = count_thresholds(config.steps, config.beta, config.threshold)
        self.levels: Tensor
        self.register_buffer("levels", torch.from_numpy(levels), persistent=False)

    def forward(self, ids: Tensor, weights: Tensor, starts: Tensor) -> Tensor:
        """Compute counts of ON minus counts of OFF spikes at unit length, [len(starts), D], for bags of rows."""
        summed = self.bag(ids, starts, per_sample_weights=weights)
        strength = summed.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)
        # Under constant current the spike count is the number of thresholds that the current exceeds, so no neuron
        # has to be simulated.
        currents = self.config.gain * summed / strength
        counts = torch.bucketize(currents.detach().abs(), self.levels, right=True) * currents.detach().sign()
        # Least-squares slope of the counts over the currents.
        slope = (counts * currents.detach()).sum() / currents.detach().square().sum()
        proportional = slope * currents
        return F.normalize(proportional + (counts - proportional).detach(), dim=-1, eps=1e-6)


class Bags:
    """The known words of texts, as bags of rows with weights.

    Args:
        vocabulary: The known words.
        texts: The texts.
    """

    def __init__(self, vocabulary: SubwordVocabulary, texts: Iterable[str]) -> None:
        ids: list[int] = []
        weights: list[float] = []
        ends = [0]
        for text in texts:
            for row, weight in zip(*vocabulary.bag(text), strict=True):
                if row < len(vocabulary.hashes):
                    ids.append(row)
                    weights.append(weight)
            ends.append(len(ids))
        self.ids, self.weights, self.ends = np.array(ids), np.array(weights, np.float32), np.array(ends)

    def nonempty(self) -> NDArray[np.int64]:
        """Return the numbers of the texts with a known word."""
        return np.flatnonzero(np.diff(self.ends))

    def take(self, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the input of `TrainableEmbedder` for these texts: rows, weights, and where each text begins."""
        starts, lengths = self.ends[numbers], np.diff(self.ends)[numbers]
        begins = np.cumsum(lengths) - lengths
        at = np.repeat(starts - begins, lengths) + np.arange(lengths.sum())
        return torch.from_numpy(self.ids[at]), torch.from_numpy(self.weights[at]), torch.from_numpy(begins)


def centred(vectors: Tensor, groups: Sequence[str] = ()) -> Tensor:
    """Remove what all vectors of a group have in common, their mean, which tells nothing apart.

    Mu and Viswanath 2018, *All-but-the-top: simple and effective postprocessing for word representations*. Words of one
    language are a group: otherwise a word is nearer to others of its language than to its translation.

    Args:
        vectors: Vectors, one row each.
        groups: The group of each; empty when all are one.

    Returns:
        Unit vectors.
    """
    wide = F.normalize(vectors.float(), dim=-1)
    _, group = np.unique(np.array(groups or [""] * len(vectors)), return_inverse=True)
    numbers = torch.from_numpy(group)
    sums = torch.zeros(int(group.max()) + 1, wide.shape[1]).index_add_(0, numbers, wide)
    return F.normalize(wide - (sums / numbers.bincount()[:, None])[numbers], dim=-1)


def principal_axes(vectors: Tensor, width: int, whitening: float) -> Tensor:
    """Compute the `width` directions that hold most of the vectors' squared length, one column each.

    Args:
        vectors: Vectors, one row each.
        width: Number of directions.
        whitening: By how much they are evened out: each is divided by this power of the root mean square of the vectors
            along it; 0 keeps lengths and angles, 1 makes all directions equal.
    """
    values, axes = torch.linalg.eigh(vectors.T @ vectors / len(vectors))
    # Eigenvalues come in ascending order.
    return axes[:, -width:].flip(1) * values[-width:].flip(0).clamp_min(1e-8) ** (-whitening / 2)


def ridge(given: Tensor, wanted: Tensor, penalty: float) -> Tensor:
    """Compute the matrix M with the least |given M - wanted|^2 + penalty |M|^2, [given columns, wanted columns]."""
    return torch.linalg.solve(given.T @ given + penalty * torch.eye(given.shape[1]), given.T @ wanted)


def length_of_frequency(
    zipf: NDArray[np.floating], lengths: NDArray[np.floating]
) -> Callable[[NDArray[np.floating]], NDArray[np.float32]]:
    """Find which length a row has whose word is so frequent: medians, linear between them.

    Args:
        zipf: Zipf values of words; the median is that of words with the same value, rounded to halves.
        lengths: The lengths of their rows.

    Returns:
        A function from Zipf values to lengths.
    """
    bins = np.round(2 * zipf) / 2
    middles = np.unique(bins)
    medians = np.array([np.median(lengths[bins == middle]) for middle in middles])
    return lambda values: np.interp(values, middles, medians).astype(np.float32)


def fit_ngrams(vocabulary: SubwordVocabulary, train_words: Sequence[str], targets: Tensor, steps: int) -> Tensor:
    """Fit the rows of the n-grams so that the mean over a word's n-grams is near the word's target.

    Ridge regression by conjugate gradients (Hestenes and Stiefel 1952), all D columns at once.

    Args:
        vocabulary: Maps words to the rows of their n-grams.
        train_words: The words.
        targets: The vector that each word should have, [words, D].
        steps: Number of conjugate gradient steps.

    Returns:
        The rows, [buckets, D].
    """
    first = len(vocabulary.hashes)
    word_rows = [vocabulary.ngram_rows(word) for word in train_words]
    counts = np.array([len(rows) for rows in word_rows])
    columns = np.concatenate([np.array(rows) for rows in word_rows]) - first
    indices = torch.from_numpy(np.stack([np.repeat(np.arange(len(word_rows)), counts), columns]))
    shares = torch.from_numpy(np.repeat(1 / counts, counts).astype(np.float32))
    shape = (len(word_rows), vocabulary.buckets)
    sums = torch.sparse_coo_tensor(indices, shares, shape, check_invariants=False).coalesce()
    with warnings.catch_warnings():
        # Torch warns that it may change this layout, in which products are many times as fast.
        warnings.simplefilter("ignore", UserWarning)
        means, transposed = sums.to_sparse_csr(), sums.T.coalesce().to_sparse_csr()

    def normal_matrix(x: Tensor) -> Tensor:
        return transposed @ (means @ x) + RIDGE * x

    solution = torch.zeros(vocabulary.buckets, targets.shape[1])
    residual = transposed @ targets
    direction, squared = residual, residual.square().sum(0)
    for _ in range(steps):
        image = normal_matrix(direction)
        # The lower limits keep columns that have converged exactly from dividing by zero.
        step = squared / (direction * image).sum(0).clamp_min(1e-12)
        solution, residual = solution + step * direction, residual - step * image
        new_squared = residual.square().sum(0)
        direction, squared = residual + new_squared / squared.clamp_min(1e-12) * direction, new_squared
    return solution


def distillation_loss(output: Tensor, target: Tensor, axes: Tensor, temperature: float) -> Tensor:
    """Compare the embedder's vectors [B, D] with the teacher's [B, 384].

    The loss is one minus their cosine, on the teacher's principal axes, plus the Kullback-Leibler divergence between
    the softmax similarities of both within the batch.
    """
    cosine_loss = 1 - (output * F.normalize(target @ axes, dim=-1)).sum(-1).mean()
    # A text's similarity to itself carries no information.
    diagonal = torch.eye(len(output), dtype=torch.bool, device=output.device)
    student = (output @ output.T / temperature).masked_fill(diagonal, -1e4).log_softmax(-1)
    teacher = (target @ target.T / temperature).masked_fill(diagonal, -1e4).log_softmax(-1)
    return cosine_loss + F.kl_div(student, teacher, log_target=True, reduction="batchmean")

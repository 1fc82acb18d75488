"""Consolidation: what the words of a store mean by the company they keep in it; derived data, held in memory only."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from brainnet.memory.text_index import TextIndex
from brainnet.memory.vectors import COMPILED_FROM, VectorIndex, whole, whole_rows

__all__ = ["Meanings", "decorrelating"]

LEAST = 100
"""How many vectors there must be: fewer do not tell which words go together."""
AT_ONCE = 4096
SAMPLE = 10_000
"""From about how many vectors it is estimated how their entries go together."""
POWER = 0.5
"""How far that is undone: 0 not at all, 1 altogether (whitening)."""
SHRINKAGE = 0.1
"""What is added to every variance before, in units of their mean."""
RECALLED = 0.3
"""What the mean of the texts that a query recalled counts in its second look, beside the query."""

Floats = NDArray[np.float32]


class Meanings:
    """Vectors of words, learned without a teacher from the texts and vectors of a store, and of texts in their light.

    An embedder knows words from elsewhere; what they mean here, the store tells. The vector of a word is the sum of
    the vectors of the texts that hold it, each without the mean of all and weighed as BM25 weighs the word in it:
    Hebb's rule, with the word as the input and the vector of its text as the output. In texts of one field all
    vectors lean the same way; so the sums are in part decorrelated, as by the anti-Hebbian lateral inhibition of
    Foeldiak 1990, before they are brought to unit length.

    A text is then seen as itself and as what its words have come to mean, in equal parts: the sum, both at unit
    length, of its own vector and of those of its words, weighed as by BM25; stop words mean nothing. Without the
    decorrelation it would be one step of the power iteration that latent semantic analysis (Deerwester et al. 1990)
    runs to its end, begun not at random but with the embedder's vectors.
    """

    def __init__(self) -> None:
        self._texts = VectorIndex()
        self._rows = np.zeros((0, 0), np.int8)  # of the words, and what makes them unit vectors
        self._scale = np.zeros(0, np.float32)
        self._idf = np.zeros(0, np.float32)
        self._learned = 0

    @property
    def learned(self) -> int:
        """From how many texts it learned last; 0 before it has."""
        return self._learned

    def learn(self, texts: TextIndex, vectors: VectorIndex) -> None:
        """Learns anew from all texts and vectors; nothing from fewer than `LEAST`."""
        self._texts, self._learned = VectorIndex(), 0
        if vectors.held < LEAST:
            return
        starts, items, weights = texts.by_term()
        inverse = _inverse(vectors.norms)
        every = np.array([0, len(inverse)])
        mean = _weighted_sums(every, np.arange(len(inverse)), inverse, vectors.rows)[0] / vectors.held
        self._rows = np.zeros((texts.terms, len(mean)), np.int8)
        self._scale, self._idf = np.zeros(texts.terms, np.float32), texts.idf()
        spread = decorrelating(vectors.rows[:: max(1, len(inverse) // SAMPLE)], mean)
        for first in range(0, texts.terms, AT_ONCE):
            part = starts[first : first + AT_ONCE + 1]
            at, weight = items[part[0] : part[-1]], weights[part[0] : part[-1]]
            sums = _weighted_sums(part - part[0], at, weight * inverse[at], vectors.rows)
            shares = np.concatenate([[0], np.cumsum(weight * (inverse[at] > 0), dtype=np.float64)])
            sums -= np.diff(shares[part - part[0]])[:, None].astype(np.float32) * mean
            rows = self._rows[first : first + AT_ONCE] = whole_rows(sums @ spread)
            self._scale[first : first + AT_ONCE] = _inverse(_lengths(rows))
        self._learned = len(texts)
        self.see(texts, vectors)

    def see(self, texts: TextIndex, vectors: VectorIndex) -> None:
        """Sees the texts that were added since, in the light of what it learned last."""
        for first in range(len(self._texts), len(texts), AT_ONCE):
            end = min(first + AT_ONCE, len(texts))
            starts, items, weights = texts.by_text(first, end)
            items, weights = self._known(items, weights)
            own = vectors.rows[first:end] * _inverse(vectors.norms[first:end])[:, None]
            seen = own + _unit(_weighted_sums(starts, items, weights, self._rows))
            seen[vectors.norms[first:end] == 0] = 0
            self._texts.extend(whole_rows(seen))

    def similarities(self, asked: list[int], vector: NDArray[np.integer | np.floating]) -> Floats:
        """Cosine similarity of every text to a query of these terms and this vector, seen as texts are."""
        own = whole(vector).astype(np.float32)
        if not own.any():
            return np.zeros(len(self._texts), np.float32)
        items, weights = self._known(np.array(asked, np.int64), np.ones(len(asked), np.float32))
        meant = weights @ self._rows[items].astype(np.float32)
        return self._texts.similarities(_unit(own[None])[0] + _unit(meant[None])[0])

    def recalled(
        self, similarities: Floats, likely: NDArray[np.int64], texts: NDArray[np.int64], counts: Floats
    ) -> Floats:
        """The similarities to a query that recalled these texts, each counting so much, and took on their mean.

        Only those to the `likely` are found anew, exactly; to any other text the mean is taken to have none, so that
        it is given less than it has. Negative ones come out as 0. The query's own part is 1, the mean's `RECALLED`
        (Rocchio 1971); both are unit vectors.
        """
        rows = self._texts.rows[texts].astype(np.float32) * _inverse(self._texts.norms[texts])[:, None]
        mean = _unit((counts @ rows)[None])[0]
        among = self._texts.rows[likely].astype(np.float32) @ mean * _inverse(self._texts.norms[likely])
        found = similarities.copy()
        found[likely] += np.float32(RECALLED) * among
        return np.maximum(found, 0, out=found)

    def _known(self, items: NDArray[np.int64], weights: Floats) -> tuple[NDArray[np.int64], Floats]:
        """The terms with their weights times what belongs to the term; those never learned with a weight of 0."""
        known = items < len(self._rows)
        items = np.where(known, items, 0)
        return items, weights * known * self._idf[items] * self._scale[items]


def _weighted_sums(
    starts: NDArray[np.int64], items: NDArray[np.int64], weights: Floats, rows: NDArray[np.int8]
) -> Floats:
    """[N, D]: the n-th is the sum of the `rows` [R, D] that `items` names from `starts[n]` to `starts[n + 1]`,
    times their `weights`.
    """
    sums = np.zeros((len(starts) - 1, rows.shape[1]), np.float32)
    if len(rows) < COMPILED_FROM:
        for n, (begin, end) in enumerate(pairwise(starts.tolist())):
            sums[n] = weights[begin:end] @ rows[items[begin:end]].astype(np.float32)
    else:
        from brainnet.memory.kernels import weighted_sums

        weighted_sums(starts, items, weights.astype(np.float32), rows, sums)
    return sums


def decorrelating(rows: NDArray[np.int8] | Floats, mean: Floats) -> Floats:
    """[D, D], symmetric: multiplies the principal directions of the rows, at unit length, by their standard deviation
    to the power of -`POWER`. Rows of zeros are none.
    """
    away = _unit(rows[rows.any(1)].astype(np.float32)) - mean
    variances, directions = np.linalg.eigh(away.T @ away / np.float32(len(away)))
    variances = np.maximum(variances, 0)
    variances += SHRINKAGE * variances.mean()
    return np.asarray(directions * variances ** (-POWER / 2) @ directions.T, np.float32)


def _lengths(rows: NDArray[np.int8] | Floats) -> Floats:
    wide = rows.astype(np.float32)
    lengths: Floats = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    return lengths


def _inverse(lengths: Floats) -> Floats:
    return np.divide(np.float32(1), lengths, out=np.zeros(len(lengths), np.float32), where=lengths > 0)


def _unit(rows: Floats) -> Floats:
    return rows * _inverse(_lengths(rows))[:, None]

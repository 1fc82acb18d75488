"""Term embeddings learned from the texts and vectors of one store; derived data, held in memory only."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from brainnet.memory.text_index import TextIndex
from brainnet.memory.vectors import MIN_COMPILED_ROWS, VectorIndex, quantize, quantize_rows

__all__ = ["TermEmbeddings", "decorrelation_matrix"]

MIN_VECTORS = 100
"""With fewer vectors than this nothing is fitted: they say too little about which terms belong together."""
CHUNK = 4096
"""The number of terms or texts that are processed at once; it bounds the size of float32 temporaries."""
COVARIANCE_SAMPLE = 10_000
"""About how many vectors the covariance is estimated from; more cost time and change it little."""
DECORRELATION_POWER = 0.5
"""The degree of decorrelation: 0 for none, 1 for full whitening."""
SHRINKAGE = 0.1
"""Added to every variance before decorrelation, in units of the mean variance; it limits the largest gain."""
FEEDBACK_WEIGHT = 0.3
"""The weight of the mean feedback text, relative to the query."""

Floats = NDArray[np.float32]


class TermEmbeddings:
    """Vectors of terms, learned without supervision from a store, and vectors of texts that include them.

    The vector of a term is the sum of the vectors of the texts that contain it. Each text vector has the mean of all
    texts subtracted and is weighted with the BM25 weight of the term in the text. This is Hebbian learning with the
    term as input and the vector of its text as output. Texts about one subject all point in similar directions;
    therefore the sums are partly decorrelated, as by the anti-Hebbian lateral inhibition of Foeldiak 1990, and then
    scaled to unit length.

    A text is then represented by its own vector plus the BM25-weighted sum of the vectors of its terms, both at unit
    length. Stop words have no vector. Without the decorrelation this is one step of the power iteration that computes
    latent semantic analysis (Deerwester et al. 1990), started from the vectors of the embedder.
    """

    def __init__(self) -> None:
        self._texts = VectorIndex()
        # term vectors in int8, and the factor that scales each to unit length: a quarter of the memory of float32
        self._rows = np.zeros((0, 0), np.int8)
        self._scale = np.zeros(0, np.float32)
        self._idf = np.zeros(0, np.float32)
        self._fitted_texts = 0

    @property
    def fitted_texts(self) -> int:
        """The number of texts at the last fit; 0 before the first one."""
        return self._fitted_texts

    def fit(self, texts: TextIndex, vectors: VectorIndex) -> None:
        """Learn from all texts and vectors; does nothing with fewer than `MIN_VECTORS` vectors."""
        self._texts, self._fitted_texts = VectorIndex(), 0
        if vectors.vector_count < MIN_VECTORS:
            return
        starts, items, weights = texts.term_postings()
        inverse = _inverse(vectors.norms)
        # the mean of the unit vectors, as one weighted sum over all rows
        all_rows = np.array([0, len(inverse)])
        mean = _weighted_sums(all_rows, np.arange(len(inverse)), inverse, vectors.rows)[0] / vectors.vector_count
        self._rows = np.zeros((texts.term_count, len(mean)), np.int8)
        self._scale, self._idf = np.zeros(texts.term_count, np.float32), texts.idf()
        decorrelate = decorrelation_matrix(vectors.rows[:: max(1, len(inverse) // COVARIANCE_SAMPLE)], mean)
        for first in range(0, texts.term_count, CHUNK):
            part = starts[first : first + CHUNK + 1]
            at, weight = items[part[0] : part[-1]], weights[part[0] : part[-1]]
            sums = _weighted_sums(part - part[0], at, weight * inverse[at], vectors.rows)
            # sum(w * (v - mean)) = sum(w * v) - sum(w) * mean: the centred vectors, which would be float32, are never
            # stored. float64, because differences of a long cumulative sum lose digits
            totals = np.concatenate([[0], np.cumsum(weight * (inverse[at] > 0), dtype=np.float64)])
            sums -= np.diff(totals[part - part[0]])[:, None].astype(np.float32) * mean
            rows = self._rows[first : first + CHUNK] = quantize_rows(sums @ decorrelate)
            self._scale[first : first + CHUNK] = _inverse(_norms(rows))
        self._fitted_texts = len(texts)
        self.update(texts, vectors)

    def update(self, texts: TextIndex, vectors: VectorIndex) -> None:
        """Compute the vectors of the texts that were added since the last call, with the terms as last fitted."""
        for first in range(len(self._texts), len(texts), CHUNK):
            end = min(first + CHUNK, len(texts))
            starts, items, weights = texts.document_terms(first, end)
            items, weights = self._term_weights(items, weights)
            own = vectors.rows[first:end] * _inverse(vectors.norms[first:end])[:, None]
            combined = own + _unit(_weighted_sums(starts, items, weights, self._rows))
            # a text without a vector stays without one
            combined[vectors.norms[first:end] == 0] = 0
            self._texts.extend(quantize_rows(combined))

    def similarities(self, query_terms: list[int], vector: NDArray[np.integer | np.floating]) -> Floats:
        """Return the cosine similarity [texts] to a query of these terms and this vector, combined as for texts."""
        own = quantize(vector).astype(np.float32)
        if not own.any():
            return np.zeros(len(self._texts), np.float32)
        items, weights = self._term_weights(np.array(query_terms, np.int64), np.ones(len(query_terms), np.float32))
        of_terms = weights @ self._rows[items].astype(np.float32)
        return self._texts.similarities(_unit(own[None])[0] + _unit(of_terms[None])[0])

    def feedback_similarities(
        self, similarities: Floats, candidates: NDArray[np.int64], feedback: NDArray[np.int64], weights: Floats
    ) -> Floats:
        """Return the similarities after pseudo-relevance feedback (Rocchio 1971); negative ones are 0.

        The query moves towards the weighted mean of the feedback texts: `similarities` have weight 1, those to the
        mean `FEEDBACK_WEIGHT`; both are unit vectors. Only the candidates are computed exactly. For all other texts
        the similarity to the mean counts as 0, which underestimates them.

        Args:
            similarities: of every text to the original query, [texts].
            candidates: the texts to compare again.
            feedback: the texts that are taken as relevant.
            weights: the weight of each feedback text.
        """
        rows = self._texts.rows[feedback].astype(np.float32) * _inverse(self._texts.norms[feedback])[:, None]
        mean = _unit((weights @ rows)[None])[0]
        of_candidates = self._texts.rows[candidates].astype(np.float32) @ mean * _inverse(self._texts.norms[candidates])
        result = similarities.copy()
        result[candidates] += np.float32(FEEDBACK_WEIGHT) * of_candidates
        return np.maximum(result, 0, out=result)

    def _term_weights(self, items: NDArray[np.int64], weights: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Return the terms, and their weights times idf and vector scale; 0 for terms newer than the last fit."""
        known = items < len(self._rows)
        # unknown terms read row 0 with weight 0: cheaper than removing them and correcting `starts` of the caller
        items = np.where(known, items, 0)
        return items, weights * known * self._idf[items] * self._scale[items]


def _weighted_sums(
    starts: NDArray[np.int64], items: NDArray[np.int64], weights: Floats, rows: NDArray[np.int8]
) -> Floats:
    """Return float32 [N, D]: row n is the sum of `weights[i] * rows[items[i]]` from `starts[n]` to `starts[n + 1]`."""
    sums = np.zeros((len(starts) - 1, rows.shape[1]), np.float32)
    if len(rows) < MIN_COMPILED_ROWS:
        for n, (begin, end) in enumerate(pairwise(starts.tolist())):
            sums[n] = weights[begin:end] @ rows[items[begin:end]].astype(np.float32)
    else:
        from brainnet.memory.kernels import weighted_sums

        weighted_sums(starts, items, weights.astype(np.float32), rows, sums)
    return sums


def decorrelation_matrix(rows: NDArray[np.int8] | Floats, mean: Floats) -> Floats:
    """Return the symmetric matrix [D, D] that partly decorrelates the unit vectors of `rows` around `mean`.

    It multiplies each principal direction by its standard deviation to the power of `-DECORRELATION_POWER`. Rows of
    zeros are ignored.
    """
    used = rows[rows.any(1)]
    covariance = np.zeros((rows.shape[1], rows.shape[1]), np.float32)
    for first in range(
        0, len(used), CHUNK
    ):  # in parts: all rows as float32 would take four times the memory of the rows
        centred = _unit(used[first : first + CHUNK].astype(np.float32)) - mean
        covariance += centred.T @ centred
    variances, directions = np.linalg.eigh(covariance / np.float32(len(used)))
    # rounding can make the variance of an empty direction slightly negative, and a power of that is NaN
    variances = np.maximum(variances, 0)
    variances += SHRINKAGE * variances.mean()
    return np.asarray(directions * variances ** (-DECORRELATION_POWER / 2) @ directions.T, np.float32)


def _norms(rows: NDArray[np.int8] | Floats) -> Floats:
    wide = rows.astype(np.float32)
    # einsum adds the squares row by row without an array of the squares
    norms: Floats = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    return norms


def _inverse(norms: Floats) -> Floats:
    return np.divide(np.float32(1), norms, out=np.zeros(len(norms), np.float32), where=norms > 0)


def _unit(rows: Floats) -> Floats:
    return rows * _inverse(_norms(rows))[:, None]

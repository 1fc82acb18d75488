# mypy: allow-untyped-calls, no-warn-return-any
"""Word vectors for the router's training: words that no template holds stand near those that are used like them.

Counts of neighbours, positive pointwise mutual information with smoothed contexts, and the strongest directions of that
matrix (Levy, Goldberg and Dagan 2015, *Improving Distributional Similarity with Lessons Learned from Word Embeddings*).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainnet.snn.codes.tas import TasWindow, tas_encode
from brainnet.snn.models.router import suffix_token
from brainnet.snn.models.text_features import HashedVocabulary

CONTEXTS = 400
"""Most frequent words that count as neighbours, apart for each of the offsets."""
OFFSETS = (-2, -1, 1, 2)
SMOOTHING = 0.75
"""Power of the frequency of a neighbour; below 1, rare neighbours weigh less."""


def word_vectors(texts: Sequence[Sequence[str]], words: Sequence[str], width: int) -> NDArray[np.float32]:
    """Vectors [len(words), width] of length 1 by the neighbours of each word in tokenised `texts`.

    Words that are distributed alike lie near each other; one that does not occur is zero. Deterministic.
    """
    number = {word: i for i, word in enumerate(words)}
    other, gap = len(words), len(words) + 1
    ids = np.array([i for text in texts for i in (*(number.get(token, other) for token in text), gap, gap)])
    context = np.full(gap + 1, -1)
    order = np.argsort(-np.bincount(ids, minlength=gap + 1)[:other], kind="stable")[:CONTEXTS]
    context[order] = np.arange(len(order))
    counts = np.zeros((len(words), len(OFFSETS), len(order)), np.float32)
    for k, offset in enumerate(OFFSETS):
        word, near = (ids[:-offset], ids[offset:]) if offset > 0 else (ids[-offset:], ids[:offset])
        use = (word < other) & (context[near] >= 0)
        pairs = word[use] * len(order) + context[near[use]]
        counts[:, k] = np.bincount(pairs, minlength=counts[:, k].size).reshape(len(words), len(order))
    matrix = _positive_information(counts.reshape(len(words), -1))
    _, directions = np.linalg.eigh(matrix.T @ matrix)
    vectors = matrix @ directions[:, -width:]
    if vectors.shape[1] < width:
        vectors = np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))
    # the strongest directions say how frequent a word is rather than what it means
    vectors /= np.sqrt(np.maximum((vectors**2).mean(0), 1e-12))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-6) * (length > 1e-6), np.float32)


def _positive_information(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    neighbours = counts.sum(0) ** SMOOTHING
    expected = counts.sum(1, keepdims=True) * (neighbours / max(neighbours.sum(), 1e-12))
    return np.log(np.maximum(counts, 1e-12) / np.maximum(expected, 1e-12), where=counts > 0, out=counts * 0).clip(min=0)


class WordTable(nn.Module):
    """The embedding table while it is trained: a projection of the word vectors, shared, and an offset of each row.

    A row whose offset is withheld is embedded as a word would be that training has not seen; rows without a vector
    (all zero) are their offset alone.
    """

    vectors: Tensor
    bare: Tensor

    def __init__(self, vectors: NDArray[np.float32], width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.from_numpy(vectors), persistent=False)
        self.register_buffer("bare", ~self.vectors.any(1), persistent=False)
        self.projection = nn.Parameter(torch.randn(vectors.shape[1], width))
        self.offset = nn.Parameter(torch.randn(len(vectors), width) * self.bare[:, None])

    def encode(self, rows: Tensor, own: Tensor, window: TasWindow) -> Tensor:
        """TAS spikes [B, T, L, D] of token rows [B, L]; the offset only of those that are `own` bool [B, L]."""
        with_offset = (own | self.bare[rows])[..., None]
        embedded = self.vectors[rows] @ self.projection + with_offset * nn.functional.embedding(rows, self.offset)
        return tas_encode(embedded, window, rows != 0)

    def folded(self) -> Tensor:
        """The table [rows, D] that the encoder keeps."""
        return (self.vectors @ self.projection + self.offset).detach()


def vocabulary_of(
    said: Sequence[Sequence[str]],
    texts: Sequence[Sequence[str]],
    *,
    min_count: int,
    words: int,
    width: int,
    unknown_rows: int,
) -> tuple[HashedVocabulary, NDArray[np.float32]]:
    """The known tokens and a vector [rows, width] for each row.

    Known are tokens that occur `min_count` times in the prompts `said`, then the most frequent of the free
    `texts` until there are `words`, and endings that several of these share, with the mean of their vectors.
    """
    known = {token for token, count in _counted(said).items() if count >= min_count} | {"<audio>"}
    frequent = [token for token, count in _counted(texts).most_common() if count >= min_count and token not in known]
    tokens = sorted(known.union(frequent[: max(0, words - len(known))]))
    vectors = word_vectors([*texts, *said], tokens, width)
    by_ending: dict[str, list[int]] = {}
    for i, token in enumerate(tokens):
        if len(token) > 3 and token.isalpha():
            by_ending.setdefault(suffix_token(token), []).append(i)
    endings = {name: members for name, members in by_ending.items() if len(members) > 3}
    vocabulary = HashedVocabulary.build([*tokens, *endings], unknown_rows)
    table = np.zeros((len(vocabulary), width), np.float32)
    # what comes with the text is marked, not said: its neighbours mean nothing
    table[vocabulary.rows(tokens)] = vectors * np.array([[not token.startswith("<")] for token in tokens])
    if endings:
        table[vocabulary.rows(list(endings))] = [vectors[members].mean(0) for members in endings.values()]
    return vocabulary, table


def _counted(texts: Sequence[Sequence[str]]) -> Counter[str]:
    return Counter(token for text in texts for token in text)

# mypy: allow-untyped-calls, no-warn-return-any
"""Word vectors for the router's training, so that words that no template contains are near words of similar use.

Counts of neighbours, positive pointwise mutual information with smoothed contexts, and the principal directions of that
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
"""Number of context words, the most frequent ones; they are counted separately for each offset."""
OFFSETS = (-2, -1, 1, 2)
"""Positions of the neighbours, relative to the word."""
SMOOTHING = 0.75
"""Exponent of a neighbour's frequency (Levy et al.); below 1 it reduces the weight of rare neighbours."""
MIN_ENDING_WORDS = 4
"""Smallest number of words that share an ending that gets a row of its own."""


def word_vectors(texts: Sequence[Sequence[str]], words: Sequence[str], width: int) -> NDArray[np.float32]:
    """Compute word vectors from the neighbours of each word in tokenised texts; deterministic.

    Args:
        texts: Tokenised texts.
        words: The words.
        width: Length of a vector.

    Returns:
        Vectors [len(words), width] of unit length; zero for a word that does not occur.
    """
    number = {word: i for i, word in enumerate(words)}
    other, gap = len(words), len(words) + 1
    # Two gaps after each text, so that no window of two words reaches into the next text.
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
    # Equal variance for all directions, because the strongest ones depend on how frequent a word is, not on its use.
    vectors /= np.sqrt(np.maximum((vectors**2).mean(0), 1e-12))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-6) * (length > 1e-6), np.float32)


def _positive_information(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the positive pointwise mutual information of words (rows) and contexts (columns)."""
    neighbours = counts.sum(0) ** SMOOTHING
    expected = counts.sum(1, keepdims=True) * (neighbours / max(neighbours.sum(), 1e-12))
    return np.log(np.maximum(counts, 1e-12) / np.maximum(expected, 1e-12), where=counts > 0, out=counts * 0).clip(min=0)


class WordTable(nn.Module):
    """The embedding table in training: a shared projection of the word vectors, plus an offset for each row.

    Without its offset a row is embedded like a word that was not in training; dropping offsets at random therefore
    trains the projection for such words. Rows without a vector (all zero) consist of their offset only.

    Args:
        vectors: Word vectors, [rows, vector width].
        width: Width of an embedding.
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
        """Encode token rows [B, L] as TAS spikes [B, T, L, D], with the offset only where `own` [B, L] is true."""
        with_offset = (own | self.bare[rows])[..., None]
        embedded = self.vectors[rows] @ self.projection + with_offset * nn.functional.embedding(rows, self.offset)
        return tas_encode(embedded, window, rows != 0)

    def folded(self) -> Tensor:
        """Compute the final table [rows, D], in which vectors and offsets are added."""
        return (self.vectors @ self.projection + self.offset).detach()


def vocabulary_of(
    prompts: Sequence[Sequence[str]],
    texts: Sequence[Sequence[str]],
    *,
    min_count: int,
    words: int,
    width: int,
    unknown_rows: int,
) -> tuple[HashedVocabulary, NDArray[np.float32]]:
    """Choose the vocabulary, and compute a word vector for each of its rows.

    The vocabulary holds the tokens that occur often enough in the prompts, then the most frequent tokens of the texts,
    and the endings that several of these words share, each with the mean of their vectors.

    Args:
        prompts: Tokenised prompts.
        texts: Tokenised free texts.
        min_count: Smallest number of occurrences of a token.
        words: Number of tokens without endings.
        width: Length of a vector.
        unknown_rows: Number of rows that unknown tokens share.

    Returns:
        The vocabulary, and the vectors [rows, width].
    """
    known = {token for token, count in _counted(prompts).items() if count >= min_count} | {"<audio>"}
    frequent = [token for token, count in _counted(texts).most_common() if count >= min_count and token not in known]
    tokens = sorted(known.union(frequent[: max(0, words - len(known))]))
    vectors = word_vectors([*texts, *prompts], tokens, width)
    by_ending: dict[str, list[int]] = {}
    for i, token in enumerate(tokens):
        if len(token) > 3 and token.isalpha():
            by_ending.setdefault(suffix_token(token), []).append(i)
    endings = {name: members for name, members in by_ending.items() if len(members) >= MIN_ENDING_WORDS}
    vocabulary = HashedVocabulary.build([*tokens, *endings], unknown_rows)
    table = np.zeros((len(vocabulary), width), np.float32)
    # Marks such as `<image>` are not words of the text, so their neighbours carry no meaning.
    table[vocabulary.rows(tokens)] = vectors * np.array([[not token.startswith("<")] for token in tokens])
    if endings:
        table[vocabulary.rows(list(endings))] = [vectors[members].mean(0) for members in endings.values()]
    return vocabulary, table


def _counted(texts: Sequence[Sequence[str]]) -> Counter[str]:
    return Counter(token for text in texts for token in text)

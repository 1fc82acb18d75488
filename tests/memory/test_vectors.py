"""The vector index against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.memory import VectorIndex


def cosines(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    found: np.ndarray = np.divide(vectors @ query, norms, out=np.zeros(len(vectors)), where=norms > 0)
    return found


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 600), width=st.integers(1, 130))
def test_whole_numbers_are_compared_exactly(seed: int, size: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-127, 128, (size, width))
    index = VectorIndex()
    for vector in vectors:
        index.add(vector)
    query = rng.normal(size=width)
    some = np.flatnonzero(rng.random(size) < 0.5)
    assert index.similarities(query, some) == pytest.approx(cosines(vectors[some], query), abs=1e-5)


@given(seed=st.integers(0, 2**32 - 1))
def test_other_vectors_are_rounded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(20, 64)) * 10.0 ** rng.integers(-6, 7)
    index = VectorIndex()
    for vector in vectors:
        index.add(vector)
    found = index.similarities(vectors[0], np.arange(20))
    assert found == pytest.approx(cosines(vectors, vectors[0]), abs=0.01)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_nearest_are_among_the_candidates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(2000, 128))
    index = VectorIndex(candidates=200)
    for vector in vectors:
        index.add(vector)
    query = vectors[7] + 0.5 * rng.normal(size=128)
    candidates = index.nearest(query)
    assert 200 <= len(candidates) < 400
    assert (np.diff(candidates) > 0).all()
    assert 7 in candidates
    allowed = np.arange(2000) % 2 == 0
    of_even = index.nearest(query, allowed)
    assert 200 <= len(of_even) < 400
    assert not (of_even % 2).any()


def test_a_small_index_is_searched_whole() -> None:
    index = VectorIndex(candidates=3)
    for vector in ([1, 0], [0, 1], [-1, 0]):
        index.add(np.array(vector))
    index.add(None)
    assert index.nearest(np.array([1, 0])).tolist() == [0, 1, 2]
    assert (len(index), index.held) == (4, 3)


def test_nothing_is_similar_to_zero_or_to_nothing() -> None:
    index = VectorIndex()
    index.add(None)
    assert index.similarities(np.ones(3), np.array([0])).tolist() == [0]
    index.add(np.zeros(3))
    index.add(np.array([1, 0, 0]))
    assert index.similarities(np.zeros(3), np.arange(3)).tolist() == [0, 0, 0]
    assert index.similarities(np.ones(3), np.arange(3)) == pytest.approx([0, 0, 1 / np.sqrt(3)])
    assert index.nearest(np.ones(3)).tolist() == [2]


def test_a_replaced_vector_is_found_where_it_is_now() -> None:
    index = VectorIndex()
    index.add(None)
    index.add(np.array([1, 0]))
    index.replace(0, np.array([0, 1]))
    assert index.held == 2
    assert index.similarities(np.array([0, 1]), np.array([0, 1])).tolist() == [1, 0]


def test_refuses_another_width() -> None:
    index = VectorIndex()
    index.add(np.ones(3))
    with pytest.raises(ModelError, match="vectors of 3"):
        index.add(np.ones(4))

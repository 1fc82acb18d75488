"""The vector index against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.memory import VectorIndex


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 600), limit=st.integers(1, 20))
def test_finds_what_brute_force_finds(seed: int, size: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (size, 4)).astype(np.float32)
    index = VectorIndex()
    for i, vector in enumerate(vectors):
        index.add(i, "even" if i % 2 == 0 else "odd", vector)
    query = rng.normal(size=4)
    found = index.search(query, limit, kinds=["odd"])

    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    cosine = np.divide(vectors @ query, norms, out=np.zeros(size), where=norms > 0)
    candidates = [i for i in range(size) if i % 2 == 1 and cosine[i] > 1e-6]
    expected = sorted(candidates, key=lambda i: -cosine[i])[:limit]
    assert [s for _, s in found] == pytest.approx([cosine[i] for i in expected], abs=1e-5)
    assert all(i % 2 == 1 for i, _ in found)


def test_of_equal_vectors_the_newest_is_first_also_at_the_limit() -> None:
    index = VectorIndex()
    for i in range(10):
        index.add(i, "a", np.array([1.0, 0.0]))
    assert [i for i, _ in index.search(np.array([1.0, 0.0]), 3)] == [9, 8, 7]


def test_nothing_is_similar_to_zero() -> None:
    index = VectorIndex()
    index.add(1, "a", np.zeros(3))
    index.add(2, "a", np.array([1.0, 0.0, 0.0]))
    assert index.search(np.zeros(3), 5) == []
    assert [i for i, _ in index.search(np.array([1.0, 1.0, 0.0]), 5)] == [2]


def test_refuses_another_width() -> None:
    index = VectorIndex()
    index.add(1, "a", np.ones(3))
    with pytest.raises(ValueError, match="vectors of 3"):
        index.add(2, "a", np.ones(4))

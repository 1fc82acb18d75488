"""The vector index against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.memory import VectorIndex
from brainnet.memory.vectors import MIN_COMPILED_ROWS, quantize_rows


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
    query = rng.integers(-127, 128, width)
    some = np.flatnonzero(rng.random(size) < 0.5)
    assert index.similarities(query) == pytest.approx(cosines(vectors, query), abs=1e-5)
    assert index.similarities(query, some) == pytest.approx(cosines(vectors[some], query), abs=1e-5)


@given(seed=st.integers(0, 2**32 - 1))
def test_other_vectors_are_rounded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(20, 64)) * 10.0 ** rng.integers(-6, 7)
    index = VectorIndex()
    for vector in vectors:
        index.add(vector)
    found = index.similarities(vectors[0])
    assert found == pytest.approx(cosines(vectors, vectors[0]), abs=0.02)


@pytest.mark.parametrize("width", [3, 256])
def test_many_vectors_are_compared_as_few_are(width: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.integers(-127, 128, (MIN_COMPILED_ROWS + 3, width), np.int8)
    index = VectorIndex()
    for vector in vectors:
        index.add(vector)
    query = rng.integers(-127, 128, width, np.int8)
    wide = vectors.astype(np.float64)
    assert index.similarities(query) == pytest.approx(cosines(wide, query.astype(np.float64)), abs=1e-6)


def test_nothing_is_similar_to_zero_or_to_nothing() -> None:
    index = VectorIndex()
    index.add(None)
    assert index.similarities(np.ones(3)).tolist() == [0]
    index.add(np.zeros(3))
    index.add(np.array([1, 0, 0]))
    assert index.similarities(np.zeros(3)).tolist() == [0, 0, 0]
    assert index.similarities(np.ones(3)) == pytest.approx([0, 0, 1 / np.sqrt(3)])
    assert [index.has(number) for number in range(3)] == [False, False, True]


def test_a_replaced_vector_is_found_where_it_is_now() -> None:
    index = VectorIndex()
    index.add(None)
    index.add(np.array([1, 0]))
    index.replace(0, np.array([0, 1]))
    assert index.vector_count == 2
    assert index.similarities(np.array([0, 1])).tolist() == [1, 0]


def test_many_at_once_are_those_one_by_one() -> None:
    rows = np.random.default_rng(0).integers(-127, 128, (700, 5), np.int8)
    one_by_one, at_once = VectorIndex(), VectorIndex()
    for row in rows:
        one_by_one.add(row)
    at_once.extend(rows[:300])
    at_once.extend(rows[300:])
    assert len(at_once) == at_once.vector_count == 700
    assert np.array_equal(at_once.rows, rows)
    assert np.array_equal(at_once.similarities(rows[2]), one_by_one.similarities(rows[2]))
    with pytest.raises(ModelError, match="vectors of 5"):
        at_once.extend(rows[:, :4])


def test_rows_are_rounded_to_127ths_of_their_largest_entry() -> None:
    rows = np.array([[0.5, -0.25, 0], [0, 0, 0], [-3, 1, 2]], np.float32)
    assert quantize_rows(rows).tolist() == [[127, -64, 0], [0, 0, 0], [-127, 42, 85]]


def test_refuses_another_width() -> None:
    index = VectorIndex()
    index.add(np.ones(3))
    with pytest.raises(ModelError, match="vectors of 3"):
        index.add(np.ones(4))
    with pytest.raises(ModelError, match="vectors of 3"):
        index.similarities(np.ones(4))

"""Term embeddings against their definition in plain numpy, and their effect on a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainnet.memory import EpisodicStore, NewEpisode, TermEmbeddings, TextIndex, VectorIndex
from brainnet.memory.term_embeddings import DECORRELATION_POWER, FEEDBACK_WEIGHT, SHRINKAGE
from brainnet.memory.vectors import MIN_COMPILED_ROWS

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("rl", "mp", "nk", "lt")]


def unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: np.ndarray = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return found


def filled(count: int, width: int = 12) -> tuple[list[str], np.ndarray, TextIndex, VectorIndex]:
    """Texts of random words, the usual ones first, and of the stop word "the", with vectors, every seventh without."""
    rng = np.random.default_rng(0)
    usual = 1 / np.arange(1, len(WORDS) + 1)
    said = [" ".join(["the", *rng.choice(WORDS, 6, p=usual / usual.sum())]) for _ in range(count)]
    vectors = rng.integers(-20, 21, (count, width)).astype(np.int8) + np.int8(3)
    vectors[::7] = 0
    texts, index = TextIndex(), VectorIndex()
    for number, (text, vector) in enumerate(zip(said, vectors, strict=True)):
        texts.add(text)
        index.add(None if number % 7 == 0 else vector)
    return said, vectors, texts, index


def expected(said: list[str], vectors: np.ndarray, asked: list[str], vector: np.ndarray) -> np.ndarray:
    held = [text.split() for text in said]
    mean_length = np.mean([len(found) for found in held])
    known = sorted({word for found in held for word in found} - {"the"})
    counts = np.array([[found.count(word) for word in known] for found in held], np.float64)
    long = np.array([len(found) for found in held]) / mean_length
    weights = counts * 2.2 / (counts + 1.2 * (0.25 + 0.75 * long)[:, None])
    n = (counts > 0).sum(0)
    idf = np.log(1 + (len(said) - n + 0.5) / (n + 0.5))
    own = unit(vectors.astype(np.float64))
    there = np.abs(own).max(1) > 0
    away = own[there] - own[there].mean(0)
    variances, directions = np.linalg.eigh(np.cov(own[there].T, bias=True))
    variances = np.maximum(variances, 0) + SHRINKAGE * variances.mean()
    spread = directions @ np.diag(variances ** (-DECORRELATION_POWER / 2)) @ directions.T
    meant = unit(weights[there].T @ away @ spread) * idf[:, None]
    seen = unit(own + unit(weights @ meant)) * there[:, None]
    cue = unit(vector[None].astype(np.float64)) + unit(sum(meant[known.index(word)] for word in asked)[None])
    found: np.ndarray = seen @ unit(cue)[0]
    return found


@pytest.mark.parametrize("count", [150, MIN_COMPILED_ROWS + 5])
def test_is_what_it_is_said_to_be(count: int) -> None:
    said, vectors, texts, index = filled(count)
    embeddings = TermEmbeddings()
    embeddings.fit(texts, index)
    asked, vector = [WORDS[3], WORDS[40]], vectors[1]
    found = embeddings.similarities(list(texts.query_terms(" ".join(["the", *asked]))), vector)
    assert found == pytest.approx(expected(said, vectors, asked, vector), abs=0.03)
    assert not found[::7].any()
    assert embeddings.fitted_texts == count


def test_later_texts_are_seen_with_what_was_learned() -> None:
    said, vectors, texts, index = filled(200)
    embeddings = TermEmbeddings()
    embeddings.fit(texts, index)
    asked = list(texts.query_terms(said[1]))
    before = embeddings.similarities(asked, vectors[1])
    texts.add(f"{said[1]} unheard")
    index.add(vectors[1])
    embeddings.update(texts, index)
    after = embeddings.similarities(asked, vectors[1])
    assert np.array_equal(after[:-1], before)
    assert after[-1] == pytest.approx(before[1], abs=0.02)
    assert embeddings.fitted_texts == 200


def test_a_query_takes_on_what_it_recalled() -> None:
    _, vectors, texts, index = filled(300)
    embeddings = TermEmbeddings()
    embeddings.fit(texts, index)
    first = np.maximum(embeddings.similarities([3, 5], vectors[1]), 0)
    recalled, counts = np.array([8, 20]), np.array([3, 1], np.float32)
    likely = np.arange(0, 300, 2)
    found = embeddings.feedback_similarities(first, likely, recalled, counts)
    ones, every = np.ones(300, np.float32), np.arange(300)
    to_eight, to_twenty = (
        embeddings.feedback_similarities(ones, every, at, counts[:1]) - 1 for at in recalled[:, None]
    )
    assert (to_eight[8], to_twenty[20]) == pytest.approx((FEEDBACK_WEIGHT, FEEDBACK_WEIGHT), abs=1e-3)
    length = np.sqrt(9 + 1 + 2 * 3 * to_eight[20] / FEEDBACK_WEIGHT)
    wanted = np.maximum(first + (3 * to_eight + to_twenty) / length, 0)
    assert found[likely] == pytest.approx(wanted[likely], abs=1e-3)
    assert found[1::2] == pytest.approx(first[1::2])
    assert (wanted > 0).any()


def test_few_vectors_teach_nothing() -> None:
    _, _, texts, index = filled(110)  # 94 of them have a vector
    embeddings = TermEmbeddings()
    embeddings.fit(texts, index)
    assert embeddings.fitted_texts == 0


def test_a_store_learns_what_a_foreign_word_means(tmp_path: Path) -> None:
    """Two fields, which the vectors tell apart: "zorp" keeps company with one of them."""
    rng = np.random.default_rng(1)
    fields = np.array([[9, 0, 1, 0], [0, 9, 0, 1]])
    said = []
    for number in range(160):
        words = " ".join(rng.choice(WORDS[: len(WORDS) // 2] if number % 2 else WORDS[len(WORDS) // 2 :], 5))
        vector = fields[number % 2] + rng.integers(-2, 3, 4)
        said.append(NewEpisode(f"zorp {words}" if number % 8 == 1 else words, vector=vector))
    with EpisodicStore(tmp_path / "memory.sqlite") as store:
        store.store_many(said)
        hits = store.search("zorp", np.array([1, 1, 0, 0]), k=80, text_weight=0)
        assert np.mean([hit.episode.episode_id % 2 == 0 for hit in hits]) > 0.9
        assert not store.consolidate()  # nothing came since
        store.store("zorp", vector=fields[1])
        assert store.consolidate()
        again = store.search("zorp", np.array([1, 1, 0, 0]), k=3)
        assert again[0].episode.text == "zorp"

"""Word vectors by neighbours, and the table of embeddings that is trained over them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from brainnet.snn.codes.tas import TasWindow, tas_encode
from brainnet.snn.models.router import suffix_token
from brainnet.training import find_program

find_program("prefrontal")  # makes the training programs importable
from prefrontal_words import WordTable, vocabulary_of, word_vectors  # noqa: E402

WINDOW = TasWindow(steps=12, positions=8)
RNG = random.Random(0)
ANIMALS, TOOLS = ["cat", "dog", "horse"], ["hammer", "saw", "drill"]
TEXTS = [
    *(["the", RNG.choice(ANIMALS), RNG.choice(["sleeps", "eats", "runs"]), "here"] for _ in range(300)),
    *(["my", RNG.choice(TOOLS), RNG.choice(["broke", "rusts", "cuts"]), "there"] for _ in range(300)),
]


def test_words_used_alike_lie_near_each_other() -> None:
    vectors = word_vectors(TEXTS, [*ANIMALS, *TOOLS, "here", "there", "the", "my", "sleeps", "broke"], 6)
    alike = vectors @ vectors.T
    assert alike[:3, :3].min() > alike[:3, 3:6].max()
    assert alike[3:6, 3:6].min() > alike[3:6, :3].max()
    assert np.linalg.norm(vectors[:6], axis=1) == pytest.approx(1, abs=1e-5)


def test_a_word_that_does_not_occur_has_no_direction() -> None:
    vectors = word_vectors(TEXTS, ["cat", "unheard", "the"], 50)
    assert vectors.shape == (3, 50)
    assert not vectors[1].any()
    assert vectors[0].any()


def test_texts_are_apart() -> None:
    """The end of one text is no neighbour of the beginning of the next."""
    vectors = word_vectors([["left"], ["right"]], ["left", "right"], 2)
    assert not vectors.any()


def test_prompts_come_first_then_what_is_frequent_then_endings() -> None:
    said = [["<start>", "walking", "<image>"], ["<start>", "talking"]] * 3
    texts = [["sinking", "the", "the", "king", "the"], ["linking", "sinking", "rare"]] * 3
    vocabulary, table = vocabulary_of(said, texts, min_count=3, words=9, width=4, unknown_rows=2)
    known = vocabulary.rows(["walking", "talking", "<image>", "<audio>", "the", "sinking", suffix_token("sinking")])
    assert (known > 2).all()
    assert (vocabulary.rows(["rare", suffix_token("the")]) <= 2).all()
    assert table.shape == (len(vocabulary), 4)
    assert not table[vocabulary.rows(["<start>", "<image>", "<audio>"])].any()
    members = table[vocabulary.rows(["walking", "talking", "sinking", "linking", "king"])]
    assert table[known[-1]] == pytest.approx(members.mean(0), abs=1e-6)


def test_a_withheld_offset_leaves_the_projected_vector() -> None:
    torch.manual_seed(0)
    vectors = np.array([[0, 0], [1, 0], [0.6, 0.8]], np.float32)
    table = WordTable(vectors, 3)
    table.offset.data[1:] = torch.randn(2, 3)
    rows = torch.tensor([[1, 2, 0]])
    yes = torch.ones(1, 3, dtype=torch.bool)
    whole, without = table.encode(rows, yes, WINDOW), table.encode(rows, ~yes, WINDOW)
    torch.testing.assert_close(whole, tas_encode(table.folded()[rows], WINDOW, rows != 0))
    projected = (torch.from_numpy(vectors) @ table.projection)[rows]
    torch.testing.assert_close(without, tas_encode(projected, WINDOW, rows != 0))
    assert (whole - without).abs().max() > 0.9


def test_a_row_without_a_vector_keeps_its_offset() -> None:
    table = WordTable(np.array([[0, 0], [0, 0], [1, 0]], np.float32), 3)
    rows, yes = torch.tensor([[1]]), torch.ones(1, 1, dtype=torch.bool)
    assert table.offset[1].any()
    torch.testing.assert_close(table.encode(rows, yes, WINDOW), table.encode(rows, ~yes, WINDOW))

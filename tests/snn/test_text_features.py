"""Hashed text features: stable, bounded, and blind to what they should be blind to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.snn.models.text_features import (
    HashedVocabulary,
    SubwordVocabulary,
    clip_middle,
    hash32,
    limit_marks,
    normalise,
    route_tokens,
    words,
)


def test_hashes_are_the_same_on_every_machine() -> None:
    # What `b2sum --length 32` prints for the same bytes, read as a little-endian number.
    assert (hash32(""), hash32("toolbox")) == (634_351_890, 2_844_077_992)


def test_where_to_does_not_change_who() -> None:
    assert route_tokens("Move the arm to (0.10, -0.2)") == route_tokens("move THE arm to (−.15, 0.05)")
    assert route_tokens("locker 42?") == ["locker", "<integer>", "?"]
    assert route_tokens("छाता रसोई में है? don't") == ["छाता", "रसोई", "में", "है", "?", "don't"]
    assert route_tokens("cafe\u0301") == route_tokens("caf\u00e9")


def test_words_are_normalised() -> None:
    assert words("Don't PANIC, it's ﬁne_now!") == ["don't", "panic", "it's", "fine", "now"]


@given(items=st.lists(st.integers()), limit=st.integers(1, 12))
def test_clipping_keeps_the_beginning_and_the_end(items: list[int], limit: int) -> None:
    clipped = clip_middle(items, limit)
    assert len(clipped) == min(len(items), limit)
    tail = limit // 3 if len(items) > limit else 0
    head = len(clipped) - tail
    assert clipped[:head] == items[:head]
    assert clipped[head:] == (items[-tail:] if tail else [])


def test_known_tokens_have_rows_of_their_own_and_others_share() -> None:
    known = [f"word{i}" for i in range(1000)]
    vocabulary = HashedVocabulary.build(known, unknown_rows=8)
    rows = vocabulary.rows(known)
    assert len(set(rows)) == 1000
    assert rows.min() == 9
    assert rows.max() == len(vocabulary) - 1
    strangers = vocabulary.rows([f"stranger{i}" for i in range(100)])
    assert set(strangers) == set(range(1, 9))


def test_an_empty_vocabulary_knows_nobody() -> None:
    vocabulary = HashedVocabulary.build([], unknown_rows=4)
    assert set(vocabulary.rows(["a", "b", "c"])) <= {1, 2, 3, 4}
    assert vocabulary.rows([]).shape == (0,)


def test_known_words_have_a_row_and_others_those_of_their_ngrams() -> None:
    known = [f"word{i}" for i in range(300)]
    vocabulary = SubwordVocabulary.build(known, buckets=100)
    assert len(vocabulary) == 400
    rows = [vocabulary.rows(word) for word in known]
    assert sorted(rows) == [(i,) for i in range(300)]
    ngrams = vocabulary.rows("words")
    assert len(ngrams) == 5 + 4 + 3  # of "<words>": 3, 4 and 5 letters
    assert all(300 <= row < 400 for row in ngrams)
    assert set(vocabulary.rows("swords")) & set(ngrams)
    assert len(vocabulary.rows("a")) == 1
    assert vocabulary.ngram_rows("word1") != vocabulary.rows("word1")


def test_runs_of_letters_without_spaces_are_read_as_known_words() -> None:
    vocabulary = SubwordVocabulary.build(["猫", "ソファ", "の", "下", "고양이", "ash"], buckets=64)
    assert vocabulary.pieces("猫はソファの下") == ["猫", "は", "ソファ", "の", "下"]
    assert vocabulary.pieces("고양이는") == ["고양이", "는"]
    assert vocabulary.pieces("東京都") == ["東京都"]  # nothing in it is known
    assert vocabulary.pieces("crash") == ["crash"]  # words of other scripts stay whole
    assert vocabulary.pieces("ソファ") == ["ソファ"]
    assert "".join(vocabulary.pieces("猫" * 500)) == "猫" * 500
    rows, weights = vocabulary.bag("猫の猫")
    assert (rows, weights) == ([*vocabulary.rows("猫"), *vocabulary.rows("の")], [2**0.5, 1.0])


@given(text=st.text(max_size=80))
def test_a_word_weighs_the_root_of_its_count(text: str) -> None:
    vocabulary = SubwordVocabulary.build(["a", "b", "0"], buckets=50)
    rows, weights = vocabulary.bag(text)
    assert len(rows) == len(weights)
    found = [piece for word in words(text) for piece in vocabulary.pieces(word)]
    assert sum(weights) == pytest.approx(sum(found.count(word) ** 0.5 for word in set(found)))
    assert vocabulary.bag("b a b") == ([*vocabulary.rows("b"), *vocabulary.rows("a")], [2**0.5, 1.0])


def test_marks_are_read_as_in_text_that_a_stream_may_carry() -> None:
    for marks in ("\u0301" * 30, "\u0323\u0301" * 15):
        assert limit_marks(f"e{marks}!") == f"e{marks}!"
    assert limit_marks("e" + "\u0301" * 31 + "a\u0301") == "e" + "\u0301" * 30 + "a\u0301"
    # canonical ordering of so many marks would take seconds
    assert len(normalise("e" + "\u0301\u0323" * 50_000)) <= 31


def test_words_without_end_are_not_kept() -> None:
    vocabulary = SubwordVocabulary.build(["known"], buckets=64)
    rows = vocabulary.rows("x" * 100_000)
    assert 0 < len(rows) < 1000
    assert rows == vocabulary.rows("x" * 100_000)
    assert not vocabulary._rows
    assert hash32("x" * 100_000) == hash32("x" * 100_000) != hash32("x" * 99_999)
    assert hash32("\ud800") == hash32("?")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("鍵は東京駅です。", ["鍵", "は", "東京", "京駅", "です"]),
        ("钥匙在抽屉里", ["钥匙", "匙在", "在抽", "抽屉", "屉里"]),
        ("T-シャツ 3枚", ["t", "シャ", "ャツ", "3", "枚"]),
        ("मेरी चाबी दराज में है।", ["मेरी", "चाबी", "दराज", "में", "है"]),
        ("ในบ้าน", ["ใน", "นบ้", "บ้า", "าน"]),
        ("열쇠는 서랍에", ["열쇠는", "서랍에"]),
        ("snake_case, don't 1️⃣", ["snake", "case", "don't", "1"]),
    ],
)
def test_words_of_every_script(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text(max_size=60))
def test_the_words_of_a_word_are_that_word(text: str) -> None:
    assert [words(word) for word in words(text)] == [[word] for word in words(text)]

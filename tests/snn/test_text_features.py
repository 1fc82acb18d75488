"""Hashed text features: stable, bounded, and blind to what they should be blind to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.snn.text_features import HashedVocabulary, bag_of_features, clip_middle, hash32, route_tokens, words


def test_hashes_are_the_same_on_every_machine() -> None:
    # What `b2sum --length 32` prints for the same bytes, read as a little-endian number.
    assert (hash32(""), hash32("toolbox")) == (634_351_890, 2_844_077_992)


def test_where_to_does_not_change_who() -> None:
    assert route_tokens("Move the arm to (0.10, -0.2)") == route_tokens("move THE arm to (−.15, 0.05)")
    assert route_tokens("locker 42?") == ["locker", "<integer>", "?"]


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


@given(text=st.text(max_size=80))
def test_features_are_sorted_distinct_and_of_unit_length(text: str) -> None:
    ids, weights = bag_of_features(text, buckets=512)
    assert (np.diff(ids) > 0).all()
    assert ids.size == 0 or 0 <= ids[0] <= ids[-1] < 512
    assert bool(ids.size) == bool(words(text))
    if ids.size:
        assert float(np.linalg.norm(weights)) == pytest.approx(1.0, abs=1e-4)
        assert (weights > 0).all()


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

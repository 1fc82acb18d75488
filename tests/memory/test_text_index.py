"""Full text: BM25 against its formula, stems against SQLite's."""

from __future__ import annotations

import math
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.memory import TextIndex
from brainnet.memory.stemming import stem
from brainnet.memory.text_index import terms
from brainnet.paths import share_dir

WORDS = st.sampled_from(["ovens", "oven's", "hot", "café", "cafe", "running", "ran", "12", "toolbox"])
TEXTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), min_size=1, max_size=12)


def of_sqlite(words: set[str]) -> dict[str, str]:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE t USING fts5(text, tokenize = 'porter unicode61')")
    db.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance')")
    ordered = sorted(words)
    db.executemany("INSERT INTO t (rowid, text) VALUES (?, ?)", list(enumerate(ordered)))
    found = {ordered[row]: term for term, row in db.execute("SELECT term, doc FROM v")}
    db.close()
    return found


@pytest.mark.parametrize(
    ("word", "stemmed"),
    [
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("agreed", "agre"),
        ("feed", "feed"),
        ("hopping", "hop"),
        ("falling", "fall"),
        ("filing", "file"),
        ("happy", "happi"),
        ("sky", "sky"),
        ("relational", "relat"),
        ("generalizations", "gener"),
        ("oscillators", "oscil"),
        ("probate", "probat"),
        ("controll", "control"),
        ("is", "is"),
        ("eed", "eed"),
    ],
)
def test_stems_of_the_published_examples(word: str, stemmed: str) -> None:
    assert stem(word) == stemmed


def test_stems_of_the_words_of_these_sources_are_those_of_sqlite() -> None:
    texts = [path.read_text("utf-8").lower() for path in (share_dir() / "brainnet").rglob("*.py")]
    words = {word for text in texts for word in text.split() if word.isascii() and word.isalpha()}
    assert len(words) > 2000
    assert {word: stem(word) for word in words} == of_sqlite(words)


@given(texts=TEXTS, query=st.lists(WORDS, max_size=5).map(" ".join))
def test_scores_are_bm25(texts: list[str], query: str) -> None:
    index = TextIndex()
    for text in texts:
        index.add(text)
    held = [terms(text) for text in texts]
    mean = max(1, sum(map(len, held)) / len(held))
    expected = []
    for found in held:
        score = 0.0
        for term in set(terms(query)):
            n, tf = sum(term in other for other in held), found.count(term)
            idf = math.log(1 + (len(held) - n + 0.5) / (n + 0.5))
            score += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(found) / mean))
        expected.append(score)
    assert index.scores(query) == pytest.approx(expected, abs=1e-4)


def test_accents_and_possessives_do_not_count() -> None:
    assert terms("Zoë’s CAFÉS, don't") == terms("zoe cafe dont") == ["zoe", "cafe", "dont"]


def test_holders_of_a_word() -> None:
    index = TextIndex()
    for text in ("two ovens", "a kettle", "the oven, the kettle"):
        index.add(text)
    assert index.holders("oven").tolist() == [0, 2]
    assert index.holders("oven kettles").tolist() == [2]
    assert index.holders("spoon").tolist() == index.holders("").tolist() == []
    assert TextIndex().scores("oven").tolist() == []

"""Full text: BM25 against its formula, stems against SQLite's."""

from __future__ import annotations

import math
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.memory import TextIndex
from brainnet.memory.stemming import stem
from brainnet.memory.text_index import FEEDBACK_TERMS, QUERY_WEIGHT, plain_words, terms
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
    assert index.scores(index.query_terms(query)) == pytest.approx(expected, abs=1e-4)


def test_accents_and_possessives_do_not_count() -> None:
    assert terms("Zoë’s CAFÉS, don't") == terms("zoe cafe dont") == ["zoe", "cafe", "dont"]


def test_holders_of_a_word() -> None:
    index = TextIndex()
    for text in ("two ovens", "a kettle", "the oven, the kettle"):
        index.add(text)
    assert index.containing("oven").tolist() == [0, 2]
    assert index.containing("oven kettles").tolist() == [2]
    assert index.containing("spoon").tolist() == index.containing("").tolist() == []
    assert TextIndex().scores({}).tolist() == []


def indexed(*texts: str) -> TextIndex:
    index = TextIndex()
    for text in texts:
        index.add(text)
    return index


def test_stop_words_of_a_query_do_not_count_unless_there_are_no_others() -> None:
    index = indexed("where is the oven", "the the the", "ovens")
    assert index.query_terms("Where is the oven?") == index.query_terms("oven")
    assert index.scores(index.query_terms("Where is the oven?"))[1] == 0
    assert index.scores(index.query_terms("the")).argmax() == 1
    assert index.idf()[list(index.query_terms("the"))] == 0


def test_what_a_text_holds_both_ways_round() -> None:
    index = indexed("oven kettle oven", "", "kettle")
    starts, terms_, weights = index.document_terms(0, 3)
    assert starts.tolist() == [0, 2, 2, 3]
    other, texts, same = index.term_postings()
    pairs = [(n, int(t)) for n in range(3) for t in terms_[starts[n] : starts[n + 1]]]
    back = [(int(n), t) for t in range(2) for n in texts[other[t] : other[t + 1]]]
    assert sorted(pairs) == sorted(back) == [(0, 0), (0, 1), (2, 1)]
    assert sorted(weights) == sorted(same)
    part = index.document_terms(2, 3)
    assert [part[0].tolist(), part[1].tolist()] == [[0, 1], [1]]
    # What each counts, times its idf, is BM25.
    assert index.scores({1: 2.0}) == pytest.approx([2 * index.idf()[1] * same[1], 0, 2 * index.idf()[1] * same[2]])


def test_a_query_that_recalled_is_widened_by_what_the_texts_have_in_common() -> None:
    index = indexed("the hot oven bakes bread", "the oven bakes bread", "a cold kettle", "a hot stove")
    oven, bread, kettle, stop, hot = (
        next(iter(index.query_terms(word))) for word in ["oven", "bread", "kettle", "the", "hot"]
    )
    wider = index.expanded_query({oven: 1.0}, {0: 1.0, 1: 1.0})
    assert sum(wider.values()) == pytest.approx(1)
    assert wider[oven] > QUERY_WEIGHT > wider[bread] > wider[hot]
    assert not {kettle, stop} & set(wider)
    ahead = index.expanded_query({oven: 1.0}, {0: 3.0, 1: 1.0})
    assert ahead[hot] > wider[hot]


def test_only_so_many_terms_are_added() -> None:
    index = indexed(" ".join(f"word{n}" for n in range(60)), "oven")
    assert len(index.expanded_query(index.query_terms("oven"), {0: 1.0})) == FEEDBACK_TERMS + 1


ANY_TEXT = st.one_of(st.text(max_size=40), st.from_regex(r"[A-Za-zéÉıİßﬁ'’\- \u0301]{0,40}", fullmatch=True))


@given(text=ANY_TEXT)
def test_a_word_of_a_text_is_held_by_it(text: str) -> None:
    held = terms(text)
    for place, word in enumerate(plain_words(text)):
        assert terms(word) == [held[place]]
        for form in (word.upper(), word.title(), f"{word}'s", f"{word}’s"):
            if plain_words(form) and plain_words(form.lower()) == plain_words(form):
                assert terms(form) == terms(form.lower())
        if word.isalnum() and word.isascii():
            assert terms(f"the {word}’s") == ["the", *terms(word)]
    index = indexed(text)
    assert all(index.containing(word).tolist() == [0] for word in plain_words(text))


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=6), word=ANY_TEXT)
def test_containing_is_what_terms_say(texts: list[str], word: str) -> None:
    wanted = set(terms(word))
    holding = [number for number, text in enumerate(texts) if wanted and wanted.issubset(terms(text))]
    assert indexed(*texts).containing(word).tolist() == holding


@pytest.mark.parametrize("letter", ["y", "a", "s", "é", "1"])
def test_a_word_of_any_length_has_a_term(letter: str) -> None:
    (term,) = terms(letter * 100_000)
    assert set(term) <= {letter, "e", "i"}

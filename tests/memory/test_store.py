"""The episodic store: what it acknowledged is kept, any text is safe, and search finds what was stored."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainnet.errors import StoreError
from brainnet.memory import Episode, EpisodicStore, NewEpisode, index

TEXTS = st.text(min_size=1, max_size=60).filter(lambda text: bool(text.strip()))
tmp_path_is_fine = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EpisodicStore]:
    with EpisodicStore(tmp_path / "memory.sqlite") as opened:
        yield opened


def test_finds_a_statement_by_its_words(store: EpisodicStore) -> None:
    store.store("the red hammer is on the shelf")
    blue = store.store("the blue toolbox is under the workbench", metadata={"said_by": "Anna"})
    hits = store.search("Where is the blue toolbox?")
    assert hits[0].episode.episode_id == blue.episode_id
    assert hits[0].episode.metadata == {"said_by": "Anna"}
    assert hits[0].bm25_rank == 1
    assert hits[0].vector_rank is None
    assert hits[0].score == pytest.approx(1)


def test_full_text_is_stemmed_and_ignores_accents(store: EpisodicStore) -> None:
    store.store("Zoë parks her bicycles at the café")
    for query in ("parking", "bicycle", "cafe", "zoe"):
        assert len(store.search(query)) == 1, query


def test_fuses_both_scores(store: EpisodicStore) -> None:
    both = store.store("green kettle", vector=vector(1, 0))
    text_only = store.store("kettle kettle kettle")
    vector_only = store.store("something else", vector=vector(0.9, 0.1))
    hits = {hit.episode.episode_id: hit for hit in store.search("kettle", vector(1, 0), k=3)}
    assert list(hits) == [both.episode_id, text_only.episode_id, vector_only.episode_id]
    ranks = {item: (hit.bm25_rank, hit.vector_rank) for item, hit in hits.items()}
    assert ranks == {both.episode_id: (2, 1), text_only.episode_id: (1, None), vector_only.episode_id: (None, 2)}
    assert [hit.score for hit in hits.values()] == sorted((hit.score for hit in hits.values()), reverse=True)
    assert hits[both.episode_id].similarity == pytest.approx(1.0)
    assert hits[text_only.episode_id].similarity is None

    def found(weight: float) -> list[int]:
        return [hit.episode.episode_id for hit in store.search("kettle", vector(0.9, 0.1), text_weight=weight)]

    assert found(1) == [text_only.episode_id, both.episode_id]
    assert found(0) == [vector_only.episode_id, both.episode_id]
    with pytest.raises(ValueError, match="text_weight"):
        found(1.1)


def test_once_it_is_large_a_search_looks_twice(store: EpisodicStore) -> None:
    """A sauce is found by a question for a soup, for the soups speak of what is in it, too; without that, it is not."""
    soups = [f"soup number {n} with leek and carrot" for n in range(4)]
    sauce, others = "sauce of leek and carrot", [f"the engine {n} of a car" for n in range(60)]
    small = store.store_many([NewEpisode(text, vector=vector(1, 0)) for text in [*soups, sauce, *others]])
    assert sauce not in {hit.episode.text for hit in store.search("soup", vector(0, 1), k=9)}
    store.store_many([NewEpisode(text, vector=vector(1, 0.1)) for text in others])
    hits = store.search("soup", vector(1, 0.1), k=9)
    found = next(hit for hit in hits if hit.episode.episode_id == small[4].episode_id)
    assert found.bm25_rank == 5
    assert [hit.bm25_rank for hit in store.search("soup", k=9)] == [1, 1, 1, 1]
    assert store.search("soup", vector(1, 0.1), kinds=["exchange"]) == []
    other = store.store("soup", kind="exchange", vector=vector(1, 0)).episode_id
    assert [hit.episode.episode_id for hit in store.search("soup", vector(1, 0.1), kinds=["exchange"])] == [other]


def test_search_keeps_to_the_kinds_asked_for(store: EpisodicStore) -> None:
    store.store("the key is in the drawer", kind="exchange", vector=vector(1, 0))
    statement = store.store("the key is in the car", kind="statement", vector=vector(0, 1))
    hits = store.search("key", vector(1, 0.1), kinds=["statement"])
    assert [hit.episode.episode_id for hit in hits] == [statement.episode_id]
    assert store.search("key", vector(1, 0), kinds=["no such kind"]) == []


def test_of_equal_episodes_the_newest_comes_first(store: EpisodicStore) -> None:
    ids = [store.store("the lamp is broken", vector=vector(1, 1)).episode_id for _ in range(3)]
    assert [hit.episode.episode_id for hit in store.search("lamp", vector(1, 1))] == ids[::-1]


@pytest.mark.parametrize("reopened", [False, True])
def test_what_fits_lifts_its_neighbours_of_the_session(tmp_path: Path, reopened: bool) -> None:
    path = tmp_path / "memory.sqlite"
    talk = [("What did you buy?", (1, 0)), ("Two yellow lamps.", (0, 1)), ("How nice!", (0, 1))]
    store = EpisodicStore(path)
    alone = store.store("Two yellow pears.", vector=vector(0, 1)).episode_id
    asked, lamps, nice = (
        store.store(text, metadata={"session_id": "a"}, vector=vector(*v)).episode_id for text, v in talk
    )
    store.store("Go on.", metadata={"session_id": "b"})
    if reopened:
        store.close()
        store = EpisodicStore(path)

    def found(text: str, *near: float) -> list[int]:
        return [hit.episode.episode_id for hit in store.search(text, vector(*near) if near else None, k=10)]

    assert found("What did she buy?") == [asked, lamps]
    assert found("", 1, 0) == [asked, lamps]
    assert store.search("", vector(1, 0))[1].similarity == 0
    # What follows the word's holder is lifted more than what precedes it, and the pears have no neighbours.
    assert found("yellow") == [lamps, alone, nice, asked]
    store.close()


def test_a_store_of_format_1_opens(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    db = sqlite3.connect(path)
    for table in ("episodes", "facts"):
        db.executescript(FORMAT_1.format(table=table))
    db.execute(
        "INSERT INTO episodes (key, kind, text, metadata, importance, created_ns, vector, vector_model) VALUES"
        " ('k', 'statement', 'the saw is rusty', '{}', 0.5, 7, ?, 'old')",
        (np.array([0.6, 0.8], "<f4").tobytes(),),
    )
    db.commit()
    db.close()
    for _ in range(2):
        with EpisodicStore(path, vector_model="old") as store, EpisodicStore(path, table="facts") as facts:
            hit = store.search("saws", vector(0.6, 0.8))[0]
            assert (hit.episode.text, hit.episode.created_ns, hit.vector_rank) == ("the saw is rusty", 7, 1)
            assert hit.similarity == pytest.approx(1, abs=1e-3)
            assert store.store("again", key="k") == store.get(hit.episode.episode_id)
            assert facts.stats().episodes == 0


def test_a_file_whose_importance_and_access_counts_were_used_opens(tmp_path: Path) -> None:
    """Format 2 has the two columns, and no time of the last access."""
    path = tmp_path / "memory.sqlite"
    db = sqlite3.connect(path)
    db.executescript(FORMAT_2)
    db.execute(
        "INSERT INTO episodes (key, kind, text, metadata, importance, created_ns, accesses, vector, vector_model)"
        " VALUES ('k', 'statement', 'the saw is rusty', '{\"a\": 1}', 0.9, 7, 3, ?, 'm')",
        (np.array([60, 80], np.int8).tobytes(),),
    )
    db.commit()
    db.close()
    for texts in (["the hammer is new"], []):
        with EpisodicStore(path, vector_model="m") as store:
            saw = store.search("saws", vector(0.6, 0.8))[0]
            assert saw.episode == Episode(1, "statement", "the saw is rusty", {"a": 1}, 7)
            assert saw.similarity == pytest.approx(1, abs=1e-3)
            assert store.store("again", key="k") == saw.episode
            store.store_many([NewEpisode(text, vector=vector(1, 0)) for text in texts])
            assert store.search("hammer")[0].episode.episode_id == 2
    db = sqlite3.connect(path)
    assert db.execute("SELECT importance, accesses FROM episodes").fetchall() == [(0.9, 3), (0.5, 0)]
    assert db.execute("PRAGMA user_version").fetchone() == (3,)
    db.close()


def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "memory.sqlite"
    with EpisodicStore(path, vector_model="a") as store:
        before = store.store("the tent is in the attic", vector=vector(0.6, 0.8))
        store.search("tent")
    with EpisodicStore(path, vector_model="a") as store:
        assert store.get(before.episode_id) == before
        hit = store.search("attic", vector(0.6, 0.8))[0]
        assert hit.episode.episode_id == before.episode_id
        assert hit.vector_rank == 1
        assert store.stats().episodes == store.stats().vectors == 1


def test_the_same_key_is_stored_once(store: EpisodicStore) -> None:
    first = store.store("the rope is wet", key="prompt-1")
    again = store.store("the rope is wet", key="prompt-1")
    assert again == first
    assert store.stats().episodes == 1
    twice = store.store_many([NewEpisode("a", key="k"), NewEpisode("b", key="k")])
    assert twice[0] == twice[1]


def test_a_batch_is_stored_whole_or_not_at_all(store: EpisodicStore) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.store_many([NewEpisode("good"), NewEpisode("bad", metadata={"bad": object()})])
    with pytest.raises(ValueError, match="vectors of 2"):
        store.store_many([NewEpisode("good", vector=vector(1, 0)), NewEpisode("bad", vector=vector(1, 0, 0))])
    assert store.stats().episodes == 0
    assert [e.text for e in store.store_many([NewEpisode("one"), NewEpisode("two")])] == ["one", "two"]


@pytest.mark.parametrize(
    ("episode", "message"),
    [
        (NewEpisode("  "), "text and a kind"),
        (NewEpisode("x", kind=""), "text and a kind"),
        (NewEpisode("x", metadata={"bad": object()}), "JSON"),
        (NewEpisode("x", metadata={"bad": float("nan")}), "JSON"),
        (NewEpisode("x", vector=vector(float("inf"))), "finite"),
    ],
)
def test_refuses_what_cannot_be_kept(store: EpisodicStore, episode: NewEpisode, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        store.store_many([episode])


@tmp_path_is_fine
@given(text=TEXTS, query=st.text(max_size=80))
def test_any_text_can_be_stored_and_asked(store: EpisodicStore, text: str, query: str) -> None:
    episode = store.store(text)
    assert store.get(episode.episode_id) == episode
    store.search(query)


@pytest.mark.parametrize(
    "query", ['"', "a AND", "NEAR(", "text:*", "^x", "x OR", "-", "(", "key*", "'; DROP TABLE episodes; --", "\0key"]
)
def test_query_syntax_is_only_text(store: EpisodicStore, query: str) -> None:
    store.store("a key for the door")
    store.search(query)
    assert store.stats().episodes == 1


@tmp_path_is_fine
@given(words=st.lists(st.from_regex(r"[a-z]{3,9}", fullmatch=True), min_size=3, max_size=8, unique=True))
def test_an_episode_is_found_by_its_own_text(store: EpisodicStore, words: list[str]) -> None:
    text = " ".join(words)
    episode = store.store(text)
    found = [hit.episode.text for hit in store.search(text, k=3)]
    assert episode.text in found


def test_vectors_of_another_model_are_left_out_until_replaced(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    with EpisodicStore(path, vector_model="old") as store:
        old = store.store("the saw is rusty", vector=vector(1, 0))
    with EpisodicStore(path, vector_model="new") as store:
        assert store.search("nothing alike", vector(1, 0, 0)) == []
        assert [episode.episode_id for episode in store.without_vector()] == [old.episode_id]
        store.set_vectors({old.episode_id: vector(0, 1, 0)})
        assert store.without_vector() == []
        assert store.search("nothing alike", vector(0, 1, 0))[0].episode.episode_id == old.episode_id


def test_two_memories_share_a_file_and_not_their_episodes(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    with EpisodicStore(path) as episodes, EpisodicStore(path, table="facts") as facts:
        episodes.store("the oven was hot this morning")
        facts.store("ovens are hot")
        assert [hit.episode.text for hit in facts.search("oven")] == ["ovens are hot"]
        assert episodes.stats().episodes == facts.stats().episodes == 1


def test_tells_which_words_an_episode_holds(store: EpisodicStore) -> None:
    episode = store.store("the blue toolboxes are under the workbench")
    store.store("a blue door")
    assert store.terms_in(episode.episode_id, ["blue", "toolbox", "hammer"]) == {"blue", "toolbox"}
    assert store.document_frequencies(["blue", "toolbox", "hammer"]) == {"blue": 2, "toolbox": 1, "hammer": 0}


def of_kind(store: EpisodicStore, kind: str) -> list[str]:
    return [episode.text for episode in store.recent(1000, [kind])]


@pytest.mark.parametrize(
    ("keep", "keep_bytes", "left"), [(3, 10**9, 3), (10, 30, 3), (0, 10**9, 0), (7, 0, 0), (20, 99, 12)]
)
def test_without_accesses_the_oldest_of_a_kind_are_forgotten(
    tmp_path: Path, keep: int, keep_bytes: int, left: int
) -> None:
    path = tmp_path / "memory.sqlite"
    with EpisodicStore(path) as store:
        for n in range(12):
            store.store(f"oven {n:03}", kind="exchange", metadata={"session_id": "a"}, vector=vector(1, n), key=f"k{n}")
            store.store(f"lamp {n:03}", kind="statement", vector=vector(n, 1))
        assert store.forget_weakest("exchange", keep=keep, keep_bytes=keep_bytes) == 12 - left
        newest = [f"oven {n:03}" for n in range(11, 11 - left, -1)]
        for reopened in (store, EpisodicStore(path)):
            assert of_kind(reopened, "exchange") == newest
            assert len(of_kind(reopened, "statement")) == 12
            assert reopened.count() == 12 + left
            assert reopened.stats().vectors == 12 + left
            assert reopened.document_frequencies(["oven", "lamp"]) == {"oven": left, "lamp": 12}
            found = {hit.episode.text for hit in reopened.search("oven", vector(1, 3), k=99)}
            assert {text for text in found if "oven" in text} == set(newest)
            assert reopened.forget_weakest("exchange", keep=keep, keep_bytes=keep_bytes) == 0
            assert reopened.forget_weakest("no such kind", keep=0, keep_bytes=0) == 0
        reopened.close()


def test_forgetting_is_held_for_every_new_episode(store: EpisodicStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MIN_FORGOTTEN", 100)
    for n in range(400):
        store.store(f"oven {n} " * 30, kind="exchange", vector=vector(1, n))
        store.forget_weakest("exchange", keep=40, keep_bytes=10**9)
        assert store.count(["exchange"]) <= 40
    # and the index does not grow with what was forgotten
    assert len(store._index) <= 2 * 100
    assert of_kind(store, "exchange")[0].startswith("oven 399")
    used = store.used_bytes
    store.forget_weakest("exchange", keep=0, keep_bytes=0)
    assert store.used_bytes < used
    assert store.search("oven", vector(1, 1)) == []


@tmp_path_is_fine
@given(texts=st.lists(st.sampled_from(["hot oven", "cold lamp", "red oven lamp", "tea"]), min_size=1, max_size=12))
def test_after_forgetting_a_search_is_as_if_it_had_never_been(tmp_path: Path, texts: list[str]) -> None:
    with EpisodicStore(":memory:") as store, EpisodicStore(":memory:") as fresh:
        for text in texts:
            store.store(text, kind="exchange", vector=vector(1, len(text)))
        for text in ["an oven", "a lamp"]:
            for each in (store, fresh):
                each.store(text, vector=vector(1, len(text)))
        store.forget_weakest("exchange", keep=0, keep_bytes=0)
        before = [(hit.episode.text) for hit in store.search("oven lamp", vector(1, 5))]
        store.consolidate()
        after = [(hit.episode.text, hit.score) for hit in store.search("oven lamp", vector(1, 5))]
        assert after == [(hit.episode.text, hit.score) for hit in fresh.search("oven lamp", vector(1, 5))]
        assert sorted(before) == sorted(text for text, _ in after)


def test_order_is_that_of_storing_and_a_step_of_the_clock_is_noticed(
    store: EpisodicStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now, stepped in ((5, False), (7, False), (3, True), (4, False)):
        monkeypatch.setattr("time.time_ns", lambda now=now: now)
        store.store(f"said at {now}")
        assert store.clock_stepped is stepped
    assert [episode.text for episode in store.recent(9)] == ["said at 4", "said at 3", "said at 7", "said at 5"]
    assert store.search("said", k=1)[0].episode.text == "said at 4"


FORMAT_1 = """
CREATE TABLE {table} (
    episode_id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, kind TEXT NOT NULL, text TEXT NOT NULL,
    metadata TEXT NOT NULL, importance REAL NOT NULL, created_ns INTEGER NOT NULL,
    accesses INTEGER NOT NULL DEFAULT 0, vector BLOB, vector_model TEXT
);
CREATE INDEX {table}_kind ON {table} (kind);
CREATE VIRTUAL TABLE {table}_text USING fts5(
    text, content='{table}', content_rowid='episode_id', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER {table}_stored AFTER INSERT ON {table} BEGIN
    INSERT INTO {table}_text (rowid, text) VALUES (new.episode_id, new.text);
END;
PRAGMA application_id = 0x62726E6D; PRAGMA user_version = 1;
"""
FORMAT_2 = """
CREATE TABLE episodes (
    episode_id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT UNIQUE,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,
    importance REAL NOT NULL,
    created_ns INTEGER NOT NULL,
    accesses INTEGER NOT NULL DEFAULT 0,
    vector BLOB,
    vector_model TEXT
);
PRAGMA application_id = 0x62726E6D; PRAGMA user_version = 2;
"""


def test_use_after_close_and_from_another_thread(store: EpisodicStore) -> None:
    errors: list[BaseException] = []

    def use() -> None:
        try:
            store.search("anything")
        except StoreError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert "thread" in str(errors[0])
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.store("too late")

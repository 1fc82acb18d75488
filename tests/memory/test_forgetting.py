"""What is forgotten is gone: no search finds it, no byte of it is in the files, and nothing that repeats it stays."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainnet.memory import Episode, EpisodicStore, NewEpisode, consolidate_facts
from tests.memory.test_store import FORMAT_1, FORMAT_2

SECRET = "The code of the safe is Quittenbrot-7731."
EXCHANGE = {"kind": "exchange"}


def embedded(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-60, 60, 64).astype(np.int8)


def files_with(folder: Path, *parts: bytes) -> list[str]:
    """Return the files below a folder that hold one of the byte strings."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if any(part in path.read_bytes() for part in parts)]


def fill(store: EpisodicStore, count: int, seed: int = 0) -> None:
    """Store texts of all lengths, and delete and change some of them, so that pages split and rows move."""
    rng = random.Random(seed)
    for n in range(count):
        text = f"{seed}-{n} " + "screws and nails " * rng.randrange(1, 300 if n % 7 == 0 else 12)
        kind = rng.choice(["statement", "exchange"])
        store.store(text, kind, {"session_id": str(n % 5)}, embedded(n), key=f"{seed}:{rng.random()}")
        if n % 9 == 0:
            store.note_access([rng.randrange(1, n + 2)], str(n))
        if n % 50 == 0:
            store.forget_weakest("exchange", keep=20, keep_bytes=10**9)
            store.consolidate()


@pytest.mark.parametrize("before", [0, 200])
def test_no_byte_of_it_stays_in_the_files(tmp_path: Path, before: int) -> None:
    with EpisodicStore(tmp_path / "memory.sqlite", vector_model="m") as store:
        fill(store, before, seed=1)
        vector = embedded(-before + 10_000)
        (told,) = store.store_many([NewEpisode(SECRET, metadata={"prompt_id": "p1"}, vector=vector)])
        fill(store, before, seed=2)
        assert files_with(tmp_path, SECRET.encode(), vector.tobytes()) != []
        assert store.forget([told.episode_id]) == [told]
        assert files_with(tmp_path, SECRET.encode(), b"Quittenbrot", vector.tobytes()[:32]) == []
        assert store.get(told.episode_id) is None
        assert [hit for hit in store.search("code of the safe", vector) if hit.episode.text == SECRET] == []
        assert store.document_frequencies(["Quittenbrot"]) == {"Quittenbrot": 0}
        assert "quittenbrot" not in store._index.texts._term_ids
        fill(store, 30, seed=3)
        assert store.forget([told.episode_id]) == []
    assert files_with(tmp_path, b"Quittenbrot") == []


def test_copies_that_another_program_left_are_found_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    with EpisodicStore(path) as store:
        for n in range(40):
            store.store(f"{SECRET} {n} " + "x" * 300)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA secure_delete = OFF").fetchone()
    db.execute("UPDATE episodes SET episode_id = 99 WHERE episode_id = 3")
    db.close()
    copies = path.read_bytes().count(f"{SECRET} 2 ".encode())
    with EpisodicStore(path) as store:
        assert copies == 2
        store.forget([99])
        assert files_with(tmp_path, f"{SECRET} 2 ".encode()) == []
        assert store.count() == 39


@pytest.mark.parametrize("schema", [FORMAT_1, FORMAT_2])
def test_what_an_older_version_deleted_is_removed_from_its_file(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "memory.sqlite"
    db = sqlite3.connect(path)
    db.executescript(schema.format(table="episodes"))
    db.execute("PRAGMA secure_delete = OFF")
    for n in range(40):
        db.execute(
            "INSERT INTO episodes (kind, text, metadata, importance, created_ns) VALUES ('statement', ?, '{}', 0.5, 7)",
            (f"{SECRET} {n} " + "z" * 200,),
        )
    db.commit()
    db.execute("DELETE FROM episodes WHERE episode_id <= 39")
    db.commit()
    db.close()
    with EpisodicStore(path) as store:
        assert store.count() == 1
        assert SECRET.encode() + b" 38" not in path.read_bytes()
        assert len(store.forget([40])) == 1
        assert files_with(tmp_path, b"Quittenbrot") == []


def test_answered_prompts_that_repeat_it_go_too(tmp_path: Path) -> None:
    with EpisodicStore(tmp_path / "memory.sqlite") as store:
        told = store.store("The key is in the drawer.", metadata={"prompt_id": "p1"})
        exchanges: dict[str, tuple[str, dict[str, Any]]] = {
            "told it": ("Note that\nI will remember it", {"prompt_id": "p1"}),
            "cites it": ("And when?\nOn Monday", {"prompt_id": "p2", "episodes": [9, told.episode_id]}),
            "asked": ("Where is the key?\nThe key is in the drawer.", {"prompt_id": "p3"}),
            "said": ("so the  KEY is in the drawer, right?\nYes", {"prompt_id": "p4"}),
        }
        others: dict[str, tuple[str, dict[str, Any]]] = {
            "other": ("Where is the hat?\nThe hat is in the drawer.", {"prompt_id": "p5", "episodes": [9]}),
            "longer word": ("Is it?\nThe key is in the drawers", {"episodes": "no list"}),
        }
        for text, metadata in [*exchanges.values(), *others.values()]:
            store.store(text, "exchange", metadata)
        heard: list[list[Episode]] = []
        store.on_forgotten = heard.append
        deleted = store.forget([told.episode_id])
        assert heard == [deleted]
        assert [episode.text for episode in deleted] == [told.text, *(text for text, _ in exchanges.values())]
        assert [episode.text for episode in store.recent(9)][::-1] == [text for text, _ in others.values()]
        assert store.forgotten_prompts() == ["p1", "p2", "p3", "p4"]
        store.confirm_forgotten(["p2", "no such prompt"])
        store.forget_prompts(["p6"])
    with EpisodicStore(tmp_path / "memory.sqlite") as store:
        assert store.forgotten_prompts() == ["p1", "p3", "p4", "p6"]


def test_what_cannot_be_read_is_deleted_as_well(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    with EpisodicStore(path) as store:
        store.store(SECRET)
        store.store("The lid is red.")
    db = sqlite3.connect(path)
    db.execute("UPDATE episodes SET metadata = '{no json' WHERE episode_id = 1")
    db.commit()
    db.close()
    with EpisodicStore(path) as store:
        assert store.damaged == [1]
        assert store.forget([1, 77]) == []
        assert store.damaged == []
        assert files_with(tmp_path, b"Quittenbrot") == []
        assert store.count() == 1


def test_while_another_program_reads_it_is_deleted_and_cleaned_later(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    with EpisodicStore(path) as store:
        store.store(SECRET)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM episodes").fetchone() == (1,)
        assert len(store.forget([1])) == 1
        assert store.search("safe") == []
        assert not store.clean()
        reader.close()
        store.consolidate()
        assert files_with(tmp_path, b"Quittenbrot") == []


def test_after_a_kill_the_next_opening_cleans(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    code = (
        "import os, sys, signal\nfrom pathlib import Path\nfrom brainnet.memory import EpisodicStore, database\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "store = EpisodicStore(Path(sys.argv[1]))\nstore.store(sys.argv[2])\n"
        "database.Database.clean = die\nstore.forget([1])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path), SECRET], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert files_with(tmp_path, b"Quittenbrot") != []
    with EpisodicStore(path) as store:
        assert store.count() == 0
        assert files_with(tmp_path, b"Quittenbrot") == []


def test_what_is_learned_of_words_is_learned_again_without_it(tmp_path: Path) -> None:
    with EpisodicStore(":memory:") as store, EpisodicStore(":memory:") as fresh:
        for n in range(150):
            for each in (store, fresh):
                each.store(f"soup {n} with leek", vector=embedded(n))
        ids = [store.store("leek is a quince", vector=embedded(999)).episode_id for _ in range(40)]
        store.consolidate()
        fresh.consolidate()
        store.forget(ids)
        store.consolidate()
        for words in ("quince", "leek soup"):
            found = [
                [(hit.episode.text, hit.score) for hit in each.search(words, embedded(3))] for each in (store, fresh)
            ]
            assert found[0] == found[1]


def test_a_large_index_is_built_anew_in_quiet_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainnet.memory.changed._REBUILT_AT_ONCE", 5)
    with EpisodicStore(":memory:") as store:
        ids = [store.store(f"box {n} of quinces", vector=embedded(n)).episode_id for n in range(10)]
        store.forget(ids[:4])
        assert store.count() == 6
        assert len(store.search("quinces", embedded(0), k=10)) == 6
        store.consolidate()
        assert len(store._index) == 6


def test_facts_of_new_statements_are_found_beside_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    with EpisodicStore(path) as store, EpisodicStore(path, table="facts") as facts:
        old = [store.store(text).episode_id for text in ("The lid is red.", "The key is in the drawer.", "!?", "Old.")]
        assert consolidate_facts(store, facts) == 0
        since = store.highest_id
        new = [store.store(text).episode_id for text in ("the key is in the drawer", "The key is in it.", "!?", "!?")]
        store.note_access([old[0]], "a")
        store.note_access([old[0]], "b")
        store.consolidate()
        assert consolidate_facts(store, facts, since) == 2
        assert consolidate_facts(store, facts, store.highest_id) == 0
        found = {fact.text: fact.metadata["from"] for fact in facts.recent(9)}
        assert found == {"the key is in the drawer": [old[1], new[0]], "The lid is red.": [old[0]]}


def test_facts_come_from_what_was_told_twice_or_needed_in_two_sessions(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    with EpisodicStore(path) as store, EpisodicStore(path, table="facts") as facts:
        store.derived = facts
        first, second = (store.store(text) for text in ("the key is in the drawer", "The key is in  the drawer."))
        needed, once = store.store("Anna has the car.", vector=embedded(1)), store.store("The lid is red.")
        store.note_access([needed.episode_id, once.episode_id], "monday")
        store.note_access([needed.episode_id], "tuesday")
        store.note_access([once.episode_id], "monday")
        store.consolidate()
        assert consolidate_facts(store, facts) == 2
        assert consolidate_facts(store, facts) == 0
        found = {fact.text: fact.metadata for fact in facts.recent(9)}
        assert found == {
            second.text: {"from": [first.episode_id, second.episode_id], "told": 2, "sessions": 0},
            needed.text: {"from": [needed.episode_id], "told": 1, "sessions": 2},
        }
        assert {fact.kind for fact in facts.recent(9)} == {"fact"}
        store.forget([first.episode_id])
        assert facts.count() == 2, "one who told it remains"
        third = store.store("The key is in the drawer")
        consolidate_facts(store, facts)
        assert facts.recent(9, ["fact"])[1].metadata["from"] == [second.episode_id, third.episode_id]
        store.forget([second.episode_id, third.episode_id])
        assert [fact.text for fact in facts.recent(9)] == [needed.text]
        assert facts.search("drawer") == []
        assert files_with(tmp_path, b"drawer") == []
        store.forget([needed.episode_id])
        assert facts.count() == 0
        assert files_with(tmp_path, b"Anna") == []

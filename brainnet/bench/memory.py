"""Benchmark of the episodic store; the baseline is SQLite's own full-text search, FTS5, with the same texts.

Both commit every single episode to the disk (WAL, synchronous=FULL), and both rank by BM25. Turns of both alternate.
The texts are drawn from a vocabulary whose words are as frequent as those of a natural text (Zipf's law).
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brainnet.memory import EpisodicStore, NewEpisode
from brainnet.rows import Row, compare, percentile

RIVAL: Final = "SQLite FTS5"
_VOCABULARY: Final = 20_000
_WORDS: Final = 12
"""Words of a text."""
_ASKED: Final = 4
"""Words of a question."""
_HITS: Final = 10


@dataclass(frozen=True)
class Plan:
    """Size of the measurement: episodes in the store, episodes stored one by one, and questions."""

    episodes: int = 50_000
    stored: int = 300
    questions: int = 300

    @classmethod
    def quick(cls) -> Plan:
        """Return a smaller plan with noisier results."""
        return cls(episodes=2_000, stored=50, questions=50)


def measure(plan: Plan, progress: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Run the benchmark.

    Args:
        plan: Size of the measurement.
        progress: Called with a description of each step.
    """
    texts = _texts(random.Random(7))
    with tempfile.TemporaryDirectory(prefix="brainnet-") as folder:
        ours, theirs = Path(folder) / "ours.sqlite", Path(folder) / "theirs.sqlite"
        with EpisodicStore(ours) as store, closing(_fts5(theirs)) as rival:
            progress(f"stores {plan.episodes:,} episodes at once")
            batch = [next(texts) for _ in range(plan.episodes)]
            batch_s, rival_batch_s = _store_many(store, rival, batch)
            progress("stores episodes one by one")
            single = [_store_one(store, rival, next(texts)) for _ in range(plan.stored)]
            progress("asks questions")
            rng = random.Random(8)
            found = [
                _search(store, rival, " ".join(rng.sample(text.split(), _ASKED)))
                for text in rng.choices(batch, k=plan.questions)
            ]
        progress("opens the store again")
        before = time.perf_counter()
        with EpisodicStore(ours):
            open_s = time.perf_counter() - before
        sizes = [file.stat().st_size / 1e6 for file in (ours, theirs)]
    milli = 1e3
    per_s = plan.episodes / batch_s, plan.episodes / rival_batch_s
    rows = [compare("store_many", per_s[0], "episodes/s", rival=RIVAL, rival_value=per_s[1])]
    for name, pairs in (("store_one", single), ("search", found)):
        mine, others = ([seconds * milli for seconds in column] for column in zip(*pairs, strict=True))
        p50 = statistics.median(mine), statistics.median(others)
        rows.append(compare(f"{name}_p50", p50[0], "ms", rival=RIVAL, rival_value=p50[1]))
        p99 = percentile(mine, 99), percentile(others, 99)
        rows.append(compare(f"{name}_p99", p99[0], "ms", rival=RIVAL, rival_value=p99[1]))
    rows.append(compare("open", open_s * milli, f"ms, {plan.episodes:,} episodes"))
    rows.append(compare("file", sizes[0], "MB", rival=RIVAL, rival_value=sizes[1]))
    return rows


def _texts(rng: random.Random) -> Iterator[str]:
    words = [
        f"{rng.choice('bdfgklmnprst')}{rng.choice('aeiou')}{rng.choice('bdgklmnprt')}{n}" for n in range(_VOCABULARY)
    ]
    weights = [1 / (rank + 1) for rank in range(_VOCABULARY)]
    number = 0
    while True:
        for text in zip(*[iter(rng.choices(words, weights, k=_WORDS * 1000))] * _WORDS, strict=True):
            number += 1
            yield " ".join((*text, f"x{number}"))  # no two alike


def _fts5(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE VIRTUAL TABLE episode USING fts5(text)")
    return db


def _store_many(store: EpisodicStore, rival: sqlite3.Connection, batch: list[str]) -> tuple[float, float]:
    before = time.perf_counter()
    store.store_many([NewEpisode(text) for text in batch])
    between = time.perf_counter()
    rival.execute("BEGIN")
    rival.executemany("INSERT INTO episode VALUES (?)", [(text,) for text in batch])
    rival.execute("COMMIT")
    return between - before, time.perf_counter() - between


def _store_one(store: EpisodicStore, rival: sqlite3.Connection, text: str) -> tuple[float, float]:
    before = time.perf_counter()
    store.store(text)
    between = time.perf_counter()
    rival.execute("INSERT INTO episode VALUES (?)", (text,))
    return between - before, time.perf_counter() - between


def _search(store: EpisodicStore, rival: sqlite3.Connection, question: str) -> tuple[float, float]:
    before = time.perf_counter()
    store.search(question, k=_HITS)
    between = time.perf_counter()
    any_word = " OR ".join(question.split())
    rival.execute("SELECT text FROM episode WHERE episode MATCH ? ORDER BY rank LIMIT ?", (any_word, _HITS)).fetchall()
    return between - before, time.perf_counter() - between

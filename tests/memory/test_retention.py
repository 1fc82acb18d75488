"""What is dropped first when there is too much: what is remembered least, and of kinds that are kept nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from brainnet.memory import EpisodicStore, NewEpisode, log_retention


def filled(path: Path | str, count: int = 20) -> EpisodicStore:
    store = EpisodicStore(path)
    for n in range(count):
        store.store(f"exchange {n}", "exchange", key=str(n))
        store.store(f"statement {n}")
    return store


def kept(store: EpisodicStore) -> list[str]:
    return [episode.key or "" for episode in store.recent(999, ["exchange"])][::-1]


def test_what_has_answered_stays_longer(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    store = filled(path)
    first, second = (store.find(name) for name in ("0", "1"))
    assert first is not None
    assert second is not None
    store.note_access([first.episode_id], "a")
    store.note_access([first.episode_id, second.episode_id])
    assert [each.accesses for each in store.load([first.episode_id, second.episode_id]).values()] == [2, 1]
    assert store.access_count() == 3
    assert store.forget_weakest("exchange", keep=5, keep_bytes=10**9) == 15
    assert kept(store) == ["0", "1", "17", "18", "19"]
    assert store.count(["statement"]) == 20
    store.note_access([first.episode_id])
    store.close()
    with EpisodicStore(path) as again:
        assert again.access_count() == 4
        found = again.find("0")
        assert found is not None
        assert found.accesses == 3
    # counts of what is not there any more are of no use
    with EpisodicStore(path) as again:
        again.note_access([999])
        again.forget([first.episode_id])
        assert again.access_count() == 1 + 1


def test_what_is_important_stays_longer_and_what_is_not_goes_first() -> None:
    with filled(":memory:") as store:
        store.store_many([NewEpisode("lasting", "exchange", key="lasting", importance=1.0)])
        store.store_many([NewEpisode("fleeting", "exchange", key="fleeting", importance=0.0)])
        store.store_many([NewEpisode(f"later {n}", "exchange", key=f"later {n}") for n in range(6)])
        store.forget_weakest("exchange", keep=6, keep_bytes=10**9)
        assert kept(store) == ["lasting", "later 1", "later 2", "later 3", "later 4", "later 5"]


def test_the_limit_in_bytes_holds(tmp_path: Path) -> None:
    with filled(tmp_path / "memory.sqlite") as store:
        for each in ("0", "5"):
            found = store.find(each)
            assert found is not None
            store.note_access([found.episode_id])
        store.forget_weakest("exchange", keep=99, keep_bytes=40)
        assert kept(store) == ["0", "5", "19"]


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.floats(0, 1)), min_size=2, max_size=20))
def test_retention_falls_with_time_and_rises_with_accesses_and_importance(rows: list[tuple[int, int, float]]) -> None:
    since, accesses, importance = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    base = log_retention(since, accesses, importance)
    assert (base < 0).all()
    assert (log_retention(since + 1, accesses, importance) < base).all()
    assert (log_retention(since, accesses + 1, importance) > base).all()
    assert (log_retention(since, accesses, np.minimum(1.0, importance + 0.01)) >= base).all()

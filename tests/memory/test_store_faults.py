"""The episodic store when something goes wrong: full disks, damaged files, processes that are killed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from brainnet.errors import StoreError
from brainnet.memory import DamagedStoreError, EpisodicStore, NewEpisode, replace_damaged, salvage


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def test_an_error_of_the_disk_is_the_callers_and_the_store_goes_on(tmp_path: Path) -> None:
    """The largest size of a file, of this one process, stands for a disk that is full."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "memory.sqlite")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "StoreError" in done.stdout
    with EpisodicStore(tmp_path / "memory.sqlite") as store:
        assert f"kept {store.count()}" in done.stdout


class TestDamage:
    def test_bytes_that_are_no_database(self, tmp_path: Path) -> None:
        path = tmp_path / "memory.sqlite"
        path.write_bytes(b"this is not a database" * 500)
        with pytest.raises(DamagedStoreError, match=r"memory\.sqlite.*damaged.*move"):
            EpisodicStore(path)

    def test_a_table_without_a_column(self, tmp_path: Path) -> None:
        path = tmp_path / "memory.sqlite"
        EpisodicStore(path).close()
        db = sqlite3.connect(path)
        db.execute("ALTER TABLE episodes DROP COLUMN vector_model")
        db.close()
        with pytest.raises(DamagedStoreError, match="vector_model"):
            EpisodicStore(path)

    @pytest.mark.parametrize(
        "change",
        ["metadata = ''", "metadata = '[1]'", "text = x'ff'", "text = ' '", "kind = x'00'", "created_ns = 'now'"],
    )
    def test_a_row_that_cannot_be_read(self, tmp_path: Path, change: str) -> None:
        path = tmp_path / "memory.sqlite"
        with EpisodicStore(path) as store:
            store.store_many([NewEpisode(f"oven {n}", vector=vector(1, n), key=f"k{n}") for n in range(5)])
        db = sqlite3.connect(path)
        db.execute(f"UPDATE episodes SET {change} WHERE episode_id = 3")
        db.commit()
        with EpisodicStore(path) as store:
            assert store.damaged == [3]
            assert [episode.text for episode in store.recent(9)] == ["oven 4", "oven 3", "oven 1", "oven 0"]
            assert len(store.search("oven", vector(1, 2), k=9)) == 4
            assert store.get(3) is None
            assert store.without_vector() == []
            assert store.count() == store.stats().vectors == 4
            # what was stored under its key is stored again, and the row stays as it is
            assert store.store("oven 2", key="k2").episode_id == 6
            assert store.store("oven 2", key="k2").episode_id == 6
        assert db.execute("SELECT count(*) FROM episodes").fetchone() == (6,)
        db.close()

    def test_a_vector_that_cannot_be_read_is_made_again(self, tmp_path: Path) -> None:
        path = tmp_path / "memory.sqlite"
        with EpisodicStore(path, vector_model="m") as store:
            store.store_many([NewEpisode(f"oven {n}", vector=vector(1, n)) for n in range(5)])
        db = sqlite3.connect(path)
        for row, value in ((1, "x'010203'"), (2, "'text'"), (3, "7")):
            db.execute(f"UPDATE episodes SET vector = {value} WHERE episode_id = {row}")
        db.commit()
        db.close()
        with EpisodicStore(path, vector_model="m") as store:
            assert store.damaged == []
            lost = store.without_vector()
            assert [episode.episode_id for episode in lost] == [1, 2, 3]
            store.set_vectors({episode.episode_id: vector(1, 0) for episode in lost})
            assert store.stats().vectors == 5

    def test_a_damaged_file_is_replaced_by_what_can_be_read(self, tmp_path: Path) -> None:
        path = tmp_path / "memory.sqlite"
        for number in (1, 2):
            with EpisodicStore(path, vector_model="m") as store, EpisodicStore(path, table="facts") as facts:
                stored = store.store_many(
                    [NewEpisode(f"episode {i} " * 20, vector=vector(1, i), key=f"{number} {i}") for i in range(200)]
                )
                facts.store(f"ovens are hot {number}")
                ids = {episode.episode_id: episode for episode in store.recent(1000)}
            data = bytearray(path.read_bytes())
            data[40_960:49_152] = b"\xff" * 8192
            path.write_bytes(data)
            with pytest.raises(DamagedStoreError):
                EpisodicStore(path)
            aside, saved, rows = replace_damaged(path)
            assert aside == tmp_path / f"memory.sqlite.damaged-{number}"
            assert aside.read_bytes() == bytes(data)
            with EpisodicStore(path, vector_model="m") as store:
                kept = {episode.episode_id: episode for episode in store.recent(1000)}
                assert 150 < len(kept) < len(ids)
                assert kept.items() <= ids.items()
                # what lies on the damaged pages may be a vector
                assert len(kept) - store.stats().vectors < 5
                assert saved == len(kept) + number
                assert rows == max(ids) + number
                assert store.store("new").episode_id > stored[-1].episode_id - 50

    def test_nothing_is_changed_when_the_new_file_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "memory.sqlite"
        with EpisodicStore(path) as store:
            store.store_many([NewEpisode(f"episode {i} " * 20) for i in range(200)])
        data = bytearray(path.read_bytes())
        middle = len(data) // 2 // 4096 * 4096
        data[middle : middle + 8192] = b"\xff" * 8192
        path.write_bytes(data)

        def full(*_: object) -> None:
            raise StoreError("database or disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(salvage, "_insert", full)
            with pytest.raises(StoreError, match="disk is full"):
                replace_damaged(path)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]
        assert path.read_bytes() == bytes(data)
        _, saved, _ = replace_damaged(path)  # when there is room again
        assert 100 < saved < 200

    def test_overwritten_pages(self, tmp_path: Path) -> None:
        path = tmp_path / "memory.sqlite"
        with EpisodicStore(path) as store:
            store.store_many([NewEpisode(f"episode {i} " * 20, vector=vector(1, i)) for i in range(200)])
        data = bytearray(path.read_bytes())
        data[8192:-4096] = b"\xff" * len(data[8192:-4096])
        path.write_bytes(data)
        with pytest.raises(StoreError, match=r"memory\.sqlite"):
            EpisodicStore(path)

    def test_the_database_of_another_program(self, tmp_path: Path) -> None:
        path = tmp_path / "bookmarks.sqlite"
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE bookmarks (url TEXT)")
        other.close()
        with pytest.raises(StoreError, match="another program"):
            EpisodicStore(path)

    def test_a_newer_format(self, tmp_path: Path) -> None:
        path = tmp_path / "memory.sqlite"
        EpisodicStore(path).close()
        newer = sqlite3.connect(path)
        newer.execute("PRAGMA user_version = 99")
        newer.close()
        with pytest.raises(StoreError, match="format 99"):
            EpisodicStore(path)

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="cannot be"):
            EpisodicStore(tmp_path)

    def test_a_file_in_place_of_its_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(StoreError, match="cannot be opened"):
            EpisodicStore(tmp_path / "file" / "memory.sqlite")


FULL_DISK = """
import resource, sys
from brainnet.errors import StoreError
from brainnet.memory import EpisodicStore

store = EpisodicStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
kept = 0
for n in range(1000):
    try:
        store.store(f"episode {n} " * 200)
        kept += 1
    except StoreError as error:
        print(type(error).__name__, error)
        break
assert store.search("episode 0")[0].episode.text.startswith("episode 0")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.store("there is space again")
assert store.search("space")[0].episode.text == "there is space again"
print("kept", kept + 1)
"""


WRITER = """
import sys
import numpy as np
from brainnet.memory import EpisodicStore

store = EpisodicStore(sys.argv[1])
for i in range(100_000):
    episode = store.store(f"episode number {i}", vector=np.array([1.0, i], np.float32), key=f"k{i}")
    print(episode.episode_id, i, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 25])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "memory.sqlite"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(acknowledged)]
    writer.kill()
    # What it wrote to the pipe before it died was acknowledged, too.
    rest = writer.stdout.read().split("\n")
    lines += [line for line in rest[:-1] if line]
    writer.wait()
    writer.stdout.close()
    assert len(lines) >= acknowledged
    with EpisodicStore(path) as store:
        for line in lines:
            episode_id, number = map(int, line.split())
            episode = store.get(episode_id)
            assert episode is not None
            assert episode.text == f"episode number {number}"
            assert any(hit.episode.episode_id == episode_id for hit in store.search(f"number {number}", k=3))
        assert store.stats().vectors == store.stats().episodes >= len(lines)
        assert store.store("episode number 0", key="k0").episode_id == int(lines[0].split()[0])

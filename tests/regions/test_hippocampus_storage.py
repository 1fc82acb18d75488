"""The hippocampus and its file: full, locked or damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brainnet import MemoryQuery, MemoryStore, Partial
from brainnet.errors import StoreError
from brainnet.memory import DamagedStoreError, database
from brainnet.testing import MemoryBrain, until
from brainnet.wire.messages import ParamsQuery
from tests.regions.asking_memory import MODULE, PROGRAM, ask, counters, said


async def test_a_full_memory_refuses_what_is_new_and_keeps_what_it_has(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory", parameters={"max_memory_mb": 0.2})
        kept, refused = 0, Partial()
        while refused.error is None:
            refused = await ask(brain, f"Remember that box {kept} holds {'screws and ' * 300} nails.")
            kept += refused.error is None
        assert kept > 3
        assert refused.code == "store"
        assert "max_memory_mb" in refused.error
        assert said(await ask(brain, "What does box 0 hold?")).startswith("Box 0 holds screws")
        await brain.bus().call("node/memory/params", ParamsQuery(name="max_memory_mb", value=10, set=True))
        assert (await ask(brain, "Remember that the lid is red.")).error is None


LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
"""


@contextlib.contextmanager
def locking(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Lock a file of SQLite from another process, until a line is written to it."""
    command = [sys.executable, "-c", LOCKER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == "locked\n"
        yield locker


async def test_a_locked_file_fails_the_query_and_not_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_S", 0.05)
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        await ask(brain, "Remember that the rope is wet.")
    (path,) = tmp_path.rglob("memory.sqlite")
    with locking(path) as locker:
        async with MemoryBrain(tmp_path) as brain:
            node = await brain.start(PROGRAM, "memory")  # reading needs no lock
            refused = await ask(brain, "Remember that the saw is rusty.")
            assert refused.error is not None
            assert refused.code == "store"
            assert "locked" in refused.error
            assert said(await ask(brain, "How is the rope?")) == "The rope is wet."
            locker.communicate("\n")
            assert said(await ask(brain, "Remember that the saw is rusty.")) == "I will remember: The saw is rusty."
            assert node.state == "ready"


async def test_damaged_rows_are_left_out_and_named(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        things = ("rope", "saw", "lamp", "tent", "oven", "mast")
        ids = [(await ask(brain, f"Remember that the {thing} is wet.")).content["episode_id"] for thing in things]
    (path,) = tmp_path.rglob("memory.sqlite")
    db = sqlite3.connect(path)
    for episode_id, change in zip(
        ids,
        (
            "metadata = '{no json'",
            "text = CAST(x'ff41' AS TEXT)",
            "text = x'41'",
            "created_ns = 'yesterday'",
            "vector = x'0102'",
        ),
        strict=False,
    ):
        db.execute(f"UPDATE episodes SET {change} WHERE episode_id = ?", (episode_id,))
    db.commit()
    db.close()
    states: list[tuple[str, str]] = []
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(PROGRAM, "memory", on_state=lambda state, reason: states.append((state, reason)))
        await until("the node to say so", lambda: node.state == "degraded")
        state, reason = states[-1]
        assert state == "degraded"
        assert reason.endswith("4 damaged rows of the episodic memory are left out: episodes 1, 2, 3, 4")
        assert (await counters(brain))["damaged_rows"] == 4
        for thing in ("oven", "mast"):
            assert f"The {thing} is wet." in said(await ask(brain, f"What do you know about the {thing}?"))
        assert (await ask(brain, "Where is the rope?")).code == "unknown"
        told = await ask(brain, "What did I tell you?")
        assert told.content["recalled"][0]["text"] == "The mast is wet."
        assert said(await ask(brain, "Remember that the rope is dry."))
        assert said(await ask(brain, "Is the rope dry?")) == "Yes: The rope is dry."
    # the rows are still there for whoever can read them
    assert sqlite3.connect(path).execute("SELECT count(*) FROM episodes").fetchone() == (7,)


async def damaged(tmp_path: Path) -> Path:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        for number in range(40):
            await brain.bus().call("memory/episodic/store", MemoryStore(text=f"box {number} holds nails " * 30))
    (path,) = tmp_path.rglob("memory.sqlite")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("whole", [False, True])
async def test_a_damaged_file_is_moved_aside_and_what_can_be_read_is_kept(tmp_path: Path, whole: bool) -> None:
    path = await damaged(tmp_path)
    if whole:
        path.write_bytes(b"this is not a database" * 500)
    before = path.read_bytes()
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(PROGRAM, "memory")
        await until("the node to say so", lambda: node.state == "degraded")
        assert node.last_error is not None
        assert "memory.sqlite.damaged-1" in node.last_error
        assert (await counters(brain))["damaged_stores"] == 1
        reply = await brain.bus().call("memory/episodic/query", MemoryQuery(text="nails", k=99))
        assert (len(reply.hits) == 0) if whole else (20 < len(reply.hits) < 40)
        assert said(await ask(brain, "Remember that the saw is rusty."))
    assert path.with_name("memory.sqlite.damaged-1").read_bytes() == before
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(PROGRAM, "memory")
        assert said(await ask(brain, "How is the saw?")) == "The saw is rusty."
        assert node.state == "ready"


async def test_damage_that_shows_while_it_runs_fails_one_query(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        node = await brain.start(PROGRAM, "memory")
        for number in range(40):
            await brain.bus().call("memory/episodic/store", MemoryStore(text=f"box {number} holds nails " * 30))
        (path,) = tmp_path.rglob("memory.sqlite")
        db = sqlite3.connect(path)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        data = bytearray(path.read_bytes())
        data[8192:-8192] = b"\xff" * (len(data) - 16384)
        path.write_bytes(data)
        partial = Partial()
        while node.state == "ready":
            partial = await ask(brain, "Remember that the saw is rusty.")
        assert partial.code in (None, "store")
        await ask(brain, "Remember that the saw is rusty.")
        assert said(await ask(brain, "How is the saw?")) == "The saw is rusty."


async def test_a_damaged_file_that_cannot_be_replaced_now_is_replaced_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(PROGRAM, "memory")
        assert said(await ask(brain, "Remember that the saw is rusty."))
        replace = MODULE.replace_damaged

        def full(path: Path) -> tuple[Path, int, int]:
            raise StoreError(f"{path}: database or disk is full")

        def damaged(*_: object, **__: object) -> list[Any]:
            raise DamagedStoreError("the memory is damaged")

        monkeypatch.setattr(MODULE, "replace_damaged", full)
        with monkeypatch.context() as patched:
            patched.setattr(MODULE.EpisodicStore, "search", damaged)
            assert (await ask(brain, "How is the saw?")).code == "store"
            monkeypatch.setattr(MODULE.EpisodicStore, "stats", damaged)
            assert "disk is full" in ((await ask(brain, "How is the saw?")).error or "")
        monkeypatch.undo()
        assert MODULE.replace_damaged is replace
        assert said(await ask(brain, "How is the saw?")) == "The saw is rusty."

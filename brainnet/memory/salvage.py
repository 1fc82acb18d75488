"""Replaces a damaged file by one with every row that can still be read."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from brainnet.errors import StoreError
from brainnet.memory.database import (
    COLUMNS,
    COLUMNS_OF_FORMAT_2,
    IS_OBJECT,
    TABLES,
    Database,
    Table,
    connect,
    is_readable,
)
from brainnet.paths import name_of_damaged

__all__ = ["replace_damaged"]

_PARTS: Final = ("-wal", "-shm", "")
"""What is appended to the name of a database by its files, the database itself last."""
_MAX_SALVAGED_IDS: Final = 5_000_000
"""The highest episode id that is looked for in a damaged file."""


def replace_damaged(path: Path) -> tuple[Path, int, int]:
    """Move a damaged file aside, and put one in its place that holds every row that can still be read.

    Nothing is deleted: the damaged file, with its write-ahead log, gets a name that no other file has,
    `memory.sqlite.damaged-1`. No store may have the file open.

    Returns:
        The damaged file's new name, the number of rows that the new file holds, and the number of rows that the damaged
        one had as far as it says so.

    Raises:
        StoreError: The new file cannot be written, or the damaged one not be moved. Everything is then as it was, and
            may be tried again.
    """
    fresh = path.with_name(path.name + ".new")
    saved = expected = 0
    try:
        _remove(fresh)  # of an attempt that a killed process left
        for table in TABLES:
            with closing(Database(fresh, table)) as database:
                rows, highest = _readable_rows(path, table)
                _insert(database, rows)
            saved, expected = saved + len(rows), expected + highest
        # Only now, when all that can be read is in the new file, the names change.
        aside = name_of_damaged(path)
        for suffix in _PARTS:
            source = path.with_name(path.name + suffix)
            if source.exists():
                # SQLite finds the log of a file by its name
                source.rename(aside.with_name(aside.name + suffix))
        fresh.rename(path)
    except BaseException as error:
        with suppress(OSError):
            _remove(fresh)
        if isinstance(error, OSError):
            raise StoreError(f"the damaged memory store {path} cannot be replaced: {error}") from error
        raise
    return aside, saved, expected


def _remove(path: Path) -> None:
    for suffix in _PARTS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _insert(database: Database, rows: list[tuple[Any, ...]]) -> None:
    """Insert whole rows, with their ids; what violates a constraint is left out."""
    columns = COLUMNS[: len(rows[0])] if rows else COLUMNS
    with database.transaction():
        database.executemany(
            f"INSERT OR IGNORE INTO {database.table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
            rows,
        )


def _readable_rows(path: Path, table: Table) -> tuple[list[tuple[Any, ...]], int]:
    """Return the rows of a damaged file that can be read one by one, and the number of rows it should have."""
    rows: list[tuple[Any, ...]] = []
    highest = 0
    db = connect(path)
    try:
        for sql in (
            f"SELECT max(episode_id) FROM {table}",
            f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'",
        ):
            with suppress(sqlite3.Error):
                found = db.execute(sql).fetchone()
                highest = max(highest, int(found[0] or 0) if found else 0)
        columns = _columns(db, table)
        # one by one: a scan would end at the first page that is damaged
        for episode_id in range(1, min(highest, _MAX_SALVAGED_IDS) + 1):
            with suppress(sqlite3.Error):
                row = db.execute(
                    f"SELECT {', '.join(columns)}, {IS_OBJECT} FROM {table} WHERE episode_id = ?", (episode_id,)
                ).fetchone()
                if row and row[0] == episode_id and row[-1] and is_readable(row[2], row[3], row[6]):
                    rows.append(row[:-1])
    finally:
        db.close()
    return rows, highest


def _columns(db: sqlite3.Connection, table: Table) -> tuple[str, ...]:
    """Return the columns of a table: all, or those that it has in a file of an earlier format."""
    with suppress(sqlite3.Error):
        db.execute(f"SELECT {', '.join(COLUMNS)} FROM {table} LIMIT 0")
        return COLUMNS
    return COLUMNS_OF_FORMAT_2

"""The SQLite file of a store: its format, its transactions and its errors."""

from __future__ import annotations

import mmap
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np

from brainnet.errors import StoreError
from brainnet.memory.vectors import quantize

__all__ = [
    "COLUMNS",
    "COLUMNS_OF_FORMAT_2",
    "IS_OBJECT",
    "TABLES",
    "DamagedStoreError",
    "Database",
    "Table",
    "connect",
    "is_readable",
]

Table = Literal["episodes", "facts"]
TABLES: Final[tuple[Table, ...]] = get_args(Table)
_APPLICATION_ID: Final = 0x62726E6D  # "brnm": marks the file as ours
_SCHEMA_VERSION: Final = 3

# `accessed` is the highest id at the last access, and `sessions` the marks of the sessions in which it was accessed.
# `forgotten` lists prompts whose traces elsewhere are still to be removed, and a row of `unclean` says that bytes of
# deleted rows may still be in the file.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS {table} (
    episode_id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT UNIQUE,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,
    importance REAL NOT NULL,
    created_ns INTEGER NOT NULL,
    accesses INTEGER NOT NULL DEFAULT 0,
    vector BLOB,
    vector_model TEXT,
    accessed INTEGER NOT NULL DEFAULT 0,
    sessions TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE IF NOT EXISTS forgotten (prompt_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS unclean (one INTEGER PRIMARY KEY);
"""
# Format 1 indexed the text with FTS5, kept up to date by a trigger; the index is now built in memory.
_FROM_VERSION_1 = (
    "DROP TRIGGER IF EXISTS {table}_stored",
    "DROP TABLE IF EXISTS {table}_text",
    "DROP INDEX IF EXISTS {table}_kind",
    "UPDATE {table} SET vector = quantize(vector) WHERE vector IS NOT NULL",
)
# Formats 1 and 2 had no time of the last access and no sessions.
_FROM_VERSION_2 = (
    "ALTER TABLE {table} ADD COLUMN accessed INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE {table} ADD COLUMN sessions TEXT NOT NULL DEFAULT '[]'",
)
COLUMNS: Final = (
    "episode_id",
    "key",
    "kind",
    "text",
    "metadata",
    "importance",
    "created_ns",
    "accesses",
    "vector",
    "vector_model",
    "accessed",
    "sessions",
)
"""All columns of a table; those after `vector_model` are not in files of formats 1 and 2."""
COLUMNS_OF_FORMAT_2: Final = COLUMNS[: COLUMNS.index("accessed")]
"""The columns of a table in formats 1 and 2."""
# In SQL, so that opening a store does not parse the JSON of every episode in Python. `json_type` fails on what is no
# JSON, so `json_valid` comes first.
IS_OBJECT: Final = "CASE WHEN json_valid(metadata) THEN json_type(metadata) = 'object' ELSE 0 END"
"""The SQL expression for whether the metadata of a row can be read."""
_BUSY_S = 2.0
"""How long an operation waits for another program that holds the file, seconds. Every other question waits with it."""
_MAX_TRACES: Final = 200
"""Traces that are looked for in the file; to write it anew is cheaper than to look for more."""
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DamagedStoreError(StoreError):
    """The file of a store is damaged, or is no memory store at all; see `replace_damaged`."""


class Database:
    """An open file of the current format, with one table of episodes.

    The methods that run a statement raise the errors of SQLite; call them, and read their rows, within `errors` or
    `transaction`.

    Args:
        path: the file; it is created if missing, and converted if it is of an earlier format.
        table: the table that is there afterwards.

    Raises:
        StoreError: the file is of another program or a newer format, or cannot be used now.
        DamagedStoreError: the file is damaged or no database.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self.path = path
        self.table = table
        with self.errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = connect(path)
        try:
            with self.errors():
                self._prepare()
        except StoreError:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; closing it again has no effect."""
        with self.errors():
            self._db.close()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._db.execute(sql, values)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row of values."""
        self._db.executemany(sql, rows)

    def pragma(self, name: str) -> int:
        """Return the value of a pragma that is a number."""
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @property
    def used_bytes(self) -> int:
        """The bytes that the file needs for what it holds; the space of deleted rows is used again."""
        with self.errors():
            return (self.pragma("page_count") - self.pragma("freelist_count")) * self.pragma("page_size")

    @property
    def highest_id(self) -> int:
        """The highest id that was ever given in the table, also of a row that was deleted."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (self.table,)).fetchone()
        return int(row[0]) if row else 0

    def mark_unclean(self) -> None:
        """Note, in the transaction that deletes rows, that their bytes may still be in the file."""
        self._db.execute("INSERT OR IGNORE INTO unclean VALUES (1)")

    @property
    def unclean(self) -> bool:
        """Whether bytes of deleted rows may still be in the file."""
        with self.errors():
            return self._db.execute("SELECT 1 FROM unclean").fetchone() is not None

    def clean(self, traces: Collection[bytes] | None = None) -> bool:
        """Remove what is left of deleted rows from the file and from its write-ahead log.

        SQLite overwrites deleted rows (`secure_delete`), but other programs may not have done so with copies of them.
        So the file is searched for the bytes of the deleted rows, and written anew (`VACUUM`) if one of them is found.

        Args:
            traces: Bytes of the deleted rows; None when they are not known, and the file is written anew in any case.

        Returns:
            Whether it was done; False while another program reads the file. It is then still `unclean`.

        Raises:
            StoreError: The file cannot be written now, for example because the disk is full. It is still `unclean`.
        """
        with self.errors():
            if not self._checkpoint():
                return False
            if traces is None or len(traces) > _MAX_TRACES or self._holds(traces):
                self._db.execute("VACUUM")
                if not self._checkpoint():
                    return False
            self._db.execute("DELETE FROM unclean")
        return True

    def _checkpoint(self) -> bool:
        """Move the write-ahead log into the file and empty it; returns whether that was possible."""
        busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def _holds(self, traces: Collection[bytes]) -> bool:
        if not self.path.is_file() or not self.path.stat().st_size:  # a database in memory
            return False
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(trace) >= 0 for trace in traces)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in one write transaction; an exception rolls it back."""
        with self.errors():
            # IMMEDIATE takes the write lock now: a deferred transaction can fail at its first write, after reads
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite itself ends the transaction on some errors, such as a full disk
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate errors of SQLite to StoreError, with the file and what to do."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise StoreError(
                f"the memory store {self.path} is closed, or belongs to another thread: {error}"
            ) from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            # the low byte is the kind of the error, the others say where it happened
            if code is not None and code & 0xFF in _DAMAGE_CODES:
                raise DamagedStoreError(
                    f"the memory store {self.path} is damaged or no memory store ({error}); restore it from a copy, or"
                    " move it away to start with an empty memory"
                ) from error
            raise StoreError(
                f"the memory store {self.path} cannot be used: {error}; check that its folder exists, is writable and"
                " has space, and that no other program holds the file"
            ) from error
        except OSError as error:
            raise StoreError(f"the memory store {self.path} cannot be opened: {error}") from error

    def _prepare(self) -> None:
        # a new file has id 0 and no tables; tables with id 0 belong to another program
        if self.pragma("application_id") not in (0, _APPLICATION_ID) or (
            self.pragma("application_id") == 0 and self._db.execute("SELECT 1 FROM sqlite_schema").fetchone()
        ):
            raise StoreError(f"{self.path} is an SQLite file of another program; point the store at another path")
        version = self.pragma("user_version")
        if not 0 <= version <= _SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has memory format {version}, this program reads {_SCHEMA_VERSION}; use the brainnet"
                " that wrote it, or move the file away to start with an empty memory"
            )
        # a write-ahead log needs one fsync per commit; FULL makes SQLite do it before the commit returns
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA secure_delete = ON").fetchone()
        known = self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (self.table,)).fetchone()
        # nothing is written to a file that has all: so it opens while another program holds it
        if version != _SCHEMA_VERSION or not known:
            self._create(version)
        columns = {row[1] for row in self._db.execute(f"PRAGMA table_info({self.table})")}
        if missing := [name for name in COLUMNS if name not in columns]:
            raise DamagedStoreError(
                f"the memory store {self.path} is damaged: its table {self.table} has no {', '.join(missing)}"
            )

    def _create(self, version: int) -> None:
        """Create the table, and convert a file of an earlier format."""
        # one transaction for migration and version: a crash in between leaves the old format
        with self.transaction():
            if version == 1:
                self._migrate()
            if version in (1, 2):
                self._alter(_FROM_VERSION_2)
            for statement in filter(str.strip, _SCHEMA.format(table=self.table).split(";")):
                self._db.execute(statement)
            if version in (1, 2):  # which did not overwrite what they deleted
                self.mark_unclean()
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _migrate(self) -> None:
        """Convert format 1, which stored vectors as float32 and the terms in an FTS5 table."""
        self._db.create_function("quantize", 1, lambda blob: quantize(np.frombuffer(blob, "<f4")).tobytes())
        self._alter(_FROM_VERSION_1)

    def _alter(self, steps: Sequence[str]) -> None:
        """Run statements on each of the tables that is there."""
        for table in TABLES:
            if self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone():
                for step in steps:
                    self._db.execute(step.format(table=table))


def connect(path: Path) -> sqlite3.Connection:
    """Open an SQLite file; a text in it that is not UTF-8 is read as bytes."""
    # isolation_level None: sqlite3 opens no transactions of its own, all of them are explicit
    connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
    connection.text_factory = _text
    return connection


def _text(raw: bytes) -> str | bytes:
    """Read a text of SQLite; one that is not UTF-8 stays bytes, by which it is recognised as damaged."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def is_readable(kind: object, text: object, created_ns: object) -> bool:
    """Return whether these columns of a row hold what was stored in them."""
    return bool(
        isinstance(kind, str) and kind and isinstance(text, str) and text.strip() and isinstance(created_ns, int)
    )

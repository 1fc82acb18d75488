"""The journal of prompts: which are open, and what the answered ones got. It outlives the process."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from brainnet.errors import StoreError
from brainnet.wire.messages import Answer, Prompt, decode, encode

_KEEP_ANSWERED_S: Final = 3600.0
"""How long an answer is kept for a client that asks again: six times the longest deadline."""


class Journal:
    """Open prompts and recent answers in SQLite.

    Guarantees: what `accept` or `answered` returned from is there after a kill -9 of the process (not after a power
    cut: the write-ahead log is not flushed to the disk for each prompt). One thread at a time.

    Args:
        path: The database file; made when it is missing.

    Raises:
        StoreError: The file is not a journal or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # isolation_level None: every statement is its own transaction, so that a returned `accept` is written down
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # a write-ahead log that is flushed at checkpoints only: no wait for the disk at every prompt
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS prompt ("
                "prompt_id TEXT PRIMARY KEY, prompt BLOB NOT NULL, accepted_s REAL NOT NULL, answer BLOB)"
            )
            self._db.execute("CREATE INDEX IF NOT EXISTS prompt_open ON prompt (accepted_s) WHERE answer IS NULL")
            self._db.execute(
                "DELETE FROM prompt WHERE answer IS NOT NULL AND accepted_s < ?", (time.time() - _KEEP_ANSWERED_S,)
            )
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} cannot be used as a journal ({error}); move it away to start a new one") from None

    def accept(self, prompt: Prompt) -> Answer | None:
        """Write an open prompt down.

        Returns:
            The answer, if this id already has one.
        """
        row = self._db.execute("SELECT answer FROM prompt WHERE prompt_id = ?", (prompt.prompt_id,)).fetchone()
        if row is not None:
            return None if row[0] is None else decode(Answer, row[0])
        self._db.execute("INSERT INTO prompt VALUES (?, ?, ?, NULL)", (prompt.prompt_id, encode(prompt), time.time()))
        return None

    def answered(self, answer: Answer) -> bool:
        """Close a prompt with its answer; return False when it already has one."""
        cursor = self._db.execute(
            "UPDATE prompt SET answer = ?, prompt = x'' WHERE prompt_id = ? AND answer IS NULL",
            (encode(answer), answer.prompt_id),
        )
        return cursor.rowcount == 1

    def open_prompts(self) -> list[tuple[Prompt, float]]:
        """Return prompts without an answer and when (`time.time()`) they were accepted, oldest first."""
        rows = self._db.execute("SELECT prompt, accepted_s FROM prompt WHERE answer IS NULL ORDER BY accepted_s")
        return [(decode(Prompt, blob), accepted) for blob, accepted in rows]

    def close(self) -> None:
        """Close the file."""
        self._db.close()

"""The journal of prompts: which are open, and what the answered ones got. It outlives the process."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brainnet.errors import MessageError, StoreError
from brainnet.paths import name_of_damaged
from brainnet.wire.messages import Answer, Prompt, decode, encode

_VERSION: Final = 2
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_FORGOTTEN: Final = "what this prompt was about has been forgotten; ask it as a new prompt"
_PRUNE_BATCH: Final = 256
"""Answers that one pruning removes at most, so that it never holds up an acceptance for long."""


@dataclass(frozen=True, slots=True)
class Left:
    """A prompt that a predecessor left open.

    Attributes:
        prompt: What was asked; its deadline is the time that is left, in milliseconds, at least 1.
        expired: Whether its deadline has passed, or the machine was started again since it was accepted.
    """

    prompt: Prompt
    expired: bool


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as it is written on the wire and in the journal.

    Attributes:
        prompt_id: The prompt that it answers.
        payload: The `Answer` in msgpack.
    """

    prompt_id: str
    payload: bytes


class Journal:
    """Open prompts and recent answers in SQLite.

    Guarantees: what `accept` or `answer` returned from is there after a kill -9 of the process (not after a power cut:
    the write-ahead log is not flushed to the disk for each prompt); a damaged row is skipped, and counted; a damaged
    file is moved aside and a new one begun. One thread at a time.

    Times are seconds since the machine was started (CLOCK_BOOTTIME), which no change of the wall clock moves.

    Args:
        path: The database file; made when it is missing.

    Attributes:
        damaged_rows: Rows that could not be read, and were removed.
        moved_to: Where a damaged file was moved to; None when there was none.

    Raises:
        StoreError: The file cannot be opened or written now: locked, a full disk, no permission. `open` again later.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged_rows = 0
        self.moved_to: Path | None = None
        self._boot = _boot_id()
        try:
            self._db = self._open()
        except sqlite3.OperationalError as error:
            raise _cannot(path, error) from None
        except sqlite3.DatabaseError:  # no database, or a damaged one
            self._move_aside()
            try:
                self._db = self._open()
            except sqlite3.Error as error:
                raise _cannot(path, error) from None

    def _open(self) -> sqlite3.Connection:
        # isolation_level None: transactions are written out below. No waiting for a lock: the caller has other work,
        # and tries again.
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0.0)
        try:
            # A write-ahead log that is flushed at checkpoints only: no wait for the disk at every prompt.
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA journal_size_limit=4194304")
            # Overwrites deleted rows where that costs no further write; `redact` removes the rest.
            db.execute("PRAGMA secure_delete=FAST").fetchone()
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"its format is version {version}, not {_VERSION}")
            db.execute(f"PRAGMA user_version={_VERSION}")
            db.execute(
                "CREATE TABLE IF NOT EXISTS prompt ("
                "prompt_id TEXT PRIMARY KEY, prompt BLOB NOT NULL, accepted_s REAL NOT NULL, boot TEXT NOT NULL, "
                "answer BLOB, size INTEGER NOT NULL)"
            )
            db.execute("CREATE INDEX IF NOT EXISTS prompt_open ON prompt (accepted_s) WHERE answer IS NULL")
        except BaseException:
            db.close()
            raise
        return db

    def _move_aside(self) -> None:
        target = name_of_damaged(self.path)
        try:
            self.path.rename(target)
        except OSError as error:
            raise _cannot(self.path, error) from None
        for suffix in ("-wal", "-shm"):  # of the damaged file; a new one must not read them
            with contextlib.suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink()
        self.moved_to = target

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, accepted: Sequence[Prompt], answered: Sequence[Written]) -> dict[str, Answer]:
        """Write prompts and answers down, all in one transaction.

        Args:
            accepted: New prompts. One whose id is known stays as it is.
            answered: Answers of prompts, of which the first of each counts.

        Returns:
            By id, the answers of those accepted prompts that already have one.

        Raises:
            StoreError: Nothing was written: the file is locked, the disk is full.
        """
        now = _boottime()
        known: dict[str, Answer] = {}
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for prompt in accepted:
                    blob = encode(prompt)
                    added = self._db.execute(
                        "INSERT OR IGNORE INTO prompt VALUES (?, ?, ?, ?, NULL, ?)",
                        (prompt.prompt_id, blob, now, self._boot, len(blob)),
                    )
                    if added.rowcount == 0 and (answer := self._answer_of(prompt.prompt_id)) is not None:
                        known[prompt.prompt_id] = answer
                for given in answered:
                    self._db.execute(
                        "UPDATE prompt SET answer = ?, prompt = x'', size = ? WHERE prompt_id = ? AND answer IS NULL",
                        (given.payload, len(given.payload), given.prompt_id),
                    )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite itself ends it on some errors, such as a full disk
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _cannot(self.path, error) from None
        return known

    def _answer_of(self, prompt_id: str) -> Answer | None:
        row = self._db.execute("SELECT answer FROM prompt WHERE prompt_id = ?", (prompt_id,)).fetchone()
        if row is None or row[0] is None:
            return None
        try:
            return decode(Answer, row[0])
        except MessageError:
            self.damaged_rows += 1
            return None

    def accept(self, prompt: Prompt) -> Answer | None:
        """Write one prompt down; returns its answer, if it already has one."""
        return self.write([prompt], []).get(prompt.prompt_id)

    def answer(self, answer: Answer) -> None:
        """Write one answer down, unless its prompt already has one."""
        self.write([], [Written(answer.prompt_id, encode(answer))])

    def redact(self, prompt_ids: Sequence[str]) -> list[str]:
        """Remove the texts of prompts and answers for good: from the file, its log, and its damaged copies.

        The ids stay, and the answer becomes the error `forgotten`: so a prompt that is sent again is not answered a
        second time.

        Args:
            prompt_ids: The prompts.

        Returns:
            Those of which nothing is left; a prompt that has no answer yet is not among them, and stays as it is.

        Raises:
            StoreError: The file cannot be written anew now: it is read or locked, or the disk is full. Try again.
        """
        done = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for each in prompt_ids:
                    row = self._db.execute("SELECT answer IS NULL FROM prompt WHERE prompt_id = ?", (each,)).fetchone()
                    if row is not None and row[0]:
                        continue
                    blob = encode(forgotten_answer(each))
                    self._db.execute(
                        "UPDATE prompt SET prompt = x'', answer = ?, size = ? WHERE prompt_id = ?",
                        (blob, len(blob), each),
                    )
                    done.append(each)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            if done:
                # Also of a prompt that is not in the journal any more, bytes may be left. Written anew, the file has
                # nothing but the rows that there are.
                self._db.execute("VACUUM")
                if self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise sqlite3.OperationalError("another program reads it")
                for copy in self.path.parent.glob(f"{self.path.name}.damaged-*"):
                    copy.unlink()
        except (sqlite3.Error, OSError) as error:
            raise _cannot(self.path, error) from None
        return done

    # -- reading -----------------------------------------------------------------------------------------------------

    def left_open(self) -> list[Left]:
        """Return the prompts without an answer, oldest first; a damaged row is removed and counted.

        Raises:
            StoreError: The file cannot be read.
        """
        now = _boottime()
        left = []
        try:
            rows = self._db.execute(
                "SELECT rowid, prompt, accepted_s, boot FROM prompt WHERE answer IS NULL ORDER BY accepted_s, rowid"
            ).fetchall()
            for row, blob, accepted_s, boot in rows:
                try:
                    prompt = decode(Prompt, blob)
                    age_ms = max(0.0, now - float(accepted_s)) * 1000
                    expired = boot != self._boot or age_ms >= prompt.deadline_ms
                    prompt.deadline_ms = 1 if expired else max(1, int(prompt.deadline_ms - age_ms))
                except (MessageError, TypeError, ValueError):
                    self.damaged_rows += 1
                    self._db.execute("DELETE FROM prompt WHERE rowid = ?", (row,))
                    continue
                left.append(Left(prompt, expired))
        except sqlite3.Error as error:
            raise _cannot(self.path, error) from None
        return left

    # -- limits ------------------------------------------------------------------------------------------------------

    def prune(self, keep_s: float, max_bytes: int) -> int:
        """Remove answers that are too old, then the oldest ones until the rest is small enough; open prompts stay.

        Args:
            keep_s: Seconds for which an answer is kept for a client that asks again.
            max_bytes: Bytes of all prompts and answers.

        Returns:
            How many were removed; a call removes at most 256, so call it again until it returns 0.

        Raises:
            StoreError: The file cannot be written now.
        """
        try:
            removed = self._db.execute(
                "DELETE FROM prompt WHERE rowid IN (SELECT rowid FROM prompt "
                "WHERE answer IS NOT NULL AND (accepted_s < ? OR boot != ?) LIMIT ?)",
                (_boottime() - keep_s, self._boot, _PRUNE_BATCH),
            ).rowcount
            if not removed and self.bytes() > max_bytes:
                removed = self._db.execute(
                    "DELETE FROM prompt WHERE rowid IN (SELECT rowid FROM prompt "
                    "WHERE answer IS NOT NULL ORDER BY rowid LIMIT ?)",
                    (_PRUNE_BATCH,),
                ).rowcount
        except sqlite3.Error as error:
            raise _cannot(self.path, error) from None
        return int(removed)

    def bytes(self) -> int:
        """Return the bytes of all prompts and answers; the file is some pages larger."""
        return int(self._db.execute("SELECT coalesce(sum(size), 0) FROM prompt").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def forgotten_answer(prompt_id: str) -> Answer:
    """Return the answer of a prompt that was redacted."""
    return Answer(prompt_id=prompt_id, stopped_by="error", error=_FORGOTTEN, code="forgotten")


def _cannot(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"the journal {path} cannot be used now: {error}; check that the disk has space, that the folder "
        "is writable, and that no other program holds the file"
    )


def _boottime() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _boot_id() -> str:
    """Return an id of this run of the machine: times since its start compare only within one."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""

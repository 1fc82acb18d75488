"""Writes the journal in a thread of its own: many prompts in one transaction, and never waiting for a bad disk."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from brainnet.errors import StoreError
from brainnet.guard import RepeatFilter, describe
from brainnet.prompts.journal import Journal, Left, Written
from brainnet.wire.messages import Answer, Prompt

log = structlog.get_logger("brainnet.broker")

_PATIENCE_S: Final = 0.5
"""Seconds that a write may take before those that wait for it go on without it."""
_RETRY_S: Final = 0.5
"""Seconds between two tries of a disk that could not be written; what comes meanwhile is not held up by it."""
_CHECK_INTERVAL_S: Final = 0.1
_PRUNE_INTERVAL_S: Final = 5.0
_MAX_UNWRITTEN: Final = 4096
"""Prompts and answers that are kept to be written when the disk is back; older ones are then not in the journal."""


class _Entry:
    """One prompt or answer to be written, and who waits for that."""

    __slots__ = ("_done", "item", "since")

    def __init__(self, item: Prompt | Written, done: Callable[[Answer | None], None]) -> None:
        self.item = item
        self.since = time.monotonic()
        self._done: Callable[[Answer | None], None] | None = done

    def release(self, known: Answer | None = None) -> None:
        """Let the one who waits go on; does nothing the second time. On the event loop."""
        done, self._done = self._done, None
        if done is None:
            return
        try:
            done(known)
        except Exception as error:  # of this prompt; the others wait for their turn
            log.error("a prompt failed at the broker", exc_info=error)


class JournalWriter:
    """The journal, written behind the event loop.

    Guarantees: the callback of `accept` and `answer` runs once, on the event loop: when the entry is written down, or,
    while the disk cannot be written, within a second without that (`problem` then says why); what could not be written
    is tried again.

    A thread with a queue, and not an executor: an executor costs several times as much for each prompt.

    Args:
        path: The journal's file.
        keep_s: Seconds for which an answer is kept.
        max_bytes: Bytes of prompts and answers that are kept.

    Attributes:
        problem: Why nothing can be written now; None while all is well.
    """

    def __init__(self, path: Path, *, keep_s: float, max_bytes: int) -> None:
        self.problem: str | None = None
        self._path = path
        self._keep_s, self._max_bytes = keep_s, max_bytes
        self._loop = asyncio.get_running_loop()
        self._faults = RepeatFilter()
        self._waiting: deque[_Entry] = deque()
        """Entries whose callbacks have not run, oldest first. On the event loop only."""
        self._new: list[_Entry] = []
        """Entries that the thread has not taken yet; under `_changed`."""
        self._redactions: list[tuple[list[str], asyncio.Future[list[str]]]] = []
        """Prompts to be redacted, and who waits for that; under `_changed`."""
        self._closing = False
        self._changed = threading.Condition()
        self._opened: asyncio.Future[list[Left]] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run_thread, name="journal", daemon=True)

    # -- on the event loop -------------------------------------------------------------------------------------------

    async def open(self) -> list[Left]:
        """Open the journal and return what a predecessor left open; empty when the file cannot be read now."""
        self._thread.start()
        return await self._opened

    def accept(self, prompt: Prompt, done: Callable[[Answer | None], None]) -> None:
        """Write a prompt down, then call `done` with its answer, if its id already has one."""
        self._put(_Entry(prompt, done))

    def answer(self, answer: Written, done: Callable[[Answer | None], None]) -> None:
        """Write an answer down, then call `done`."""
        self._put(_Entry(answer, done))

    async def redact(self, prompt_ids: list[str]) -> list[str]:
        """Remove the texts of prompts and of their answers; see `Journal.redact`.

        Returns:
            Those of which nothing is left; none while the journal cannot be written.
        """
        done: asyncio.Future[list[str]] = self._loop.create_future()
        with self._changed:
            if self._closing:
                return []
            self._redactions.append((prompt_ids, done))
            self._changed.notify()
        return await done

    def _put(self, entry: _Entry) -> None:
        self._waiting.append(entry)
        with self._changed:
            self._new.append(entry)
            self._changed.notify()

    async def run(self) -> None:
        """Watch the disk until cancelled: when it hangs, nobody waits for it."""
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_S)
            if self._waiting and time.monotonic() - self._waiting[0].since > _PATIENCE_S:
                self._set_problem(f"writing the journal {self._path} takes longer than {_PATIENCE_S:g} s")
                self._release(list(self._waiting), {}, self.problem)

    def _release(self, entries: list[_Entry], known: dict[str, Answer], problem: str | None) -> None:
        """Let go on who waits for these entries; they were written, unless there is a problem."""
        self._set_problem(problem)
        for entry in entries:
            entry.release(known.get(entry.item.prompt_id) if isinstance(entry.item, Prompt) else None)
            # nearly always the first one
            with contextlib.suppress(ValueError):
                self._waiting.remove(entry)

    def _set_problem(self, problem: str | None) -> None:
        if problem is None and self.problem is not None:
            log.info("the journal is written again")
        elif problem is not None and self._faults.admit(problem) is not None:
            log.error("the journal cannot be written; prompts are answered without it", reason=problem)
        self.problem = problem

    async def close(self) -> None:
        """Write what waits, and close the file; waits for at most a second."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await self._loop.run_in_executor(None, self._thread.join, 1.0)
        self._release(list(self._waiting), {}, self.problem)

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _run_thread(self) -> None:
        journal, left, problem = self._open()
        self._tell(self._finish_opening, left, problem)
        unwritten: list[_Entry] = []
        prune_at = time.monotonic() + _PRUNE_INTERVAL_S
        retry_at = time.monotonic() + _RETRY_S
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._new or self._redactions or self._closing, _RETRY_S if problem else _PRUNE_INTERVAL_S
                )
                new, self._new = self._new, []
                redactions, self._redactions = self._redactions, []
                closing = self._closing
            unwritten += new
            if problem is not None and time.monotonic() < retry_at and not closing:
                self._tell(self._release, new, {}, problem)
                self._redact(None, redactions)
                del unwritten[:-_MAX_UNWRITTEN]
                continue
            if unwritten or problem is not None:
                if journal is None:
                    journal, _, problem = self._open()
                known, problem = ({}, problem) if journal is None else self._write(journal, unwritten)
                self._tell(self._release, unwritten if problem is None else new, known, problem)
                unwritten = [] if problem is None else unwritten[-_MAX_UNWRITTEN:]
                retry_at = time.monotonic() + _RETRY_S
            # after the answers that came before them
            self._redact(journal if problem is None else None, redactions)
            if closing:
                break
            if journal is not None and problem is None and time.monotonic() > prune_at:
                prune_at = time.monotonic() + _PRUNE_INTERVAL_S
                self._prune(journal)
        if journal is not None:
            journal.close()

    def _finish_opening(self, left: list[Left], problem: str | None) -> None:
        self._set_problem(problem)
        if not self._opened.done():
            self._opened.set_result(left)

    def _open(self) -> tuple[Journal | None, list[Left], str | None]:
        try:
            journal = Journal(self._path)
            left = journal.left_open()
        except StoreError as error:
            return None, [], str(error)
        if journal.moved_to is not None:
            log.error("the journal was damaged; a new one was begun", moved_to=str(journal.moved_to))
        if journal.damaged_rows:
            log.error("damaged rows of the journal were left out", rows=journal.damaged_rows)
        return journal, left, None

    def _write(self, journal: Journal, entries: list[_Entry]) -> tuple[dict[str, Answer], str | None]:
        """Write entries in one transaction; returns the answers that are known already, or the problem."""
        prompts = [entry.item for entry in entries if isinstance(entry.item, Prompt)]
        answers = [entry.item for entry in entries if isinstance(entry.item, Written)]
        try:
            return journal.write(prompts, answers), None
        except StoreError as error:
            return {}, str(error)
        except Exception as error:  # one entry that cannot be written must not hold up the others for ever
            log.error("prompts are not in the journal", prompts=len(prompts), error=describe(error))
            return {}, None

    def _redact(self, journal: Journal | None, redactions: list[tuple[list[str], asyncio.Future[list[str]]]]) -> None:
        if not redactions:
            return
        done: set[str] = set()
        if journal is not None:
            try:
                # Together: each writes the whole file anew.
                done = set(journal.redact([each for prompt_ids, _ in redactions for each in prompt_ids]))
            except StoreError as error:
                log.warning("forgotten prompts are still in the journal; it is tried again", reason=str(error))
        for prompt_ids, waiting in redactions:
            self._tell(_finish, waiting, [each for each in prompt_ids if each in done])

    def _prune(self, journal: Journal) -> None:
        try:
            # In parts: prompts that come meanwhile do not wait for all of it.
            while journal.prune(self._keep_s, self._max_bytes):
                with self._changed:
                    if self._new or self._closing:
                        return
        except StoreError as error:
            log.warning("the journal cannot be shortened", reason=str(error))

    def _tell(self, function: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop was closed
            self._loop.call_soon_threadsafe(function, *args)


def _finish(waiting: asyncio.Future[list[str]], done: list[str]) -> None:
    if not waiting.done():
        waiting.set_result(done)

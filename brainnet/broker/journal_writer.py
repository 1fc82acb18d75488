"""Writes the journal for an event loop: many prompts in one transaction, in a thread, never waiting for a bad disk."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import structlog

from brainnet.errors import StoreError
from brainnet.guard import RepeatFilter, describe
from brainnet.prompts.journal import Journal, Left
from brainnet.wire.messages import Answer, Prompt

T = TypeVar("T")
log = structlog.get_logger("brainnet.broker")

_PATIENCE_S: Final = 0.5
"""Seconds that a write may take before those that wait for it go on without it."""
_RETRY_S: Final = 0.5
"""Seconds between two tries of a disk that could not be written; what comes meanwhile is not held up by it."""
_PRUNE_INTERVAL_S: Final = 5.0
_MAX_UNWRITTEN: Final = 4096
"""Prompts and answers that are kept to be written when the disk is back; older ones are then not in the journal."""


class _Entry:
    """One prompt or answer to be written, and who waits for that."""

    __slots__ = ("_done", "message")

    def __init__(self, message: Prompt | Answer, done: Callable[[Answer | None], None]) -> None:
        self.message = message
        self._done: Callable[[Answer | None], None] | None = done

    def release(self, known: Answer | None = None) -> None:
        """Let the one who waits go on; does nothing the second time."""
        done, self._done = self._done, None
        if done is None:
            return
        try:
            done(known)
        except Exception as error:  # of this prompt; the others wait for their turn
            log.error("a prompt failed at the broker", exc_info=error)


class JournalWriter:
    """The journal, written behind the event loop.

    Guarantees: the callback of `accept` and `answer` runs once, on the event loop, in order: when the entry is written
    down, or, while the disk cannot be written, within half a second without that (`problem` then says why); what could
    not be written is tried again.

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
        self._journal: Journal | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._entries: list[_Entry] = []
        """Everything that is not written yet, oldest first."""
        self._wake = asyncio.Event()
        self._retry_at = 0.0
        self._faults = RepeatFilter()

    async def open(self) -> list[Left]:
        """Open the journal and return what a predecessor left open; empty when the file cannot be read now."""
        try:
            return await self._in_thread(self._open)
        except StoreError as error:
            self._set_problem(str(error))
            return []

    def _open(self) -> list[Left]:
        self._journal = Journal(self._path)
        left = self._journal.left_open()
        if self._journal.moved_to is not None:
            log.error("the journal was damaged; a new one was begun", moved_to=str(self._journal.moved_to))
        if self._journal.damaged_rows:
            log.error("damaged rows of the journal were left out", rows=self._journal.damaged_rows)
        return left

    def accept(self, prompt: Prompt, done: Callable[[Answer | None], None]) -> None:
        """Write a prompt down, then call `done` with its answer, if its id already has one."""
        self._entries.append(_Entry(prompt, done))
        self._wake.set()

    def answer(self, answer: Answer, done: Callable[[Answer | None], None]) -> None:
        """Write an answer down, then call `done`."""
        self._entries.append(_Entry(answer, done))
        self._wake.set()

    async def run(self) -> None:
        """Write what comes, until cancelled."""
        prune_at = time.monotonic() + _PRUNE_INTERVAL_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PRUNE_INTERVAL_S if self.problem is None else _RETRY_S):
                    await self._wake.wait()
            self._wake.clear()
            if self.problem is not None and time.monotonic() < self._retry_at:
                self._release_all()
                continue
            await self._write_all()
            if time.monotonic() > prune_at and self.problem is None:
                prune_at = time.monotonic() + _PRUNE_INTERVAL_S
                await self._prune()

    async def _write_all(self) -> None:
        """Write all entries in one transaction, and let go on who waits for that."""
        batch = list(self._entries)
        if not batch and self.problem is None:
            return
        prompts = [entry.message for entry in batch if isinstance(entry.message, Prompt)]
        answers = [entry.message for entry in batch if isinstance(entry.message, Answer)]
        writing = asyncio.ensure_future(self._in_thread(self._write, prompts, answers))
        patience = _PATIENCE_S
        # With a limit: a disk that hangs must hold nobody up, neither these nor those that come meanwhile.
        while not (await asyncio.wait({writing}, timeout=patience))[0]:
            self._set_problem(f"writing the journal {self._path} takes longer than {_PATIENCE_S:g} s")
            self._release_all()
            patience = 0.02
        try:
            known = writing.result()
        except Exception as error:  # a `StoreError`, or one prompt that cannot be encoded: it must not lose the others
            self._set_problem(str(error) if isinstance(error, StoreError) else f"the journal: {describe(error)}")
            self._retry_at = time.monotonic() + _RETRY_S
            self._release_all()
            if not isinstance(error, StoreError):
                del self._entries[: len(batch)]
            return
        del self._entries[: len(batch)]  # new ones came behind them
        self._set_problem(None)
        for entry in batch:
            entry.release(known.get(entry.message.prompt_id) if isinstance(entry.message, Prompt) else None)

    def _release_all(self) -> None:
        for entry in self._entries:
            entry.release()
        del self._entries[:-_MAX_UNWRITTEN]

    def _write(self, prompts: list[Prompt], answers: list[Answer]) -> dict[str, Answer]:
        if self._journal is None:
            self._open()
        assert self._journal is not None
        return self._journal.write(prompts, answers)

    async def _prune(self) -> None:
        try:
            while (journal := self._journal) is not None:
                if not await self._in_thread(journal.prune, self._keep_s, self._max_bytes):
                    return
                await self._write_all()  # prompts that came meanwhile do not wait for all of it
        except StoreError as error:
            self._set_problem(str(error))

    def _set_problem(self, problem: str | None) -> None:
        if problem is None and self.problem is not None:
            log.info("the journal is written again")
        elif problem is not None and self._faults.admit(problem) is not None:
            log.error("the journal cannot be written; prompts are answered without it", reason=problem)
        self.problem = problem

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def close(self) -> None:
        """Write what waits, and close the file; after `run` was cancelled."""
        await self._write_all()
        if self._journal is not None:
            await self._in_thread(self._journal.close)
        self._thread.shutdown(wait=False, cancel_futures=True)

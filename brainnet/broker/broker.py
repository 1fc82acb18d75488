"""The broker of a brain: one durable acceptance and one answer for every prompt, whichever node dies meanwhile."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from brainnet.broker.journal_writer import JournalWriter
from brainnet.broker.news import News
from brainnet.broker.refusals import refusal
from brainnet.bus import Bus, Mailbox, Received, Sample
from brainnet.errors import ErrorCode, WireError
from brainnet.guard import RepeatFilter, describe, ends_task
from brainnet.prompts import Admission, Limits, PriorityQueue, Refused, error_answer, warm_up
from brainnet.prompts.journal import Left, Written, forgotten_answer
from brainnet.wire.keys import key
from brainnet.wire.messages import (
    Accepted,
    Answer,
    Encoded,
    Exchange,
    Forgotten,
    Outline,
    Prompt,
    Redacted,
    Resumed,
    ResumeQuery,
    decode,
    encode,
    new_id,
    outline,
    prompt_id_of,
)

log = structlog.get_logger("brainnet.broker")

_GRACE_S: Final = 0.5
"""Seconds after its deadline for which a prompt that was handed out may still be answered: at the deadline the
integrator concludes with what it has, and that answer takes time. After it the broker answers with an error."""
_RECENT: Final = 1024
"""Answers that are remembered without the journal, for a prompt that is sent again."""
_RECENT_BYTES: Final = 16 << 20
_UNDECIDED: Final = 2048
"""More prompts than the mailbox holds."""
_AVAILABILITY_INTERVAL_S: Final = 0.25


class _State(Enum):
    """Where an open prompt is."""

    ACCEPTING = "being written down"
    WAITING = "waiting for its turn"
    ASKED = "handed to the brain"
    ANSWERING = "its answer is being written down"


@dataclass(slots=True)
class _Open:
    """One prompt without an answer. Times are of `time.monotonic()`."""

    prompt: Prompt
    size: int
    arrived: float
    deadline: float
    state: _State = _State.ACCEPTING
    accepted: float = 0.0
    asked: float = 0.0
    replies: list[asyncio.Future[Encoded]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why no prompt can be answered now.

    Attributes:
        reason: One sentence: what is missing, why, and what to do.
        retry_after_s: Seconds until that may change; infinity when only a person can change it.
        code: The code of the answers.
    """

    reason: str
    retry_after_s: float = math.inf
    code: ErrorCode = "unavailable"


class Broker:
    """Accepts prompts and publishes their answers.

    Guarantees: every prompt that reaches the hub gets exactly one Answer: of the brain, or an error that says why there
    is none; a prompt is handed out only when it is written in the journal (or the disk is known to be away); at its
    deadline it is answered in any case; what is refused costs the brain nothing, and is refused at once.

    Args:
        bus: A bus of the role supervisor, on the session of the hub.
        journal: The journal's file.
        limits: Bounds of what is open at once.
        unavailable: Asked four times a second: why nothing can be answered now, or None.
    """

    def __init__(
        self,
        bus: Bus,
        journal: Path,
        limits: Limits | None = None,
        unavailable: Callable[[], Unavailable | None] = lambda: None,
    ) -> None:
        self.limits = limits or Limits()
        self.counts: Counter[str] = Counter()
        self._bus = bus
        self._writer = JournalWriter(journal, keep_s=self.limits.keep_s, max_bytes=self.limits.max_journal_bytes)
        self._admission = Admission(self.limits)
        self._unavailable = unavailable
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._open_bytes = 0
        self._queue: PriorityQueue[_Open] = PriorityQueue()
        self._asked = 0
        self._recent: OrderedDict[str, Encoded] = OrderedDict()
        self._recent_bytes = 0
        self._prompts: Mailbox[Received] | None = None
        self._undecided: OrderedDict[str, None] = OrderedDict()
        """Ids of the prompts that wait in the mailbox, as far as they are known; at most `_UNDECIDED`."""
        self._screened = 0
        """Prompts that were refused on the thread of their subscription, which alone counts them."""
        self._away: Unavailable | None = None
        """What `unavailable` returned last."""
        self._news = News(bus)
        self._faults = RepeatFilter()

    @property
    def open_prompts(self) -> int:
        """Prompts that have no answer yet."""
        return len(self._open)

    def counts_since_start(self) -> dict[str, int]:
        """Return how many prompts were accepted, refused and malformed, and how many answers and errors were given."""
        counts = {name: self.counts[name] for name in ("accepted", "answers", "error_answers", "refused", "malformed")}
        counts["refused"] += self._screened
        return counts

    @property
    def problem(self) -> str | None:
        """Why the journal cannot be written now; None while all is well."""
        return self._writer.problem

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled.

        Args:
            started: Called when prompts are accepted.
        """
        for topic in ("accepted", "result", "answered"):
            self._bus.declare(key(topic))
        conclusions = self._bus.subscribe(key("conclusion"))
        self._bus.serve(key("resume"), self._resume)
        self._bus.serve(key("forgotten"), self._forget)
        await asyncio.get_running_loop().run_in_executor(None, warm_up)
        for left in await self._writer.open():
            self._guarded(self._take_up, left)
        # Where more prompts wait than its mailbox holds, their senders have to wait: none is dropped without a word.
        # The reader itself waits for nothing, so other links are held up only for as long as it takes to read these.
        prompts = self._prompts = self._bus.subscribe(
            key("prompt"), on_malformed=self._refuse_malformed, screen=self._screen
        )
        self._bus.serve(key("prompt"), self._ask)
        started()
        try:
            # A task group: the end of one loop ends all, and `run` with it, instead of leaving a broker that is deaf.
            async with asyncio.TaskGroup() as group:
                group.create_task(self._writer.run())
                group.create_task(self._read(prompts, self._take_in))
                group.create_task(self._read(conclusions, self._conclude))
                group.create_task(self._watch_availability())
        finally:
            await self._close()

    async def _read(self, mailbox: Mailbox[Received], handle: Callable[[Any], None]) -> None:
        async for received in mailbox:
            self._guarded(handle, received.message)

    def _guarded(self, handle: Callable[..., None], *args: Any) -> None:
        """Call what handles one message; whatever it raises belongs to that message."""
        try:
            handle(*args)
        except BaseException as error:
            if ends_task(error):
                raise
            self.counts["errors"] += 1
            if self._faults.admit((getattr(handle, "__name__", ""), type(error))) is not None:
                log.error("the broker could not handle a message", exc_info=error)

    # -- accepting ---------------------------------------------------------------------------------------------------

    async def _ask(self, prompt: Prompt, _: str) -> Encoded:
        """Answer a query: the reply waits for the brain, however long it is away, at most until the deadline."""
        reply: asyncio.Future[Encoded] = asyncio.get_running_loop().create_future()
        self._offer(prompt, reply)
        return await reply

    def _screen(self, payload: bytes, encoding: str) -> bool:
        """Refuse a prompt at once while too much is open, from what its refusal needs alone; else leave it to `_offer`.

        On the thread of the subscription. In a flood there are thousands a second: what is spent on a prompt that is
        refused in any case is taken from the answers, and in the queue of the event loop it would wait for whatever
        the loop does.
        """
        found = outline(payload, encoding)
        if found is None:
            return False
        refused = self._refused(found)
        if refused is None:
            if found.prompt_id:
                self._undecided[found.prompt_id] = None
                if len(self._undecided) > _UNDECIDED:  # of one that was malformed in a way that hides its id
                    self._undecided.popitem(last=False)
            return False
        self._screened += 1
        named = found if found.prompt_id else found._replace(prompt_id=new_id())
        self._bus.publish(key("result"), refusal(named, "busy", refused.reason, refused.retry_after_ms))
        return True

    def _refused(self, found: Outline) -> Refused | None:
        """Return why a prompt is refused without further ado, or None to decide on the event loop. From any thread."""
        if self._away is not None:  # then that is the reason
            return None
        prompt_id = found.prompt_id
        if prompt_id in self._open or prompt_id in self._recent or prompt_id in self._undecided:
            return None  # sent again
        # Those that wait for the event loop are counted as if they were accepted, so that no more of them are let
        # through than there is room for.
        undecided = 0 if self._prompts is None else self._prompts.waiting
        return self._admission.refuses(
            found.priority,
            found.deadline_ms,
            len(self._open) + undecided,
            self._ahead(found.priority) + undecided,
            self._open_bytes,
        )

    def _take_in(self, prompt: Prompt) -> None:
        try:
            self._offer(prompt)
        finally:
            self._undecided.pop(prompt.prompt_id, None)

    def _offer(self, prompt: Prompt, reply: asyncio.Future[Encoded] | None = None) -> None:
        """Accept a prompt, or refuse it at once."""
        replies = [] if reply is None else [reply]
        known = self._open.get(prompt.prompt_id)
        if known is not None:  # sent again; it is being answered
            known.replies += replies
            return
        recent = self._recent.get(prompt.prompt_id)
        if recent is not None:
            self._publish(self._in_form_of(recent, prompt), replies)
            return
        size = _size(prompt)
        unavailable = self._unavailable()
        if unavailable is not None and unavailable.retry_after_s * 1000 > prompt.deadline_ms:
            self._refuse(prompt, replies, unavailable.code, unavailable.reason, unavailable.retry_after_s)
            return
        refused = self._admission.check(
            prompt.priority,
            prompt.deadline_ms,
            len(self._open),
            self._ahead(prompt.priority),
            self._open_bytes + size,
        )
        if refused is not None:
            self._refuse(prompt, replies, "busy", refused.reason, refused.retry_after_ms / 1000)
            return
        entry = self._add(prompt, size)
        entry.replies = replies
        self._writer.accept(prompt, partial(self._accepted, entry))

    def _ahead(self, priority: int) -> int:
        """Return how many prompts a new one waits for: none while the brain may work on one more."""
        return self._asked + self._queue.before(priority) if self._asked >= self.limits.max_asked else 0

    def _add(self, prompt: Prompt, size: int) -> _Open:
        now = time.monotonic()
        entry = _Open(prompt, size, now, now + prompt.deadline_ms / 1000)
        self._open[prompt.prompt_id] = entry
        self._open_bytes += size
        entry.timer = asyncio.get_running_loop().call_later(
            prompt.deadline_ms / 1000, self._guarded, self._at_deadline, entry
        )
        return entry

    def _accepted(self, entry: _Open, known: Answer | None) -> None:
        """Go on with a prompt that is written down."""
        if entry.state is not _State.ACCEPTING:  # its deadline has passed meanwhile
            return
        entry.accepted = time.monotonic()
        if known is not None:  # answered before this process started
            self._close_entry(entry)
            encoded = self._encode(known, entry.prompt)
            self._remember(known.prompt_id, encoded)
            self._publish(encoded, entry.replies)
            return
        self.counts["accepted"] += 1
        entry.state = _State.WAITING
        self._queue.push(entry.prompt.priority, entry)
        self._hand_out()

    def _take_up(self, left: Left) -> None:
        """Take up a prompt that a predecessor left open."""
        entry = self._add(left.prompt, _size(left.prompt))
        if left.expired:
            self._answer_error(entry, "deadline", "the brain ended before it had answered, and its deadline has passed")
        else:
            self._accepted(entry, None)

    def _refuse(
        self, prompt: Prompt, replies: list[asyncio.Future[Encoded]], code: ErrorCode, reason: str, retry_after_s: float
    ) -> None:
        self.counts["refused"] += 1
        retry_after_ms = None if retry_after_s == math.inf else max(1, round(retry_after_s * 1000))
        found = Outline(
            prompt.prompt_id,
            prompt.text,
            prompt.priority,
            prompt.deadline_ms,
            prompt.session_id,
            prompt.reply_as == "json",
        )
        self._publish(refusal(found, code, reason, retry_after_ms), replies)

    def _refuse_malformed(self, sample: Sample, error: WireError) -> None:
        self.counts["malformed"] += 1
        as_json = not sample.encoding.startswith("application/msgpack")
        prompt_id = prompt_id_of(sample.payload, sample.encoding) or new_id()
        self._undecided.pop(prompt_id, None)
        answer = Answer(prompt_id=prompt_id, stopped_by="error", error=str(error), code=error.code)
        self._bus.publish(key("result"), answer, as_json=as_json)

    # -- handing out -------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        """Hand waiting prompts to the brain, as many as it may work on."""
        while self._asked < self.limits.max_asked:
            entry = self._queue.pop()
            if entry is None:
                return
            if entry.state is not _State.WAITING:  # answered meanwhile: its deadline has passed
                continue
            entry.state = _State.ASKED
            entry.asked = time.monotonic()
            self._asked += 1
            self._send(entry)

    def _send(self, entry: _Open) -> None:
        left_ms = max(0.0, (entry.deadline - time.monotonic()) * 1000)
        self._bus.publish(key("accepted"), Accepted(prompt=entry.prompt, left_ms=left_ms))

    async def _resume(self, _: ResumeQuery, __: str) -> Resumed:
        """Hand out again what is not answered, for a router or an integrator that was restarted."""
        self.counts["resumed"] += 1
        asked = [entry for entry in self._open.values() if entry.state is _State.ASKED]
        for entry in asked:
            self._guarded(self._send, entry)
        return Resumed(prompts=len(asked))

    async def _forget(self, forgotten: Forgotten, _: str) -> Redacted:
        """Keep nothing of prompts but their ids: whoever asks one again learns that it was forgotten."""
        # What has no answer yet will be written down once more; the memory asks again.
        done = await self._writer.redact([each for each in forgotten.prompt_ids if each not in self._open])
        for each in done:
            known = self._recent.pop(each, None)
            if known is not None:
                self._recent_bytes -= len(known.payload)
                self._remember(each, Encoded(Answer, encode(forgotten_answer(each))))
        self.counts["forgotten"] += len(done)
        return Redacted(prompt_ids=done)

    # -- answering ---------------------------------------------------------------------------------------------------

    def _conclude(self, answer: Answer) -> None:
        """Take the integrator's answer; the first one counts."""
        entry = self._open.get(answer.prompt_id)
        if entry is None or entry.state is _State.ANSWERING:
            return
        self._admission.answered()
        now = time.monotonic()
        answer.latency_ms = (now - entry.arrived) * 1000
        answer.latency["total"] = answer.latency_ms
        if entry.state is _State.ASKED:
            answer.latency |= {
                "journal": (entry.accepted - entry.arrived) * 1000,
                "queue": (entry.asked - entry.accepted) * 1000,
                "brain": (now - entry.asked) * 1000,
            }
        self._answer(entry, answer)

    def _at_deadline(self, entry: _Open) -> None:
        if entry.state is _State.ASKED:
            assert entry.timer is not None
            entry.timer = asyncio.get_running_loop().call_later(_GRACE_S, self._guarded, self._after_grace, entry)
        elif entry.state is not _State.ANSWERING:
            reason = f"the brain was busy: its turn did not come within {entry.prompt.deadline_ms} ms"
            self._answer_error(entry, "deadline", reason)

    def _after_grace(self, entry: _Open) -> None:
        if entry.state is not _State.ASKED:
            return
        unavailable = self._unavailable()
        if unavailable is not None:
            self._answer_error(entry, unavailable.code, unavailable.reason)
            return
        reason = f"no answer within {entry.prompt.deadline_ms} ms: the integrator has not concluded anything"
        self._answer_error(entry, "deadline", reason)

    async def _watch_availability(self) -> None:
        while True:
            await asyncio.sleep(_AVAILABILITY_INTERVAL_S)
            self._guarded(self._check_availability)

    def _check_availability(self) -> None:
        """Answer at once what cannot be answered before its deadline, because a part of the brain is away."""
        unavailable = self._away = self._unavailable()
        if unavailable is None:
            return
        back = time.monotonic() + unavailable.retry_after_s
        for entry in list(self._open.values()):
            if entry.deadline < back and entry.state in (_State.WAITING, _State.ASKED):
                self._guarded(self._answer_error, entry, unavailable.code, unavailable.reason)

    def _answer_error(self, entry: _Open, code: ErrorCode, reason: str) -> None:
        answer = error_answer(entry.prompt, code, reason)
        answer.latency_ms = (time.monotonic() - entry.arrived) * 1000
        self._answer(entry, answer)

    def _answer(self, entry: _Open, answer: Answer) -> None:
        """Give a prompt its one answer: written down first, so that no successor gives another."""
        if entry.state is _State.ASKED:
            self._asked -= 1
        entry.state = _State.ANSWERING
        if entry.timer is not None:
            entry.timer.cancel()
        encoded = self._encode(answer, entry.prompt)
        written = Written(answer.prompt_id, encoded.payload if not encoded.as_json else encode(answer, decoded=True))
        self.counts["answers" if answer.error is None else "error_answers"] += 1
        exchange = Exchange(
            prompt_id=answer.prompt_id,
            prompt=entry.prompt.text if entry.prompt.remember else "",
            text=answer.text if entry.prompt.remember else "",
            session_id=entry.prompt.session_id,
            contributing=answer.contributing,
            confidence=answer.confidence,
            failed=answer.error is not None,
        )
        self._writer.answer(written, lambda _: self._answered(entry, encoded, exchange))
        self._hand_out()

    def _encode(self, answer: Answer, prompt: Prompt) -> Encoded:
        as_json = prompt.reply_as == "json"
        try:
            return Encoded(Answer, encode(answer, as_json=as_json, decoded=True), as_json)
        except WireError as error:  # content of a region that JSON cannot express, say
            log.error("an answer cannot be written", prompt_id=answer.prompt_id, error=describe(error))
            failed = error_answer(prompt, "internal", f"the answer cannot be written: {describe(error)}")
            return Encoded(Answer, encode(failed, as_json=as_json), as_json)

    def _in_form_of(self, answer: Encoded, prompt: Prompt) -> Encoded:
        """Return a known answer in the form in which a prompt wants it, msgpack or JSON."""
        if answer.as_json == (prompt.reply_as == "json"):
            return answer
        return self._encode(decode(Answer, answer.payload, answer.wire_encoding()), prompt)

    def _answered(self, entry: _Open, answer: Encoded, exchange: Exchange) -> None:
        if self._open.get(entry.prompt.prompt_id) is not entry:
            return
        self._close_entry(entry)
        self._remember(entry.prompt.prompt_id, answer)
        self._publish(answer, entry.replies)
        self._news.add(exchange)

    def _close_entry(self, entry: _Open) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
        entry.state = _State.ANSWERING
        if self._open.pop(entry.prompt.prompt_id, None) is not None:
            self._open_bytes -= entry.size

    def _remember(self, prompt_id: str, answer: Encoded) -> None:
        self._recent[prompt_id] = answer
        self._recent_bytes += len(answer.payload)
        while len(self._recent) > _RECENT or self._recent_bytes > _RECENT_BYTES:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1].payload)

    def _publish(self, answer: Encoded, replies: list[asyncio.Future[Encoded]]) -> None:
        """Publish an answer, and hand it to every query that waits for it."""
        self._bus.publish(key("result"), answer)
        for reply in replies:
            if not reply.done():
                reply.set_result(answer)

    async def _close(self) -> None:
        for entry in list(self._open.values()):
            if entry.state is not _State.ANSWERING:
                self._guarded(self._answer_error, entry, "stopping", "the brain was stopped before it had answered")
        await self._writer.close()
        self._news.send()


def _size(prompt: Prompt) -> int:
    """Return roughly how many bytes a prompt holds."""
    attached = len(prompt.image or b"") + len(prompt.audio or b"") + sum(map(len, prompt.arrays.values()))
    return 512 + len(prompt.text) + attached

"""The account of every prompt that was sent: what came back, how often, when, and what did not."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from pydantic import BaseModel, Field

from brainnet.rows import percentile

Channel = Literal["json", "msgpack", "text", "get"]
"""How a prompt is sent: as a publication in one of three formats, or as a query with a JSON payload."""
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)
LOST_AFTER_S: Final = 2.0
"""Seconds after its deadline at which a prompt without an answer is lost."""
REFUSED: Final = frozenset({"busy", "stopping"})
"""Codes with which a brain turns a prompt away before any work."""
EXPIRED: Final = frozenset({"deadline", "no_answer", "no_decision"})
"""Codes of answers that say that the time was over."""


@dataclass(slots=True)
class Outcome:
    """One thing that came back for a prompt: when, and with which error, if any."""

    at_s: float
    code: str | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it is an answer with a result."""
        return self.error is None and self.code is None


@dataclass(slots=True)
class Sent:
    """One prompt that was sent.

    Attributes:
        prompt_id: Its id; empty for plain text, which has none.
        text: What was asked.
        channel: How it was sent.
        phase: What was going on.
        kind: The kind of prompt.
        sent_s: `time.monotonic()` at which it was sent.
        deadline_s: `time.monotonic()` at which the brain has to answer.
        answers: What was published about it.
        replies: What a query returned.
        settled: Done at its first outcome, where somebody waits for it.
    """

    prompt_id: str
    text: str
    channel: Channel
    phase: str
    kind: str
    sent_s: float
    deadline_s: float
    answers: list[Outcome] = field(default_factory=list)
    replies: list[Outcome] = field(default_factory=list)
    settled: asyncio.Future[Outcome] | None = None

    @property
    def outcomes(self) -> list[Outcome]:
        """What counts for its sender: the replies of a query, else what was published."""
        return self.replies if self.channel == "get" else self.answers

    @property
    def first(self) -> Outcome | None:
        """The first outcome that came in time."""
        limit = self.deadline_s + LOST_AFTER_S
        return next((outcome for outcome in self.outcomes if outcome.at_s <= limit), None)

    def is_open(self, now_s: float) -> bool:
        """Return whether an answer may still come in time."""
        return self.first is None and now_s <= self.deadline_s + LOST_AFTER_S

    @property
    def duplicated(self) -> bool:
        """Whether it was answered more than once."""
        return len(self.answers) > 1 or len(self.replies) > 1


class Percentiles(BaseModel):
    """Percentiles of some values; None where there are no values."""

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, values: Iterable[float]) -> Percentiles:
        """Compute them."""
        found = list(values)
        if not found:
            return cls()
        p50, p95, p99 = (round(percentile(found, percent), 6) for percent in (50, 95, 99))
        return cls(count=len(found), p50=p50, p95=p95, p99=p99)


class Tally(BaseModel):
    """What became of some prompts."""

    sent: int = 0
    answered: int = Field(0, description="with a result")
    refused: int = Field(0, description="turned away before any work")
    failed: int = Field(0, description="answered with another error")
    lost: int = Field(0, description="no answer until 2 s after the deadline")
    open: int = Field(0, description="not answered yet when the measurement was ended early")
    late: int = Field(0, description="of those lost: answered after that")
    duplicated: int = Field(0, description="answered more than once")
    error_percent: float = Field(0.0, description="share of failed among those sent")
    errors: dict[str, int] = Field(default_factory=dict, description="refused and failed, by code")
    latency_ms: Percentiles = Percentiles()


class LostPrompt(BaseModel):
    """One prompt that was lost or answered more than once, to look for it in the logs.

    Attributes:
        prompt_id: Its id; empty for plain text.
        text: What was asked.
        channel: How it was sent.
        phase: What was going on.
        after_s: Seconds from the first prompt of the run until it was sent.
        answers_ms: When what was published about it came, from its sending.
        replies_ms: When the replies to it came.
    """

    prompt_id: str
    text: str
    channel: Channel
    phase: str
    after_s: float
    answers_ms: list[float]
    replies_ms: list[float]


class Ledger:
    """Every prompt that was sent, and what came back."""

    def __init__(self) -> None:
        self.entries: list[Sent] = []
        self.unmatched = 0
        self._pending: list[Sent] = []
        self._by_id: dict[str, Sent] = {}
        self._by_text: dict[str, Sent] = {}

    def add(self, sent: Sent) -> Sent:
        """Take up a prompt, before it is sent. May be called on any thread."""
        if sent.prompt_id:
            self._by_id[sent.prompt_id] = sent
        else:
            self._by_text[sent.text] = sent
        self.entries.append(sent)
        self._pending.append(sent)
        return sent

    def answer(self, prompt_id: str, text: str, outcome: Outcome) -> None:
        """Enter an answer that was published.

        Args:
            prompt_id: The id in the answer.
            text: What the answer says was asked; by it a prompt in plain text is recognised, which had no id.
            outcome: What it says.
        """
        sent = self._by_id.get(prompt_id) or self._by_text.get(text)
        if sent is None:
            self.unmatched += 1
            return
        sent.answers.append(outcome)
        self._settle(sent)

    def reply(self, sent: Sent, outcome: Outcome) -> None:
        """Enter what a query returned."""
        sent.replies.append(outcome)
        self._settle(sent)

    @staticmethod
    def _settle(sent: Sent) -> None:
        if sent.settled is not None and not sent.settled.done() and sent.outcomes:
            sent.settled.set_result(sent.outcomes[0])

    def open_until(self, now_s: float) -> float | None:
        """Return the `time.monotonic()` after which no prompt is open any more; None when none is open now."""
        # What is not open now never will be, so each entry is looked at a few times only, however many there are.
        looked_at = len(self._pending)
        still = [sent for sent in self._pending[:looked_at] if sent.is_open(now_s)]
        self._pending[:looked_at] = still  # another thread may have added entries meanwhile
        return max((sent.deadline_s + LOST_AFTER_S for sent in still), default=None)

    def tally(self, now_s: float, *, phase: str | None = None, channel: str | None = None) -> Tally:
        """Count what became of the prompts of a phase or channel, or of all."""
        return tally(
            (
                sent
                for sent in list(self.entries)
                if (phase is None or sent.phase == phase) and (channel is None or sent.channel == channel)
            ),
            now_s,
        )

    def wrong(self, now_s: float, limit: int = 20) -> list[LostPrompt]:
        """Return the first prompts that were lost, or answered more than once."""
        entries = list(self.entries)
        return [
            LostPrompt(
                prompt_id=sent.prompt_id,
                text=sent.text[:200],
                channel=sent.channel,
                phase=sent.phase,
                after_s=round(sent.sent_s - entries[0].sent_s, 3),
                answers_ms=[round((outcome.at_s - sent.sent_s) * 1000, 1) for outcome in sent.answers],
                replies_ms=[round((outcome.at_s - sent.sent_s) * 1000, 1) for outcome in sent.replies],
            )
            for sent in entries
            if sent.duplicated or (sent.first is None and not sent.is_open(now_s))
        ][:limit]

    def error_texts(self, limit: int = 3) -> dict[str, dict[str, int]]:
        """Return the texts of the errors by code, the most frequent ones of each."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for sent in list(self.entries):
            if sent.first is not None and not sent.first.ok:
                found[sent.first.code or ""][sent.first.error or ""] += 1
        return {code: dict(texts.most_common(limit)) for code, texts in sorted(found.items())}


def tally(entries: Iterable[Sent], now_s: float) -> Tally:
    """Count what became of some prompts.

    Args:
        entries: The prompts.
        now_s: `time.monotonic()` up to which something could come back.
    """
    result = Tally()
    errors: Counter[str] = Counter()
    latencies = []
    for sent in entries:
        result.sent += 1
        result.duplicated += sent.duplicated
        first = sent.first
        if first is None:
            if sent.is_open(now_s):
                result.open += 1
            else:
                result.lost += 1
                result.late += bool(sent.outcomes)
            continue
        if first.ok:
            result.answered += 1
            latencies.append((first.at_s - sent.sent_s) * 1000)
            continue
        errors[first.code or "unknown"] += 1
        if first.code in REFUSED:
            result.refused += 1
        else:
            result.failed += 1
    result.errors = dict(sorted(errors.items()))
    result.error_percent = round(100 * result.failed / result.sent, 3) if result.sent else 0.0
    result.latency_ms = Percentiles.of(latencies)
    return result

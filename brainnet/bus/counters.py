"""Counters of what one session sent and received, by key, with every drop and gap."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Literal

from brainnet.bus.mailbox import Mailbox
from brainnet.wire.messages import TopicCount

_RATE_WINDOW_S = 5.0
"""Span of a rate: long enough for a topic that is published once a second, short enough to follow a change."""
_MAX_KEYS = 4096
"""Keys are chosen by senders, so the table of them is bounded."""


@dataclass(slots=True)
class Count:
    """Running totals of one key and direction."""

    count: int = 0
    bytes: int = 0
    dropped: int = 0
    lost: int = 0
    malformed: int = 0


class Counters:
    """All counts of one session, and their rates over the last seconds."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Literal["out", "in"]], Count] = {}
        self._mailboxes: list[tuple[str, Mailbox[Any]]] = []
        self._snapshots: list[tuple[float, dict[tuple[str, str], tuple[int, int]]]] = [(time.monotonic(), {})]
        # The threads of subscriptions add keys while others read. A copy needs the lock too: making the pairs of
        # `items` can start a collection of garbage, and what that runs can let another thread in.
        self._adding = threading.Lock()

    def of(self, key: str, direction: Literal["out", "in"]) -> Count:
        """Return the counters of one key; keys beyond `_MAX_KEYS` share one entry."""
        count = self._counts.get((key, direction))
        if count is None:
            with self._adding:
                name = key if len(self._counts) < _MAX_KEYS else "(more)"
                count = self._counts.setdefault((name, direction), Count())
        return count

    def watch(self, expression: str, mailbox: Mailbox[Any]) -> None:
        """Report the drops of a subscription's mailbox under its key expression."""
        self._mailboxes.append((expression, mailbox))

    def unwatch(self, mailbox: Mailbox[Any]) -> None:
        """Stop reporting a subscription; the drops of its mailbox stay counted under its key expression."""
        for expression, watched in self._mailboxes:
            if watched is mailbox:
                self.of(expression, "in").dropped += mailbox.statistics().dropped
        self._mailboxes = [(e, watched) for e, watched in self._mailboxes if watched is not mailbox]

    @property
    def queued(self) -> int:
        """Messages that wait in mailboxes now."""
        return sum(mailbox.statistics().waiting for _, mailbox in self._mailboxes)

    def snapshot(self) -> list[TopicCount]:
        """Return totals since the start and rates over the last seconds."""
        now = time.monotonic()
        then, before = self._snapshots[0]
        span = max(now - then, 1e-3)
        with self._adding:
            counts = list(self._counts.items())
        totals = {key: (c.count, c.bytes) for key, c in counts}
        # Rates are differences to the oldest of a few stored totals. At most one is stored a second, so that many
        # readers do not shorten the window.
        if now - self._snapshots[-1][0] >= 1.0:
            self._snapshots.append((now, totals))  # type: ignore[arg-type]
            while now - self._snapshots[0][0] > _RATE_WINDOW_S and len(self._snapshots) > 1:
                self._snapshots.pop(0)
        rows = []
        for (key, direction), c in counts:
            count0, bytes0 = before.get((key, direction), (0, 0))
            rows.append(
                TopicCount(
                    key=key,
                    direction=direction,
                    count=c.count,
                    bytes=c.bytes,
                    rate_hz=(c.count - count0) / span,
                    bytes_per_s=(c.bytes - bytes0) / span,
                    dropped=c.dropped,
                    lost=c.lost,
                    malformed=c.malformed,
                )
            )
        by_key = {row.key: row for row in rows if row.direction == "in"}
        for expression, mailbox in self._mailboxes:
            row = by_key.get(expression)
            if row is None:  # a subscription with wildcards has no count of its own, but is shown
                row = by_key[expression] = TopicCount(key=expression, direction="in")
                rows.append(row)
            row.dropped += mailbox.statistics().dropped
        return rows

"""Receives the messages on a key for a time or up to a number, and counts lost messages."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from brainnet.bus import Bus, Mailbox, Sample, SequenceTracker
from brainnet.observe import keys, reading
from brainnet.wire.topics import Contract

CAPACITY: Final = 65_536
"""Messages that wait at a listener before the next is dropped and counted: about a second of the fastest stream, while
the output blocks."""
MAX_KEYS: Final = 4096
"""Keys whose numbering is followed. Keys are chosen by senders, so the table of them is bounded."""
QUIET_S: Final = 3.0
"""Seconds without a message after which `on_quiet` is called: longer than the period of every periodic topic."""


@dataclass
class Losses:
    """Counts of the messages that a listener received and missed.

    Attributes:
        seen: Messages received.
        missing: Messages missing in the senders' sequence numbers.
        dropped: Of those, the messages that this listener's full mailbox dropped.
    """

    seen: int = 0
    missing: int = 0
    dropped: int = 0
    _sequences: dict[str, SequenceTracker] = field(default_factory=dict)

    def count(self, sample: Sample, namespace: str, contract: Contract | None = None) -> None:
        """Count one message and the missing ones before it."""
        self.seen += 1
        stamp = reading.stamp_of(sample, namespace, contract)
        if stamp is not None:
            tracker = self._sequences.get(sample.key)
            if tracker is None:
                if len(self._sequences) >= MAX_KEYS:
                    return
                tracker = self._sequences[sample.key] = SequenceTracker()
            self.missing += tracker.missing(stamp.source, stamp.seq)

    def __str__(self) -> str:
        return (
            f"{self.seen} messages seen, {self.missing} missing in the senders' numbering "
            f"({self.dropped} of all refused by this listener's full mailbox)"
        )


async def listen(
    bus: Bus,
    key: str,
    handle: Callable[[Sample], None],
    *,
    losses: Losses | None = None,
    count: int | None = None,
    duration: float | None = None,
    every: float | None = None,
    on_tick: Callable[[], None] | None = None,
    on_quiet: Callable[[], None] | None = None,
) -> Losses:
    """Call `handle` with every message on a key until a limit is reached, or until cancelled.

    Args:
        bus: A connection to the brain.
        key: A key expression; relative to the namespace where `keys.resolve` says so.
        handle: Called with each message, on the event loop.
        losses: Where to count; a new `Losses` by default. It is complete also after an exception.
        count: Messages after which to end.
        duration: Seconds after which to end.
        every: Seconds between calls of `on_tick`.
        on_tick: Called every `every` seconds.
        on_quiet: Called once when no message came within `QUIET_S` seconds.

    Returns:
        The counts of received and lost messages.

    Raises:
        TopicError: `key` is not a key expression.
        Exception: Whatever a function raised that was passed in; it ends the listening.
    """
    expression = keys.resolve(key, bus.namespace, bus.contract)
    losses = Losses() if losses is None else losses
    ends = None if duration is None else time.monotonic() + duration
    mailbox = bus.subscribe_raw(expression, capacity=CAPACITY)
    try:
        async with asyncio.TaskGroup() as group:  # also an exception of `on_tick` and `on_quiet` ends the listening
            tasks = [group.create_task(_report_quiet(mailbox, on_quiet))] if on_quiet else []
            if every and on_tick:
                tasks.append(group.create_task(_tick(every, on_tick)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if ends is None else max(0.0, ends - time.monotonic())):
                    async for sample in mailbox:
                        losses.count(sample, bus.namespace, bus.contract)
                        handle(sample)
                        if losses.seen == count:
                            break
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    finally:
        losses.dropped = mailbox.statistics().dropped
        bus.unsubscribe(mailbox)
    return losses


async def _tick(every: float, on_tick: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(every)
        on_tick()


async def _report_quiet(mailbox: Mailbox[Sample], on_quiet: Callable[[], None]) -> None:
    await asyncio.sleep(QUIET_S)
    if mailbox.statistics().received == 0:
        on_quiet()

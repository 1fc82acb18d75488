"""The loop behind every verb that listens: how long, how many, and what was lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import typer

from brainnet.bus import Gaps, Mailbox, Sample
from brainnet.cli import common
from brainnet.cli.topic import keys, reading
from brainnet.settings import Settings

CAPACITY: Final = 65_536
_QUIET_S: Final = 3.0


@dataclass
class Losses:
    """What this listener saw and what it did not."""

    seen: int = 0
    missing: int = 0
    dropped: int = 0
    _gaps: dict[str, Gaps] = field(default_factory=dict)

    def note(self, sample: Sample, namespace: str) -> None:
        """Count one message and what is missing before it."""
        self.seen += 1
        stamp = reading.stamp_of(sample, namespace)
        if stamp is not None:
            self.missing += self._gaps.setdefault(sample.key, Gaps()).missing(stamp.source, stamp.seq)

    def __str__(self) -> str:
        return (
            f"{self.seen} messages seen, {self.missing} missing in the senders' numbering "
            f"({self.dropped} of all refused by this listener's full mailbox)"
        )


async def listen(
    settings: Settings,
    key: str,
    handle: Callable[[Sample], None],
    *,
    count: int | None = None,
    duration: float | None = None,
    every: float | None = None,
    tick: Callable[[], None] | None = None,
) -> Losses:
    """Hand every message on ``key`` to ``handle`` until ``count`` or ``duration`` is reached, or Ctrl-C.

    ``tick`` is called every ``every`` seconds. However it ends, the losses are said on stderr.
    """
    expression = keys.resolve(key, settings.namespace)
    losses = Losses()
    ends = None if duration is None else time.monotonic() + duration
    async with await common.connect(settings) as bus:
        mailbox = bus.subscribe_raw(expression, capacity=CAPACITY)
        ticker = asyncio.create_task(_tick(every, tick)) if every and tick else None
        quiet = asyncio.create_task(_say_when_quiet(mailbox, key))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if ends is None else max(0.0, ends - time.monotonic())):
                    async for sample in mailbox:
                        losses.note(sample, settings.namespace)
                        handle(sample)
                        if losses.seen == count:
                            break
        finally:
            for task in (ticker, quiet):
                if task is not None:
                    task.cancel()
            losses.dropped = mailbox.statistics().dropped
            common.note(str(losses))
    return losses


def check_count(losses: Losses, count: int | None) -> None:
    """Exit with status 1 when fewer messages came than were asked for."""
    if count is not None and losses.seen < count:
        raise typer.Exit(1)


async def _tick(every: float, tick: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(every)
        tick()


async def _say_when_quiet(mailbox: Mailbox[Sample], key: str) -> None:
    await asyncio.sleep(_QUIET_S)
    if mailbox.statistics().received == 0:
        common.note(f"nothing on {key} yet; `brainnet topic info {key}` shows who publishes there")

"""Shared by the verbs that subscribe: they report losses, and fail when fewer messages came than `--count`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import typer

from brainnet.bus import Sample
from brainnet.cli import output
from brainnet.cli.topic import connection
from brainnet.observe import keys, listening
from brainnet.settings import Settings
from brainnet.wire.topics import Contract


class Listener(Protocol):
    """Takes samples; it has the contract of the brain before the first one comes."""

    contract: Contract | None

    def take(self, sample: Sample) -> None:
        """Take one sample."""


async def listen(
    settings: Settings,
    key: str,
    listener: Listener,
    *,
    topics: list[Path] | None = None,
    count: int | None = None,
    duration: float | None = None,
    every: float | None = None,
    on_tick: Callable[[], None] | None = None,
) -> listening.Losses:
    """Run `brainnet.observe.listening.listen` on the brain of the settings; report the losses also after an error."""

    def quiet() -> None:
        output.note(f"nothing on {key} yet; `brainnet topic info {key}` shows who publishes there")

    keys.resolve(key, settings.namespace)  # raises before a connection is opened
    losses = listening.Losses()
    async with await connection.connect(settings, topics) as bus:
        listener.contract = bus.contract
        try:
            await listening.listen(
                bus,
                key,
                listener.take,
                losses=losses,
                count=count,
                duration=duration,
                every=every,
                on_tick=on_tick,
                on_quiet=quiet,
            )
        finally:
            output.note(str(losses))
    return losses


def check_count(losses: listening.Losses, count: int | None) -> None:
    """Exit with status 1 when fewer than `count` messages came."""
    if count is not None and losses.seen < count:
        raise typer.Exit(1)

"""Shared by the verbs that subscribe: they report losses, and fail when fewer messages came than `--count`."""

from __future__ import annotations

from collections.abc import Callable

import typer

from brainnet.bus import Sample
from brainnet.cli import common, output
from brainnet.observe import keys, listening
from brainnet.settings import Settings


async def listen(
    settings: Settings,
    key: str,
    handle: Callable[[Sample], None],
    *,
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
    async with await common.connect(settings) as bus:
        try:
            await listening.listen(
                bus,
                key,
                handle,
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

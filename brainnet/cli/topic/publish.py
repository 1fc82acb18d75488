"""`brainnet topic pub`: publish on any key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainnet.cli import common, output
from brainnet.cli.topic.options import TopicsOption

if TYPE_CHECKING:
    from brainnet.cli.topic.writing import Writer
    from brainnet.settings import Settings
    from brainnet.wire.topics import Contract


@common.takes_brain()
def pub(
    brain: common.BrainOptions,
    key: Annotated[str, typer.Argument(help="Key, without wildcards.")],
    data: Annotated[
        str | None,
        typer.Argument(
            help="YAML or JSON for a topic of the contract, text for a foreign key, or @FILE: of YAML or JSON, an "
            "array [neurons, steps] (.npz, .npy) for a SpikePacket, any array, picture or sound for a sensor."
        ),
    ] = None,
    random: Annotated[
        str | None,
        typer.Option("--random", metavar="NEURONSxSTEPS@DENSITY", help="Send random spikes, fresh each time."),
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", "-r", min=1e-3, max=1e6, help="Messages per second.")] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="How many; 1 by default, endless with --rate.")
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0.0, max=3600.0, help="Seconds to wait for a subscriber before sending.")
    ] = (1.0),
    require_match: Annotated[
        bool, typer.Option("--require-match", help="Fail, and send nothing, when nobody subscribes in time.")
    ] = False,
    topics: TopicsOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Publish on a key: a typed message by its fields, a SpikePacket by its data, or bytes on a foreign key.

    Example: brainnet topic pub spikes/ear/v1 '{data: [[0, 1], [1, 0]], modality: sound}' --rate 10 --count 50

    Example: brainnet topic pub input/camera/front @picture.png --rate 15

    Example: brainnet topic pub spikes/eye/v1 @spikes.npz
    """
    from brainnet.cli.topic import writing
    from brainnet.observe import keys

    settings = brain.settings()
    full = keys.resolve(key, settings.namespace)
    is_known = keys.topic_of(full, settings.namespace) is not None

    def make(contract: Contract | None) -> Writer:
        return writing.writer(key, settings.namespace, data, random, contract)

    if is_known:
        make(None)  # raises before a connection is opened; a topic of the brain's own is known only after that
    number = count if count is not None else (None if rate is not None else 1)
    key, sent = common.run_async(_publish(settings, make, topics, rate, number, wait, require_match))
    if as_json:
        output.print_json({"key": key, "sent": sent})


async def _publish(
    settings: Settings,
    make: Callable[[Contract | None], Writer],
    topics: list[Path] | None,
    rate: float | None,
    count: int | None,
    wait: float,
    require_match: bool,
) -> tuple[str, int]:
    import asyncio
    import threading

    from brainnet.cli.topic import connection
    from brainnet.errors import TopicError

    async with await connection.connect(settings, topics) as bus:
        writer = make(bus.contract)
        publisher = bus.declare_publisher_raw(writer.full_key, writer.qos)
        if not await bus.wait_publisher(publisher, wait):
            silence = f"nobody subscribed to {writer.full_key} within {wait:g} s{writer.hint}"
            if require_match:
                raise TopicError(f"{silence}; nothing was sent")
            output.note(silence)
        stop = threading.Event()
        sending = asyncio.create_task(asyncio.to_thread(writer.send, publisher, bus.source, count, rate, stop))
        try:
            # Shielded: a thread cannot be cancelled, so after Ctrl-C it is stopped below and its count is reported.
            return writer.full_key, await asyncio.shield(sending)
        finally:
            stop.set()
            output.note(f"{await sending} messages sent on {writer.full_key}")

"""Calls the handler of a subscription with the messages that wait in its mailbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from brainnet.bus import Mailbox, Received
from brainnet.guard import ends_task
from brainnet.node.handlers import Handler


async def handle_messages(
    mailbox: Mailbox[Received],
    handler: Handler,
    call: Callable[..., Awaitable[Any]],
    ended: Callable[[BaseException | None], None],
) -> NoReturn:
    """Call a handler for every message, or every batch, in order, until this task is cancelled.

    Args:
        mailbox: The messages.
        handler: How many messages one call gets, and whether it gets their keys.
        call: Runs the handler.
        ended: Called after every call, with what it raised.
    """
    while True:  # one call at a time, so that messages are handled in order
        batch = await mailbox.get_batch(max(1, handler.batch))
        if handler.gather_s and len(batch) < handler.batch:
            await asyncio.sleep(handler.gather_s)
            while len(batch) < handler.batch and (further := mailbox.get_nowait()) is not None:
                batch.append(further)
        try:
            await call(*_arguments(handler, batch))
        except BaseException as error:
            if ends_task(error):
                raise
            ended(error)
        else:
            ended(None)


def _arguments(handler: Handler, batch: list[Received]) -> tuple[Any, ...]:
    if not handler.batch:
        (received,) = batch
        return (received.message, received.key) if handler.wants_key else (received.message,)
    messages = [received.message for received in batch]
    return (messages, [received.key for received in batch]) if handler.wants_key else (messages,)

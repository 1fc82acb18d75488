"""Liveliness tokens: which ones the network has now, and when one appears or disappears."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from brainnet.bus.mailbox import Mailbox
from brainnet.bus.transport import Handle, Sample, Transport


def watch(
    transport: Transport, prefix: str, expression: str, *, loop: asyncio.AbstractEventLoop
) -> tuple[Mailbox[Sample], Handle]:
    """Receive the tokens of an expression as they appear and disappear, existing ones first.

    Guarantees: the events of one token alternate, and the first one says that it is there.

    Args:
        transport: The session.
        prefix: The namespace with its slash, which is cut off every key.
        expression: A key expression relative to the namespace.
        loop: The event loop on which the mailbox is read.

    Returns:
        The mailbox, and what ends the subscription.
    """

    def read(sample: Sample) -> Sample:
        sample.key = sample.key[len(prefix) :]
        return sample

    mailbox: Mailbox[Sample] = Mailbox(read, capacity=4096, loop=loop)
    known: set[str] = set()
    lock = threading.Lock()  # events come on several threads of the transport

    def deliver(sample: Sample) -> None:
        # Zenoh delivers a token twice when it appears while the existing ones are asked for.
        with lock:
            if sample.alive == (sample.key in known):
                return
            (known.add if sample.alive else known.discard)(sample.key)
            mailbox.offer(sample)

    return mailbox, transport.watch_alive(prefix + expression, deliver)


async def present(
    transport: Transport, prefix: str, expression: str, timeout: float, call_soon: Callable[..., None]
) -> list[str]:
    """Return the tokens of an expression that exist now, as sorted keys relative to the namespace.

    Args:
        transport: The session.
        prefix: The namespace with its slash, which is cut off every key.
        expression: A key expression relative to the namespace.
        timeout: Seconds to wait for the tokens; without a reply there are none.
        call_soon: Runs a function on the event loop, from any thread.
    """
    tokens: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    def resolve(found: list[str]) -> None:
        if not tokens.done():  # done when it was cancelled by the timeout below
            tokens.set_result(found)

    transport.list_alive(prefix + expression, timeout, lambda found: call_soon(resolve, found))
    try:
        async with asyncio.timeout(timeout + 0.5):  # Zenoh reports at its own timeout, half a second is spare
            return sorted(token[len(prefix) :] for token in await tokens)
    except TimeoutError:
        return []

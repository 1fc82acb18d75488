"""What tests of queries share: asking a server whose declaration is on its way, and a server that never answers."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from brainnet.bus import Bus
from brainnet.errors import CallTimeout
from brainnet.testing import PATIENCE_S
from brainnet.wire.messages import Message


async def served(asker: Bus, key: str, request: Message) -> object:
    """Ask until the server is known to the asker; a refusal is an answer, too."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await asker.call(key, request, timeout=1.0)
            except CallTimeout:
                await asyncio.sleep(0.01)


class NeverAnswers:
    """A handler that never answers.

    Attributes:
        asked: Set when a query has reached it.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def __call__(self, request: Message, key: str) -> NoReturn:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError

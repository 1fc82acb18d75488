"""Asking a server whose declaration is on its way to the asker."""

from __future__ import annotations

import asyncio

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

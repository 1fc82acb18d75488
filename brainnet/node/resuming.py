"""What a router or an integrator does when it has started: ask for the prompts that its predecessor left open."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from brainnet.errors import BrainnetError
from brainnet.node.node import Node
from brainnet.wire.keys import key
from brainnet.wire.messages import Resumed, ResumeQuery

_TRIES: Final = 5
_TIMEOUT_S: Final = 1.0


async def resume(node: Node) -> int:
    """Make the broker hand out again, on topic `accepted`, every prompt that has no answer yet.

    A broker that does not reply in time is asked again for as long as it takes: its machine is busy, and what it holds
    must not be left lying.

    Returns:
        How many there are; 0 when there is no broker, or when it refuses, which is logged.
    """
    refused = 0
    while True:
        asked = time.monotonic()
        try:
            reply: Resumed = await node.call(key("resume"), ResumeQuery(), timeout=_TIMEOUT_S)
        except BrainnetError as error:
            if time.monotonic() - asked < _TIMEOUT_S:  # or the session does not know the broker's queryable yet
                refused += 1
            if refused == _TRIES:
                node.report_error("resume", error)
                return 0
            await asyncio.sleep(0.1 * max(1, refused))
        else:
            return reply.prompts

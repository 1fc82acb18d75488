"""What a router or an integrator does when it has started: ask for the prompts that its predecessor left open."""

from __future__ import annotations

import asyncio
from typing import Final

from brainnet.errors import BrainnetError
from brainnet.node.node import Node
from brainnet.wire.keys import key
from brainnet.wire.messages import Resumed, ResumeQuery

_TRIES: Final = 5


async def resume(node: Node) -> int:
    """Make the broker hand out again, on topic `accepted`, every prompt that has no answer yet.

    Returns:
        How many there are; 0 when no broker replied, which is logged.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            reply: Resumed = await node.call(key("resume"), ResumeQuery(), timeout=1.0)
        except BrainnetError as error:  # the session may not know the broker's queryable yet
            if attempt == _TRIES:
                node.report_error("resume", error)
            await asyncio.sleep(0.1 * attempt)
        else:
            return reply.prompts
    return 0

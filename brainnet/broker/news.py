"""What the broker tells the nodes about answered prompts."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from brainnet.bus import Bus
from brainnet.guard import describe, ends_task
from brainnet.wire.keys import key
from brainnet.wire.messages import Answered, Exchange

log = structlog.get_logger("brainnet.broker")

_GATHER_S: Final = 0.05
"""Seconds for which news of answered prompts are gathered for the nodes: none waits for them, and a message for each
prompt would cost every process that takes it more than the news are worth."""
_AT_MOST: Final = 64
_CHARACTERS: Final = 1 << 18
"""Characters of prompts and answers after which nothing more is gathered."""


class News:
    """Gathers the prompts that were answered in a moment, and publishes them together.

    Nothing that it raises reaches its caller: the answers themselves must not depend on news of them.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._gathered: list[Exchange] = []
        self._characters = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, exchange: Exchange) -> None:
        """Take a prompt in, which goes out soon, with others of the same moment."""
        self._gathered.append(exchange)
        self._characters += len(exchange.prompt) + len(exchange.text)
        if len(self._gathered) >= _AT_MOST or self._characters >= _CHARACTERS:
            self.send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_S, self.send)

    def send(self) -> None:
        """Publish what is gathered now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered, self._gathered, self._characters = self._gathered, [], 0
        if not gathered:
            return
        try:
            self._bus.publish(key("answered"), Answered(exchanges=gathered))
        except BaseException as error:
            if ends_task(error):
                raise
            log.error("the nodes could not be told what was answered", error=describe(error))

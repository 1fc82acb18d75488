"""What the regions that are alive say of themselves: what they do, and prompts that they were made for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from brainnet.bus import Bus
from brainnet.errors import BrainnetError
from brainnet.wire.keys import chunk, key
from brainnet.wire.messages import Health, StatusQuery

_REPLY_S = 2.0
"""Seconds in which a node replies; it is asked again as long as it lives."""


class LiveRegions:
    """Asks each region once, when it appears, and forgets it when it goes. Not thread-safe.

    Args:
        control: A bus whose role may ask nodes.

    Attributes:
        version: Counts the changes.
    """

    def __init__(self, control: Bus) -> None:
        self.version = 0
        self._control = control
        self._regions: dict[str, Health] = {}
        self._alive: set[str] = set()

    def __iter__(self) -> Iterator[Health]:
        return iter([self._regions[name] for name in sorted(self._regions)])

    def __contains__(self, name: str) -> bool:
        return name in self._regions

    def get(self, name: str) -> Health | None:
        """Return what a region that is alive said of itself."""
        return self._regions.get(name)

    async def follow(self) -> None:
        """Follow who is alive, until it is cancelled."""
        async with asyncio.TaskGroup() as asking:
            async for token in self._control.watch_alive():
                name = chunk("alive", token.key, "node_id")
                if not token.alive:
                    self._alive.discard(name)
                    if self._regions.pop(name, None) is not None:
                        self.version += 1
                elif name not in self._alive:
                    self._alive.add(name)
                    asking.create_task(self._ask(name))

    async def _ask(self, name: str) -> None:
        while name in self._alive:
            try:
                health: Health = await self._control.call(
                    key("node_status", node_id=name), StatusQuery(), timeout=_REPLY_S
                )
            except BrainnetError:  # it starts, is busy, or has gone
                await asyncio.sleep(_REPLY_S / 10)
                continue
            if health.answers and name in self._alive:
                self._regions[name] = health
                self.version += 1
            return

    async def now(self, timeout: float = 1.0) -> list[Health]:
        """Ask all nodes how they are now, and return what those say that reply in time, by name."""
        replies = await self._control.call_all(key("node_status"), StatusQuery(), timeout=timeout)
        found = {reply.message.node_id: reply.message for reply in replies if isinstance(reply.message, Health)}
        return [found[name] for name in sorted(found)]

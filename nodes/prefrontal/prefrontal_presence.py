"""Which regions are there, which will be soon, and why the others are not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable

from brainnet.bus import Bus
from brainnet.node import Restarts
from brainnet.prompts import RegionPresence
from brainnet.wire.keys import chunk, key

RESTART_SHARE = 0.9
"""Share of a prompt's time for which its regions are waited for while they are started again; the rest is for the
answer of those that are there."""
FIRST_REPLY_S = 3.0
"""Seconds for which the start waits for the supervisors' first reply."""
RETURNING_S = 0.25
"""Seconds between two questions to the supervisors while a region is about to return."""
AWAY_S = 2.0
"""The same while regions are away and none is about to return."""


class Presence:
    """Follows which nodes are alive and which the supervisors start again. Not thread-safe.

    Args:
        bus: Where regions are asked.
        control: A bus whose role may ask the supervisors.
        routes: The regions that the network can choose.

    Attributes:
        patience_s: How long a region is expected that was alive a moment ago and that no supervisor knows.
    """

    def __init__(self, bus: Bus, control: Bus, routes: Iterable[str] = (), patience_s: float = 3.0) -> None:
        self.routes = tuple(routes)
        self.patience_s = patience_s
        self._bus, self._control = bus, control
        self._regions = RegionPresence()
        self._restarts = Restarts(control)
        self._went_away = asyncio.Event()

    @property
    def alive(self) -> set[str]:
        """The nodes that are alive now."""
        return self._regions.alive

    async def start(self) -> list[str]:
        """Learn who is alive and ask the supervisors once; returns the nodes."""
        nodes = [chunk("alive", token, "node_id") for token in await self._control.alive()]
        for node in nodes:
            self._regions.update(node, alive=True)
        await self._restarts.ask(FIRST_REPLY_S)
        return nodes

    async def changes(self) -> AsyncIterator[tuple[str, bool, bool]]:
        """Follow who is alive: yields a node, whether it is alive, and whether it came back after it had gone."""
        async for token in self._bus.watch_alive():
            node = chunk("alive", token.key, "node_id")
            if not token.alive:
                self._went_away.set()
            yield node, token.alive, self._regions.update(node, token.alive)

    async def follow_restarts(self) -> None:
        """Ask the supervisors, while regions are away, which of them are started again."""
        while True:
            away = self._away()
            if away:
                await self._restarts.ask()
            returning = not self._restarts.known or any(self._restarts.start_in_s(r) < AWAY_S for r in away)
            pause_s = RETURNING_S if returning else AWAY_S if away else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._went_away.wait()
            self._went_away.clear()

    def _away(self) -> set[str]:
        """Return the nodes that are not alive: those that can be routed to, that were there, or are allocated."""
        known = {*self.routes, *self._regions.seen, *self._restarts.nodes}
        return known - self._regions.alive

    def why_down(self, regions: Iterable[str]) -> str:
        """Return why regions do not run, as the end of a sentence; empty when the supervisors say nothing of them."""
        return "".join(f"; {why}" for region in regions if (why := self._restarts.why_down(region)))

    def listens(self, region: str) -> bool:
        """Return whether a region takes queries now."""
        return self._bus.is_matched(key("query", region=region))

    def is_expected(self, region: str, deadline: float) -> bool:
        """Return whether a region is there or will be while a prompt of this deadline can wait."""
        return self._within(region, RESTART_SHARE * max(0.0, deadline - time.monotonic()))

    def _within(self, region: str, within_s: float) -> bool:
        if self._regions.is_expected(region, self.patience_s) or self._restarts.start_in_s(region) < within_s:
            return True
        # Before the supervisors have replied, one that is being started cannot be told from one that does not exist.
        return not self._restarts.known

    async def is_present(self, region: str, deadline: float) -> bool:
        """Return whether a region listens, waiting for one that is being started again."""
        started = time.monotonic()
        give_up = started + RESTART_SHARE * max(0.0, deadline - started)
        while not self.listens(region):
            now = time.monotonic()
            left_s = give_up - now
            if region in self._regions.alive:  # it runs and does not listen: perhaps it is no region
                left_s = min(left_s, started + self.patience_s - now)
            if left_s <= 0 or not self._within(region, left_s):
                return False
            await self._bus.wait_matching(key("query", region=region), min(left_s, RETURNING_S))
        return True

"""The broker of a host: when it is needed here, and what it says while a part of the brain is down."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from brainnet.broker import Broker, Limits, Unavailable
from brainnet.bus import Bus
from brainnet.launcher.run.managed_node import ManagedNode
from brainnet.wire.messages import Health, PromptStatus
from brainnet.wire.topics import Role

_NEEDED: Final[tuple[Role, ...]] = ("router", "integrator")
"""Roles without which no prompt can be answered."""
_ELSEWHERE_S: Final = 3.0
"""Seconds after its last heartbeat for which a node of another host counts as running."""


class PromptDesk:
    """Runs the broker where the brain needs it.

    A brain has one broker, on the host of its integrator. On the only host it runs from the start, so that prompts that
    come before the nodes are up wait for them.

    Args:
        bus: The bus of the hub.
        journal: The journal's file.
        limits: Bounds of what is open at once.
        nodes: The nodes of this host, by id.
        only_host: Whether the brain has no other host.
        is_stopping: Whether this host is being stopped.
    """

    def __init__(
        self,
        bus: Bus,
        journal: Path,
        limits: Limits,
        nodes: Mapping[str, ManagedNode],
        *,
        only_host: bool,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.broker = Broker(bus, journal, limits, self.unavailable)
        self._nodes = nodes
        self._is_stopping = is_stopping
        self._roles: dict[str, str] = {}
        self._heard: dict[str, float] = {}  # when a node of another host was heard of last, by role
        self._needed = asyncio.Event()
        if only_host:
            self._needed.set()

    def record_heartbeat(self, health: Health) -> None:
        """Take note of which node has which role."""
        if health.role not in _NEEDED:
            return
        if health.node_id in self._nodes:
            self._roles[health.node_id] = health.role
            if health.role == "integrator":
                self._needed.set()
        elif health.state not in ("failed", "stopped"):
            self._heard[health.role] = time.monotonic()

    def unavailable(self) -> Unavailable | None:
        """Return why no prompt can be answered now; None when all that is needed runs, or is not known yet."""
        if self._is_stopping():
            return Unavailable("the brain is being stopped", code="stopping")
        for role in _NEEDED:
            here = [self._nodes[node_id] for node_id, its_role in self._roles.items() if its_role == role]
            if not here or time.monotonic() - self._heard.get(role, -math.inf) < _ELSEWHERE_S:
                continue
            reasons = [node.why_down for node in here]
            if all(reason is not None for reason in reasons):
                waits = [wait for node in here if (wait := node.next_start_s) is not None]
                what = "; ".join(f"{reason}; {node.advice}" for reason, node in zip(reasons, here, strict=True))
                return Unavailable(f"the brain lacks its {role}: {what}", min(waits, default=math.inf))
        return None

    def status(self) -> PromptStatus | None:
        """Return what the broker has to do and has done; None on a host where it is not needed."""
        if not self._needed.is_set():
            return None
        return PromptStatus(
            open=self.broker.open_prompts, journal_problem=self.broker.problem, **self.broker.counts_since_start()
        )

    async def run(self) -> None:
        """Serve prompts until cancelled, as soon as the broker is needed here."""
        await self._needed.wait()
        await self.broker.run()

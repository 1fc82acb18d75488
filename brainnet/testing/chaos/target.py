"""The brain that a chaos run attacks: its processes, and how far they are."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import psutil

from brainnet.bus import Bus
from brainnet.client import host_statuses
from brainnet.errors import BrainnetError, LaunchError
from brainnet.launcher.describe import allocation
from brainnet.node.spec import Restart
from brainnet.wire.keys import key
from brainnet.wire.messages import ControlQuery, Health, HostStatus, NodeRecord, StatusQuery

ZYGOTE: Final = "zygote"
"""The name of the zygote among the victims. A node may have it, too; then only the node is a victim."""
_ZYGOTE_COMM: Final = "brainnet-zygote"
_UP: Final = ("ready", "degraded")
_POLL_S: Final = 0.03


class Target:
    """A running brain on this host.

    Args:
        bus: A connection to it, as a client.
        status: Its state at the beginning.
        state: Folder of its durable state.

    Raises:
        LaunchError: Its launcher is no process of this host and user.
    """

    def __init__(self, bus: Bus, status: HostStatus, state: Path) -> None:
        self.bus = bus
        self.state = state
        self.host = status.host
        self.launcher = status.pid
        self.allocation = status.allocation
        self.nodes = [node.id for node in status.nodes]
        self._exits: defaultdict[str, list[float]] = defaultdict(list)
        self._restart = self._policies()
        try:
            os.kill(self.launcher, 0)
        except OSError:
            raise LaunchError(
                f"the launcher of {status.host}, process {status.pid}, cannot be reached from here; "
                "run this on that host and as the user who launched the brain"
            ) from None

    def _policies(self) -> dict[str, Restart]:
        try:
            return {entry.id: entry.restart for entry in allocation.load(Path(self.allocation)).nodes}
        except BrainnetError:  # the file has changed since, or is not there any more
            return {}

    async def records(self) -> dict[str, NodeRecord]:
        """Return what the launcher says of every node; empty when it does not reply."""
        for status in await host_statuses(self.bus, needed=False):
            if status.pid == self.launcher:
                return {node.id: node for node in status.nodes}
        return {}

    async def answering(self) -> list[str]:
        """Return the ids of the nodes that answer prompts as regions."""
        replies = await self.bus.call_all(key("node_status"), StatusQuery())
        found = [r.message for r in replies if isinstance(r.message, Health)]
        return sorted(health.node_id for health in found if health.answers and health.node_id in self.nodes)

    def zygote(self) -> int | None:
        """Return the process id of the zygote, or None when there is none at the moment."""
        try:
            for child in psutil.Process(self.launcher).children():
                if _name(child.pid) == _ZYGOTE_COMM[:15]:
                    return child.pid
        except psutil.Error:
            pass
        return None

    def processes(self) -> list[int]:
        """Return the process ids of the launcher and of everything below it."""
        try:
            launcher = psutil.Process(self.launcher)
            return [launcher.pid, *(child.pid for child in launcher.children(recursive=True))]
        except psutil.Error:
            return []

    async def pid(self, victim: str) -> int | None:
        """Return the process id of a victim that is up, or None."""
        if victim == ZYGOTE and ZYGOTE not in self.nodes:
            return self.zygote()
        record = (await self.records()).get(victim)
        return record.pid if record is not None and record.state in _UP else None

    @property
    def victims(self) -> list[str]:
        """Every process that may be killed: the nodes, and the zygote."""
        return list(dict.fromkeys([*self.nodes, ZYGOTE]))

    def affected(self, victim: str) -> list[str]:
        """Return the nodes that end with a victim: itself, or none, because nodes outlive their zygote."""
        return [victim] if victim in self.nodes else []

    # -- restarts ----------------------------------------------------------------------------------------------------

    def may_end(self, victim: str) -> bool:
        """Return whether the restart policies still allow that this victim is killed now.

        A node that is killed more often than its policy restarts it is failed for good, which is no fault of the brain.
        """
        now = time.monotonic()
        for node in self.affected(victim):
            policy = self._restart.get(node, Restart())
            recent = [t for t in self._exits[node] if now - t < policy.window_s]
            if policy.policy == "never" or len(recent) >= policy.max_restarts:
                return False
        return True

    def ended(self, victim: str) -> None:
        """Take down that a victim was killed."""
        for node in self.affected(victim):
            self._exits[node].append(time.monotonic())

    async def back(self, victim: str, old: dict[str, int | None], timeout: float) -> bool:
        """Wait until a victim is ready again in another process; after the zygote, all nodes have to be ready, too.

        Args:
            victim: A node or the zygote.
            old: Process ids before, by victim.
            timeout: Seconds to wait.

        Returns:
            Whether it is.
        """

        async def reached() -> bool:
            if victim not in self.nodes and self.zygote() in (None, old[victim]):
                return False
            records = await self.records()
            wanted = self.affected(victim) or self.nodes
            return bool(records) and all(
                node not in records or _is_up(records[node], old.get(node) if node == victim else None)
                for node in wanted
            )

        return await came_true(reached, timeout)

    async def start(self, victim: str) -> None:
        """Start what was not started again."""
        for node in self.affected(victim):
            try:
                await self.bus.call(key("host_control", host=self.host), ControlQuery(action="start", node=node))
            except BrainnetError:
                return


async def came_true(condition: Callable[[], Awaitable[bool]], timeout: float) -> bool:
    """Return whether a condition became true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not await condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _is_up(record: NodeRecord, old: int | None) -> bool:
    return record.state in _UP and record.pid not in (None, old) and psutil.pid_exists(record.pid)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""

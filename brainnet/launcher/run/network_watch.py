"""Follows how far the processes of a network are, until all of them have computed its last step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from brainnet.bus import Bus
from brainnet.node.spec import NetworkPart
from brainnet.wire.keys import key
from brainnet.wire.messages import ClockState


class NetworkWatch:
    """What the processes of a network, of this host and others, say of themselves.

    Args:
        part: The network.
        on_progress: Called with the first step that is not computed everywhere.

    Attributes:
        states: The last state of each process.
    """

    def __init__(self, part: NetworkPart, on_progress: Callable[[int], None] = lambda step: None) -> None:
        self.states: dict[str, ClockState] = {}
        self.on_progress = on_progress
        self._part = part
        self._run = part.run

    @property
    def last_step(self) -> int:
        """Steps after which the network stops."""
        assert self._part.last_step is not None  # only such a network is followed
        return self._part.last_step

    def has(self, process: str) -> bool:
        """Return whether a node is a process of the network."""
        return process in self._part.processes

    @property
    def finished(self) -> bool:
        """Whether every process has computed its last step."""
        return all(
            (state := self.states.get(process)) is not None and state.phase == "finished"
            for process in self._part.processes
        )

    @property
    def digests(self) -> dict[str, str]:
        """The digest of every population in the order of the file, once it is finished."""
        found = {name: digest for state in self.states.values() for name, digest in state.digests.items()}
        return {name: found[name] for names in self._part.processes.values() for name in names if name in found}

    @property
    def digest(self) -> str:
        """The digest of the whole network, once it is finished."""
        from brainnet.simulation.digest import combined  # a brain without a network does not need it

        return combined(self.digests)

    async def run(self, bus: Bus, linger_s: float = 0.0) -> None:
        """Follow the processes until all have finished.

        Args:
            bus: The launcher's bus.
            linger_s: Seconds for which the processes are left to say so to the launchers of other hosts.
        """
        states = bus.subscribe(key("clock"))
        try:
            async for received in states:
                self._note(received.message)
                if self.finished:
                    break
        finally:
            bus.unsubscribe(states)
        await asyncio.sleep(linger_s)

    def _note(self, state: ClockState) -> None:
        if state.process not in self._part.processes or (self._run and state.run != self._run):
            return
        self.states[state.process] = state
        if len(self.states) == len(self._part.processes):
            self.on_progress(min(known.next_step for known in self.states.values()))

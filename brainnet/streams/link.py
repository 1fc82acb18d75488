"""What the runner of a process needs of the network, and how a bus gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from brainnet.bus import Bus
from brainnet.errors import BrainnetError
from brainnet.guard import describe
from brainnet.wire.keys import key
from brainnet.wire.messages import ClockState, Windows, WindowsQuery

MAX_REPLY_BYTES: Final = 4 << 20
"""Bytes of windows in one reply; the reader asks again for the rest."""
_TIMEOUT_S: Final = 2.0


class Link(Protocol):
    """The network as a runner sees it. Every method returns at once, on any thread."""

    def send(self, population: str, payload: bytes) -> None:
        """Send a window to the processes that need it; it may be lost."""

    def is_watched(self, population: str) -> bool:
        """Return whether somebody watches a population of this process."""

    def show(self, population: str, payload: bytes) -> None:
        """Send a packet to whoever watches; it may be lost."""

    def announce(self, state: ClockState) -> None:
        """Tell everybody how far this process is; it may be lost."""

    def ask(self, population: str, run: str, step: int, done: Callable[[list[bytes], str], None]) -> None:
        """Ask the process of a population for its windows from a step on; `done` gets them, or why there are none."""


class BusLink:
    """A link over a bus.

    Args:
        bus: The bus of the node.
        process: Name of the process.
    """

    def __init__(self, bus: Bus, process: str) -> None:
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._clock_key = key("clock", process=process)
        self._window_keys: dict[str, str] = {}
        self._stream_keys: dict[str, str] = {}
        self._asking: set[asyncio.Task[None]] = set()
        bus.declare(self._clock_key)

    def declare(self, population: str) -> None:
        """Declare the topics of a population of this process."""
        self._window_keys[population] = key("window", population=population)
        self._stream_keys[population] = key("stream", population=population)
        self._bus.declare(self._window_keys[population])
        self._bus.declare(self._stream_keys[population])

    def send(self, population: str, payload: bytes) -> None:
        """Send a window to the processes that need it; it may be lost."""
        self._bus.publish_encoded(self._window_keys[population], payload)

    def is_watched(self, population: str) -> bool:
        """Return whether somebody watches a population of this process."""
        return self._bus.is_matched(self._stream_keys[population])

    def show(self, population: str, payload: bytes) -> None:
        """Send a packet to whoever watches; it may be lost."""
        self._bus.publish_encoded(self._stream_keys[population], payload)

    def announce(self, state: ClockState) -> None:
        """Tell everybody how far this process is; it may be lost."""
        self._bus.publish(self._clock_key, state)

    def ask(self, population: str, run: str, step: int, done: Callable[[list[bytes], str], None]) -> None:
        """Ask the process of a population for its windows from a step on; `done` gets them, or why there are none."""
        self._loop.call_soon_threadsafe(self._start, population, run, step, done)

    def _start(self, *args: Any) -> None:
        task = self._loop.create_task(self._ask(*args))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, population: str, run: str, step: int, done: Callable[[list[bytes], str], None]) -> None:
        windows: list[bytes] = []
        reason = ""
        try:
            query = WindowsQuery(run=run, step=step)
            reply: Windows = await self._bus.call(key("windows", population=population), query, timeout=_TIMEOUT_S)
            windows = reply.windows
        except Exception as error:  # whatever it is: the question must not stay open
            reason = str(error) if isinstance(error, BrainnetError) else describe(error)
        done(windows, reason)

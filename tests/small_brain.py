"""A brain made of buses in the test's own process, and the command line beside it as a real process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal

from brainnet.bus import Bus, Endpoint, open_bus
from brainnet.bus.transport import QoS
from brainnet.testing import PATIENCE_S
from brainnet.wire.messages import Health, StatusQuery

NAMESPACE = "test"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output, read as one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class SmallBrain:
    """A hub, and buses that play the nodes."""

    def __init__(self, port: int, stack: contextlib.AsyncExitStack) -> None:
        self.port = port
        self._stack = stack
        self._buses: list[Bus] = []
        self._watcher: Bus | None = None
        self._marks = itertools.count()

    async def join(self, role: str, source: str = "", mode: Literal["client", "peer"] = "peer") -> Bus:
        """Open a bus of this brain; it closes when the test ends."""
        endpoint = Endpoint(NAMESPACE, f"tcp/127.0.0.1:{self.port}")
        bus = await self._stack.enter_async_context(await open_bus(endpoint, role=role, source=source, mode=mode))
        self._buses.append(bus)
        return bus

    async def known(self) -> None:
        """Wait until the hub knows what the buses have declared: until then, no command can see it."""
        if self._watcher is None:
            self._watcher = await self.join("client", mode="client")
            self._buses.remove(self._watcher)
        for bus in self._buses:
            # What a session declares arrives in its order, so that all before this subscription is known with it.
            key = f"known/{next(self._marks)}"
            mark = bus.subscribe_raw(key)
            seen = self._watcher.declare_publisher_raw(key, QoS(reliable=True))
            assert await self._watcher.wait_publisher(seen, PATIENCE_S)
            bus.unsubscribe(mark)

    async def node(self, role: str, id: str) -> Bus:
        """Open a bus that reports its counters the way a node does."""
        bus = await self.join(role, id)

        async def status(request: StatusQuery, key: str) -> Health:
            return Health(node_id=id, host="here", pid=1, state="ready", role=role, topics=bus.counters.snapshot())

        bus.serve(f"node/{id}/status", status)
        return bus

    async def run(self, *arguments: str, stdin: bytes = b"") -> Done:
        """Run a verb and wait for its end."""
        await self.known()
        return await run_command(*arguments, *self._options(), stdin=stdin)

    def _options(self) -> list[str]:
        return ["--namespace", NAMESPACE, "--port", str(self.port)]

    async def start(self, *arguments: str) -> Running:
        """Start a verb on this brain; it is killed if the test ends before it does."""
        await self.known()
        running = await start_command(*arguments, *self._options())
        self._stack.push_async_callback(running.kill)
        return running


class Running:
    """A command that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def ended(self, stdin: bytes = b"") -> Done:
        """Wait for its end."""
        async with asyncio.timeout(PATIENCE_S):
            out, err = await self.process.communicate(stdin)
        assert self.process.returncode is not None
        return Done(self.process.returncode, out.decode(), err.decode())

    async def kill(self) -> None:
        """Kill it, unless it has ended."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


async def start_command(*arguments: str) -> Running:
    """Start a verb as a process of its own."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "brainnet", *arguments]
    return Running(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe))


async def run_command(*arguments: str, stdin: bytes = b"") -> Done:
    """Run a verb, and wait for its end; by itself it needs no brain."""
    command = [sys.executable, "-m", "brainnet", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, input=stdin, capture_output=True, timeout=PATIENCE_S, check=False
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

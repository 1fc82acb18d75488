"""Launches the brains that are asked: of real processes, each with an empty memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from brainnet.bus import Bus
from brainnet.client import Client, host_statuses
from brainnet.errors import CallError, CallTimeout, LaunchError
from brainnet.testing.own_brain import OwnBrain
from brainnet.wire.keys import key
from brainnet.wire.messages import Answer, ControlQuery, NodeRecord, Prompt

MEMORY = "hippocampus"
"""The node that keeps what it is told."""
_DEADLINE_MS = 60_000
"""Deadline of each prompt. Long, because how fast a busy machine answers is not what is measured here."""
_PATIENCE_S = 120.0
_POLL_S = 0.05


@asynccontextmanager
async def client_of(brain: OwnBrain) -> AsyncIterator[Client]:
    """Wait for a brain that was launched, and connect to it as any program does.

    Raises:
        LaunchError: A node failed, or was not ready in time.
    """
    async with brain.connected() as bus:
        await brain.complete(bus)
    async with Client(brain.endpoint) as client:
        yield client


async def ask(client: Client, text: str, session: str) -> Answer:
    """Ask a prompt of a session; one that the brain refuses, or does not answer at all, is an answer with an error."""
    prompt = Prompt(text=text, session_id=session, deadline_ms=_DEADLINE_MS)
    try:
        return await client.ask(prompt)
    except (CallError, CallTimeout) as error:
        return Answer(prompt_id=prompt.prompt_id, prompt=text, error=str(error), code=error.code)


async def empty_memory(brain: OwnBrain, client: Client) -> None:
    """Stop the memory, remove its files, and start it again; much quicker than a new brain.

    Raises:
        LaunchError: It did not stop or start in time.
    """
    await _control(client.bus, "stop")
    for path in brain.state.glob("memory*"):
        path.unlink()
    await _control(client.bus, "restart")


async def _control(bus: Bus, action: Literal["stop", "restart"]) -> None:
    before = await _record(bus)
    await bus.call(key("host_control", host=before.host), ControlQuery(action=action, node=MEMORY))
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        now = await _record(bus)
        if action == "stop" and now.pid is None and now.state == "stopped":
            return
        if action == "restart" and now.starts > before.starts and now.state == "ready":
            return
        await asyncio.sleep(_POLL_S)
    raise LaunchError(f"{MEMORY} is {now.state} {_PATIENCE_S:g} s after the {action}: {now.reason}")


async def _record(bus: Bus) -> NodeRecord:
    records = [record for host in await host_statuses(bus) for record in host.nodes if record.id == MEMORY]
    if not records:
        raise LaunchError(f"the brain has no node {MEMORY}")
    return records[0]

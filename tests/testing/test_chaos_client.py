"""The client of a chaos run: its account holds what was really sent, and nothing else."""

from __future__ import annotations

import asyncio
import threading

import pytest

from brainnet.bus import Endpoint
from brainnet.testing.chaos.client import ForeignClient
from brainnet.testing.chaos.ledger import Ledger
from brainnet.testing.workload import Kind
from tests.small_brain import NAMESPACE, SmallBrain


async def test_a_prompt_that_is_cancelled_before_it_is_sent_is_in_no_account(small_brain: SmallBrain) -> None:
    ledger, kind = Ledger(), Kind(name="text", text="hello")
    endpoint = Endpoint(NAMESPACE, f"tcp/127.0.0.1:{small_brain.port}")
    async with ForeignClient(endpoint, ledger, "run", 10.0) as client:
        busy = threading.Event()
        blocking = asyncio.get_running_loop().run_in_executor(client._sender, busy.wait)
        sending = asyncio.create_task(client.send(kind, "json", "phase"))
        await asyncio.sleep(0)  # it waits for its turn now
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        busy.set()
        await blocking

        sent = await client.send(kind, "json", "phase")
    assert ledger.entries == [sent]
    assert sent.prompt_id == "chaos-run-2"

"""The pendulum of launch/pendulum: a second body and a spiking controller, as real processes over topics."""

from __future__ import annotations

import asyncio
import json

from brainnet.bus import Endpoint, Mailbox, Received, open_bus
from brainnet.paths import share_dir
from brainnet.testing import PATIENCE_S
from brainnet.wire.messages import FeedbackHeader
from brainnet.wire.packet import SpikePacket
from tests.support import Brain, MakeBrain

ALLOCATION = str(share_dir() / "launch" / "pendulum" / "pendulum.yaml")
UPRIGHT, DOWN = 0.5, 1.5


async def angle(feedback: Mailbox[Received]) -> tuple[float, bool]:
    """Return the next angle in rad, and whether the pendulum is stopped."""
    async with asyncio.timeout(PATIENCE_S):
        message = (await feedback.get()).message
    assert isinstance(message, SpikePacket)
    assert message.shape == (2, 1)
    return abs(float(message.data[0, 0])), FeedbackHeader.of(message).stopped


async def stands(feedback: Mailbox[Received], feedbacks: int = 100) -> None:
    """Wait until it is upright in so many feedbacks in a row, a second of them."""
    upright = 0
    while upright < feedbacks:
        upright = upright + 1 if (await angle(feedback))[0] < UPRIGHT else 0


def test_it_stands_falls_when_stopped_and_gets_up_again(make_brain: MakeBrain) -> None:
    with make_brain() as brain:
        brain.launch(ALLOCATION)
        asyncio.run(_stands_falls_and_gets_up(brain))
        shown = json.loads(brain.run("node", "info", "balance", "--json").stdout)
        (timer,) = shown["timers"]
        assert (timer["name"], timer["hz"]) == ("balance", 100.0)
        assert timer["calls"] > 100
        assert "late p50, p99 (ms)" in brain.run("node", "info", "balance").stdout
        brain.run("stop")


async def _stands_falls_and_gets_up(brain: Brain) -> None:
    async with await open_bus(Endpoint("evospikenet", f"tcp/127.0.0.1:{brain.port}"), role="region") as bus:
        feedback = bus.subscribe("motor/feedback/pendulum", capacity=4096)
        spikes = bus.subscribe("spikes/balance/pendulum")
        await stands(feedback)
        message = (await spikes.get()).message
        assert isinstance(message, SpikePacket)
        assert message.is_spikes
        assert message.shape == (1000, 10)

        stopped = await asyncio.to_thread(brain.run, "stop-motors", "--reason", "a test", "--json")
        (row,) = [json.loads(line) for line in stopped.stdout.splitlines()]
        assert (row["effector"], row["node_id"], row["stopped"]) == ("pendulum", "pendulum", True)
        while (await angle(feedback))[0] < DOWN:
            pass
        assert (await angle(feedback))[1]

        released = await asyncio.to_thread(brain.run, "stop-motors", "pendulum", "--release")
        assert "follows commands" in released.stdout
        await stands(feedback)

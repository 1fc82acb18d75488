"""Orders to the clocks of a network, from its first moment on."""

from __future__ import annotations

from typing import Literal

import pytest

from brainnet.bus import Bus
from brainnet.client import clocks
from brainnet.errors import BrainnetError
from brainnet.wire.messages import ClockAnchor, ClockControl, ClockState
from tests.bus.asking import served
from tests.small_brain import SmallBrain

KEY = "clock/a/control"


class Process:
    """A process of a network; it has begun when it is asked for the third time, if it ever does."""

    def __init__(self, mode: Literal["lockstep", "realtime"] = "realtime", *, begins: bool = True) -> None:
        self.orders: list[ClockControl] = []
        self._mode, self._begins = mode, begins

    async def follow(self, order: ClockControl, key: str) -> ClockState:
        self.orders.append(order)
        anchor = ClockAnchor(step=0, at_ns=1, scale=1.0) if self._begins and len(self.orders) > 2 else None
        return ClockState(process="a", run="r", mode=self._mode, anchor=anchor)


async def asker_of(brain: SmallBrain, process: Process) -> Bus:
    """Let the process join a brain, and return the bus of a client that knows of it."""
    node, client = await brain.join("node", "a"), await brain.join("client")
    node.serve(KEY, process.follow)
    await served(client, KEY, ClockControl())
    process.orders.clear()
    return client


async def test_the_rate_of_a_network_that_begins_in_a_moment_can_be_set(small_brain: SmallBrain) -> None:
    process = Process()
    await clocks.set_rate(await asker_of(small_brain, process), 4.0)
    *asked, order = process.orders
    assert [each.action for each in asked] == ["status"] * 3
    assert order.anchor is not None
    assert (order.action, order.anchor.scale) == ("go_on", 4.0)


async def test_what_does_not_run_in_real_time_is_refused_at_once(small_brain: SmallBrain) -> None:
    process = Process("lockstep", begins=False)
    with pytest.raises(BrainnetError, match="mode: realtime"):
        await clocks.set_rate(await asker_of(small_brain, process), 4.0)
    assert len(process.orders) == 1


async def test_a_network_that_does_not_begin_is_an_error_in_the_end(
    small_brain: SmallBrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "_BEGIN_S", 0.2)
    process = Process(begins=False)
    with pytest.raises(BrainnetError, match="has not begun"):
        await clocks.set_rate(await asker_of(small_brain, process), 4.0)
    assert len(process.orders) > 1

"""Methods that a timer calls: the grid, what is missed, and the figures that say so."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from brainnet import Node, every
from brainnet.errors import ConfigError
from brainnet.testing import MemoryBrain, until
from brainnet.wire.messages import Health, StatusQuery, TimerState


class Clock(Node):
    """Counts its ticks on the event loop and in the model thread."""

    def load(self) -> None:
        self.seen: list[str] = []
        self.threads: set[str] = set()
        self.blocked, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    @every(hz=200)
    async def on_loop(self) -> None:
        self.seen.append("loop")
        if not self.gate.is_set():
            self.blocked.set()
            await self.gate.wait()

    @every(hz=100)
    def in_thread(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.seen.append("thread")

    async def setup(self) -> None:
        self.add_timer(50.0, self.added)

    async def added(self) -> None:
        self.seen.append("added")
        raise ZeroDivisionError("of the tick")


async def timers(brain: MemoryBrain, node_id: str) -> dict[str, TimerState]:
    health = await brain.bus().call(f"node/{node_id}/status", StatusQuery())
    assert isinstance(health, Health)
    return {timer.name: timer for timer in health.timers}


async def test_methods_are_called_and_their_figures_shown(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        clock = await brain.start(Clock, "clock")
        await until("all called", lambda: set(clock.seen) == {"loop", "thread", "added"})
        await until("often", lambda: clock.seen.count("loop") >= 20)
        shown = await timers(brain, "clock")
        assert {name: timer.hz for name, timer in shown.items()} == {"on_loop": 200, "in_thread": 100, "added": 50}
        for timer in shown.values():
            assert timer.calls > 0
            assert 0.0 <= timer.late_p50_ms <= timer.late_p99_ms
            assert 0.0 <= timer.took_p50_ms <= timer.took_p99_ms
        (thread,) = clock.threads
        assert thread.startswith("clock-model")


async def test_a_tick_that_fails_is_an_error_of_its_own_and_the_next_one_comes(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        clock = await brain.start(Clock, "clock")
        await until("the node says so", lambda: clock.state == "degraded")
        assert "added fails" in str(clock.last_error)
        failed = clock.seen.count("added")
        await until("it goes on", lambda: clock.seen.count("added") > failed)


async def test_ticks_during_a_call_are_missed_and_counted(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        clock = await brain.start(Clock, "clock")
        clock.gate.clear()
        await until("a call that lasts", clock.blocked.is_set)
        others, before = clock.seen.count("thread"), clock.seen.count("loop")
        await until("others go on", lambda: clock.seen.count("thread") >= others + 10)
        assert clock.seen.count("loop") == before
        clock.gate.set()
        await until("it goes on", lambda: clock.seen.count("loop") > before)
        # ten ticks at 100 Hz are at least nine periods, in which eighteen ticks at 200 Hz were due
        assert (await timers(brain, "clock"))["on_loop"].missed >= 17


@pytest.mark.parametrize("hz", [0.0, -1.0, 1001.0, float("nan")])
async def test_a_rate_out_of_range_is_one_clear_error(tmp_path: Path, hz: float) -> None:
    class Wrong(Node):
        @every(hz=hz)
        async def on_tick(self) -> None: ...

    async with MemoryBrain(tmp_path) as brain:
        with pytest.raises(ConfigError, match=r"the timer on_tick has .* Hz; it must be above 0 and at most 1000 Hz"):
            await brain.start(Wrong, "wrong")

"""Benchmark of networks that run divided between two processes, beside the same network in one process.

Every network is launched as a user would launch it. In lock-step it runs as fast as it can: measured is how many steps
all its processes have computed after some seconds, by what they reply to the same question that `brainnet clock status`
asks. In real time it is asked how long after their end the windows came.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from brainnet.bench import dora, workload
from brainnet.bench.raw_stream import raw_rate
from brainnet.bus import Bus
from brainnet.client.clocks import clock_states
from brainnet.errors import BusError, ConfigError
from brainnet.rows import Row, compare
from brainnet.testing.own_brain import OwnBrain
from brainnet.texts import did_you_mean
from brainnet.wire.keys import key
from brainnet.wire.messages import ClockState

_START_S = 120.0
_NO_STEP_S = 60.0
_POLL_S = 0.05
_NAP_S = 0.001
_BOUNDARY_STEPS = 20
_BOUNDARY_NEURONS = 8_000
_BOUNDARY_SHARE = 0.6


@dataclass(frozen=True)
class Plan:
    """Size of the measurement.

    Attributes:
        seconds: Of each measurement of a speed.
        real_time_s: Seconds in real time.
        turns: How often a network is measured with and without somebody who watches.
        neurons: Of the large network, whose neurons have 100 synapses each.
    """

    seconds: float = 5.0
    real_time_s: float = 60.0
    turns: int = 3
    neurons: int = 100_000

    @classmethod
    def quick(cls) -> Plan:
        """Return a smaller plan with noisier results."""
        return cls(seconds=2.0, real_time_s=5.0, turns=1, neurons=20_000)


def measure(plan: Plan, progress: Callable[[str], None] = lambda _: None, only: Collection[str] = ()) -> list[Row]:
    """Run the benchmark; call it from the main thread.

    Args:
        plan: Size of the measurement.
        progress: Called with a description of each step.
        only: Names of `CASES` to measure; all without any.

    Raises:
        ConfigError: There is no such case.
        BrainnetError: A network cannot be launched, or does not run.
    """
    for name in only:
        if name not in CASES:
            raise ConfigError(f"there is no case {name!r}{did_you_mean(name, CASES)}; cases are {', '.join(CASES)}")
    rows: list[Row] = []
    for name, case in CASES.items():
        if not only or name in only:
            progress(case.about)
            rows += case.measure(plan)
    return rows


# -- networks --------------------------------------------------------------------------------------------------------


def pair(*, stdp: bool = False, window: int | None = None, mode: str = "lockstep") -> dict[str, Any]:
    """Return two regions in a loop: 1,000 LIF each, 10 % connectivity, delays of 5 ms, steps of 1 ms."""
    # What the neurons lack in input from each other is noise, so that they fire at 10 to 30 Hz.
    neurons = {"model": "lif", "size": 1000, "parameters": {"noise": {"rate_hz": 8000, "weight": 88}}}
    synapses = {"connect": "fixed_probability", "p": 0.1, "weight": {"uniform": [5, 15]}, "delay_ms": 5}
    rule = {"rule": "stdp", "potentiation": 0.05, "depression": 0.055, "w_max": 30}
    return {
        "version": 1,
        "clock": {"dt_ms": 1.0, "mode": mode} | ({} if window is None else {"window": window}),
        "populations": [{"id": name, **neurons} for name in "ab"],
        "projections": [
            {"from": source, "to": target, "synapses": synapses} | ({"plasticity": rule} if stdp else {})
            for source, target in ("ab", "ba")
        ],
    }


def large(neurons: int) -> dict[str, Any]:
    """Return a network of two regions with 100 synapses for each neuron, half of them from the other region."""
    entry = {"model": "lif", "size": neurons // 2, "parameters": {"noise": {"rate_hz": 8000, "weight": 84}}}
    synapses = {"connect": "fixed_in_degree", "n": 50, "weight": 10.0, "delay_ms": 5}
    return {
        "version": 1,
        "clock": {"dt_ms": 1.0},
        "populations": [{"id": name, **entry} for name in "ab"],
        "projections": [{"from": s, "to": t, "synapses": synapses} for s, t in ("aa", "ab", "ba", "bb")],
    }


def boundary() -> dict[str, Any]:
    """Return a source that fires as much as it may, and a population in another process that takes it in."""
    models = "brainnet.bench.stream_models"
    size = _BOUNDARY_NEURONS
    return {
        "version": 1,
        "clock": {"dt_ms": 1.0},
        "populations": [
            {"id": "a", "model": f"{models}:Replay", "size": size, "parameters": {"share": _BOUNDARY_SHARE}},
            {"id": "b", "model": f"{models}:Silent", "size": size},
        ],
        "projections": [
            {
                "from": "a",
                "to": "b",
                "synapses": {"connect": "one_to_one", "weight": 1.0, "delay_ms": float(_BOUNDARY_STEPS)},
            }
        ],
    }


# -- measurements ----------------------------------------------------------------------------------------------------


def _speed(name: str, description: dict[str, Any], plan: Plan, bar: float) -> Row:
    async def run(network: _Network) -> float:
        return await network.real_time_factor(plan.seconds)

    return compare(
        f"{name}_speed",
        _with_network(description, run),
        "times real time",
        rival="the same in one process",
        rival_value=_in_one_process(description, plan.seconds),
        limit=("value", ">=", bar),
    )


def _watched(plan: Plan) -> Row:
    """Compare the speed with and without a `topic echo` of all streams."""

    async def run(network: _Network) -> tuple[float, float]:
        alone, watched = [], []
        for _ in range(plan.turns):
            alone.append(await network.real_time_factor(plan.seconds))
            with network.watched():
                await asyncio.sleep(1.0)
                watched.append(await network.real_time_factor(plan.seconds))
        return statistics.median(watched), statistics.median(alone)

    watched, alone = _with_network(pair(), run)
    return compare(
        "watched_speed",
        watched,
        "times real time",
        rival="while nobody watches",
        rival_value=alone,
        limit=("ratio", ">=", 0.95),
    )


def _real_time(plan: Plan) -> list[Row]:
    async def run(network: _Network) -> tuple[list[ClockState], list[float], list[ClockState]]:
        before = await network.states()
        with _overslept() as stalls:
            await asyncio.sleep(plan.real_time_s)
        return before, stalls, await network.states()

    states_before, stalls, states_after = _with_network(pair(mode="realtime"), run)
    before, after = ([late for state in states for late in state.lateness] for states in (states_before, states_after))
    missed = sum(late.missed for late in after) - sum(late.missed for late in before)
    windows = sum(late.windows for late in after) - sum(late.windows for late in before)
    allowed_ms = min(each.allowed_ms for each in after)
    return [
        compare(
            "real_time_missed",
            missed,
            f"of {windows:,} windows",
            rival=f"wake-ups {allowed_ms:g} ms late of a thread that only sleeps",
            rival_value=sum(stall > allowed_ms for stall in stalls),
            limit=("value", "==", 0),
        ),
        compare(
            "real_time_lateness_p99",
            max(each.p99_ms for each in after),
            "ms after its end",
            rival="after which a window is late",
            rival_value=allowed_ms,
        ),
    ]


@contextlib.contextmanager
def _overslept() -> Iterator[list[float]]:
    """Collect by how many ms a thread wakes too late that sleeps for a millisecond at a time."""
    found: list[float] = []
    ended = threading.Event()

    def sleep() -> None:
        while not ended.is_set():
            started = time.monotonic()
            time.sleep(_NAP_S)
            found.append((time.monotonic() - started - _NAP_S) * 1000)

    thread = threading.Thread(target=sleep, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _boundary(plan: Plan) -> list[Row]:
    async def run(network: _Network) -> float:
        return await network.real_time_factor(plan.seconds)

    description = boundary()
    steps_per_s = _with_network(description, run) * 1000
    spikes_per_step = _spikes_per_step(description)
    payload = _window_bytes(description)
    spikes_per_window = _BOUNDARY_STEPS * spikes_per_step / 1e6
    value = steps_per_s * spikes_per_step / 1e6
    raw = raw_rate(payload, plan.seconds, lambda window: workload.read_bits(window, _BOUNDARY_NEURONS, _BOUNDARY_STEPS))
    rows = [
        compare(
            "boundary",
            value,
            "M spikes/s",
            rival="plain zenoh-python, the same bits read with numpy",
            rival_value=raw * spikes_per_window,
            limit=("value", ">=", 20),
        )
    ]
    if dora.absent() is None:
        rival = asyncio.run(_dora_rate(payload, plan.seconds))
        rows.append(
            compare(
                "boundary_dora",
                value,
                "M spikes/s",
                rival=f"{dora.name()}, two Python nodes, the same bits read with numpy",
                rival_value=rival * spikes_per_window,
            )
        )
    return rows


async def _dora_rate(payload: bytes, seconds: float) -> float:
    async with dora.Dora.start(queue=16) as nodes:
        return await nodes.windows(payload, (_BOUNDARY_NEURONS, _BOUNDARY_STEPS), seconds)


def _spikes_per_step(description: dict[str, Any]) -> int:
    return int(_built(description).advance(1)["a"].count)


def _window_bytes(description: dict[str, Any]) -> bytes:
    from brainnet.streams.window import SpikeWindow, encode_window

    spikes = _built(description).advance(_BOUNDARY_STEPS)["a"]
    return encode_window(SpikeWindow("a", "run", 0, _BOUNDARY_NEURONS, 1000, spikes.offsets, spikes.neurons))


def _in_one_process(description: dict[str, Any], seconds: float) -> float:
    network = _built(description)
    network.advance(200)
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        network.advance(100)
        steps += 100
    return steps / 1000 / (time.perf_counter() - started)


def _built(description: dict[str, Any]) -> Any:
    from brainnet.connectome import build, load

    with _written(description) as path:
        return build(load(path))


@contextlib.contextmanager
def _written(description: dict[str, Any]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="brainnet-bench-") as folder:
        path = Path(folder) / "network.yaml"
        path.write_text(yaml.safe_dump(description))
        yield path


class _Network:
    """A network that runs in a brain of its own."""

    def __init__(self, brain: OwnBrain, bus: Bus) -> None:
        self._brain = brain
        self._bus = bus

    async def states(self) -> list[ClockState]:
        return await clock_states(self._bus)

    async def running(self) -> None:
        """Wait until every process has computed some steps."""
        deadline = time.monotonic() + _START_S
        while any(state.next_step < 200 for state in await self.states()):
            if time.monotonic() > deadline:
                raise BusError(f"the network of the benchmark has not begun within {_START_S:g} s")
            await asyncio.sleep(_POLL_S)

    async def real_time_factor(self, seconds: float) -> float:
        """Measure the speed of the slowest process, for `seconds` and until it has made a step.

        Raises:
            BusError: It makes none.
        """
        before, started = min(state.next_step for state in await self.states()), time.perf_counter()
        while True:
            await asyncio.sleep(seconds)
            after, passed = await self.states(), time.perf_counter() - started
            steps = min(state.next_step for state in after) - before
            if steps > 0:
                return steps * after[0].dt_ms / 1000 / passed
            if passed > _NO_STEP_S:
                raise BusError(f"the network makes no step in {passed:.0f} s; `brainnet clock status` shows who waits")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Let somebody watch all streams."""
        command = self._brain.command("topic", "echo", key("stream"))
        watcher = subprocess.Popen(
            command, env=self._brain.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            watcher.kill()
            watcher.wait()


def _with_network(description: dict[str, Any], run: Callable[[_Network], Any]) -> Any:
    """Launch a network, and return what a measurement of it says."""
    with _written(description) as path, OwnBrain(path) as brain:
        brain.launch()

        async def measured() -> Any:
            async with _connected(brain) as network:
                return await run(network)

        return asyncio.run(measured())


@contextlib.asynccontextmanager
async def _connected(brain: OwnBrain) -> AsyncIterator[_Network]:
    async with brain.connected() as bus:
        await brain.complete(bus)
        network = _Network(brain, bus)
        await network.running()
        yield network


@dataclass(frozen=True)
class _Case:
    about: str
    measure: Callable[[Plan], list[Row]]


def _speed_case(about: str, name: str, description: Callable[[Plan], dict[str, Any]], bar: float) -> _Case:
    return _Case(about, lambda plan: [_speed(name, description(plan), plan, bar)])


CASES: Final = {
    "pair": _speed_case("two regions of 1,000 LIF, delays of 5 ms", "pair", lambda _: pair(), 8.0),
    "stdp": _speed_case("the same with STDP", "pair_stdp", lambda _: pair(stdp=True), 6.0),
    "short": _speed_case("the first in windows of 1 ms", "pair_1ms", lambda _: pair(window=1), 4.0),
    "large": _speed_case("two large regions, 100 synapses a neuron", "large", lambda plan: large(plan.neurons), 1.0),
    "watched": _Case("the first while somebody watches", lambda plan: [_watched(plan)]),
    "realtime": _Case("the first in real time", _real_time),
    "boundary": _Case("spikes across the boundary of two processes", _boundary),
}
"""What is measured, by name."""

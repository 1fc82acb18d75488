"""Runners in threads, on a network that loses, repeats and delays: the spikes are those of one process."""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainnet.connectome import Connectome, build, window_of
from brainnet.errors import BrainnetError, StoreError
from brainnet.simulation.digest import combined
from brainnet.streams.division import owners, plan_of
from brainnet.streams.lockstep import Lockstep
from brainnet.streams.packing import packer
from brainnet.streams.runner import Runner
from brainnet.streams.saved_states import Identity, SavedStates
from brainnet.streams.window import SpikeWindow, decode_window, encode_window
from brainnet.testing import wait_until
from brainnet.wire.messages import ClockControl, ClockState
from tests.simulation.networks import connectomes, written

STEPS = 200


class Wires:
    """Connects runners; loses, repeats and holds back what they send, as a seed decides."""

    def __init__(self, seed: int, loss: float) -> None:
        self.runners: dict[str, Runner] = {}
        self.process_of: dict[str, str] = {}
        self.states: dict[str, ClockState] = {}
        self.loop = asyncio.new_event_loop()
        self._rng = random.Random(seed)
        self._loss = loss
        self.watched = False
        self.shown: list[bytes] = []
        self._held: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def deliver(self, give: Callable[[], None]) -> None:
        """Give now, later, twice or never."""
        with self._lock:
            chance = self._rng.random()
            if chance < self._loss:
                return
            if chance < 2 * self._loss:
                self._held.append(give)
                return
            now, self._held = self._held, []
        for each in (give, *now, *([give] if chance < 3 * self._loss else [])):
            each()

    def link(self) -> WireLink:
        return WireLink(self)


class WireLink:
    """The link of one runner."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires

    def is_watched(self, population: str) -> bool:
        return self._wires.watched

    def show(self, population: str, payload: bytes) -> None:
        self._wires.shown.append(payload)

    def send(self, population: str, payload: bytes) -> None:
        wires = self._wires
        for runner in list(wires.runners.values()):
            if population in runner.lockstep.plan.sources:
                wires.deliver(lambda taken=runner: taken.take_window(payload))  # type: ignore[misc]

    def announce(self, state: ClockState) -> None:
        wires = self._wires
        wires.states[state.process] = state
        for name, runner in list(wires.runners.items()):
            if name != state.process:
                wires.deliver(lambda taken=runner: taken.take_state(state))  # type: ignore[misc]

    def ask(self, population: str, run: str, step: int, done: Callable[[list[bytes], str], None]) -> None:
        async def answer() -> None:
            try:
                runner = self._wires.runners[self._wires.process_of[population]]
                done((await runner.windows(population, run, step)).windows, "")
            except BrainnetError as error:
                done([], str(error))

        asyncio.run_coroutine_threadsafe(answer(), self._wires.loop)


class Divided:
    """A network that runs in several threads, each as a process would."""

    def __init__(
        self, connectome: Connectome, number: int, folder: Path, wires: Wires, steps: int | None = STEPS
    ) -> None:
        names = list(connectome.populations)
        self.parts = {f"process{i}": names[i::number] for i in range(number) if names[i::number]}
        self.connectome, self.folder, self.wires, self.steps = connectome, folder, wires, steps
        wires.process_of = owners(self.parts)
        self.failures: dict[str, BaseException] = {}

    def make(self, process: str, run: str = "run") -> Runner:
        plan = plan_of(self.connectome, self.parts, process, credit=8, last_step=self.steps)
        network = build(self.connectome, self.parts[process], plan.window)
        lockstep = Lockstep(network, plan, packer(network, lambda: run, plan.window))
        return Runner(
            lockstep,
            self.wires.link(),
            SavedStates(self.folder / "states", Identity(run, "network", process)),
            run,
            self.wires.process_of,
            save_every_s=0.02,
            on_failure=lambda error: self.failures.update({process: error}),
        )

    def start(self) -> None:
        for process in self.parts:
            self.wires.runners[process] = self.make(process)
        for runner in list(self.wires.runners.values()):
            runner.start()

    def kill(self, process: str) -> None:
        """End a runner as a kill would, without a last saved state, and start another one in its place."""
        dead = self.wires.runners[process]
        dead._save = lambda **_: None  # type: ignore[method-assign]
        dead.stop()
        self.wires.runners[process] = self.make(process)
        self.wires.runners[process].start()

    def control(self, process: str, **order: Any) -> ClockState:
        runner = self.wires.runners[process]
        return asyncio.run_coroutine_threadsafe(runner.control(ClockControl(**order)), self.wires.loop).result(60)

    def wait_finished(self) -> str:
        def finished() -> bool:
            assert not self.failures
            return all(r.lockstep.finished for r in self.wires.runners.values())

        wait_until("all steps to be computed", finished)
        return combined({n: d for p in self.parts for n, d in self.control(p).digests.items()})

    def stop(self) -> None:
        for runner in self.wires.runners.values():
            runner.stop()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(connectomes(5), st.sampled_from([1, 2, 3, 5]), st.integers(0, 2**32), st.booleans())
def test_a_divided_network_fires_as_the_whole_over_a_bad_network(
    description: dict[str, Any], number: int, seed: int, killed: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        connectome = written(Path(folder), description)
        whole = build(connectome)
        whole.run(STEPS, window_of(connectome, connectome.projections))
        wires = Wires(seed, loss=0.05)
        network = Divided(connectome, number, Path(folder), wires)
        try:
            network.start()
            if killed:
                for process in network.parts:
                    network.kill(process)
            assert network.wait_finished() == whole.digest()
        finally:
            network.stop()
            wires.close()


PAIR = {
    "version": 1,
    "populations": [
        {"id": name, "model": "lif", "size": 5, "parameters": {"noise": {"rate_hz": 900.0, "weight": 700.0}}}
        for name in "ab"
    ],
    "projections": [
        {"from": f, "to": t, "synapses": {"connect": "all_to_all", "weight": 150.0, "delay_ms": 3}}
        for f, t in ("ab", "ba")
    ],
}


@pytest.fixture
def pair(tmp_path: Path) -> Any:
    wires = Wires(0, loss=0.0)
    network = Divided(written(tmp_path, PAIR), 2, tmp_path, wires, steps=None)
    network.start()
    yield network
    network.stop()
    wires.close()


def step_of(network: Divided, process: str) -> int:
    return network.wires.runners[process].lockstep.next_step


def test_an_order_to_stop_holds_to_the_step_and_for_a_process_that_was_away(pair: Divided) -> None:
    wait_until("it to run", lambda: step_of(pair, "process0") > 10)
    stopped = [pair.control(process, action="stop_at", control=1) for process in pair.parts]
    assert {state.phase for state in stopped} == {"paused"}
    until = max(state.next_step for state in stopped) + 7
    for process in pair.parts:
        pair.control(process, action="stop_at", until=until, control=2)
    wait_until("both to stop", lambda: [step_of(pair, p) for p in pair.parts] == [until, until])
    pair.control("process0", action="go_on", control=1)  # an order that comes late
    pair.kill("process1")
    wait_until("the new one to stop there", lambda: pair.control("process1").phase == "paused")
    assert step_of(pair, "process1") == until
    pair.control("process0", action="go_on", control=3)  # the other one hears of it
    wait_until("both to go on", lambda: min(step_of(pair, p) for p in pair.parts) > until + 100)


def test_whoever_watches_is_shown_all_steps_in_few_packets(pair: Divided) -> None:
    pair.wires.watched = True
    wait_until("it to run", lambda: step_of(pair, "process0") > 2000)
    for process in pair.parts:
        pair.control(process, action="stop_at", control=1)
    wait_until("both to stop", lambda: {pair.control(p).phase for p in pair.parts} == {"paused"})
    pair.wires.watched = False
    seen = [decode_window(payload) for payload in pair.wires.shown]
    for name in "ab":
        windows = [window for window in seen if window.source == name]
        assert [window.seq for window in windows] == list(range(1, len(windows) + 1))
        for before, after in itertools.pairwise(windows):
            assert after.first_step == before.first_step + before.steps
        steps = windows[-1].first_step + windows[-1].steps - windows[0].first_step
        assert steps / len(windows) > 3 * 3  # windows of 3 steps, many of them together
        assert sum(window.fired.size for window in windows) > 0


def test_who_waits_says_for_whom(pair: Divided) -> None:
    wait_until("it to run", lambda: step_of(pair, "process0") > 10)
    runner = pair.wires.runners.pop("process1")
    runner.stop()
    wait_until("it to wait", lambda: pair.control("process0").phase == "waiting")
    assert pair.control("process0").waits_for == ["process1"]
    pair.wires.runners["process1"] = runner


def test_windows_of_another_run_and_wrong_ones_are_left_out(pair: Divided) -> None:
    other = pair.make("process1", run="another")
    other.lockstep.advance()
    payload = other.lockstep.last_sent("b")
    pair.control("process0", action="stop_at", control=1)
    pair.wires.runners["process0"].take_window(payload)
    for wrong in (
        b"no window",
        encode_window(SpikeWindow("b", "run", 0, 500, 1000, np.array([0, 1], np.int32), np.array([400], np.int32))),
        encode_window(SpikeWindow("b", "run", 0, 5, 1000, np.zeros(1001, np.int32), np.zeros(0, np.int32))),
        encode_window(SpikeWindow("b", "run", 0, 5, 100, np.zeros(2, np.int32), np.zeros(0, np.int32))),
        encode_window(SpikeWindow("c", "run", 0, 5, 1000, np.zeros(2, np.int32), np.zeros(0, np.int32))),
    ):
        pair.wires.runners["process0"].take_window(wrong)
    pair.control("process0", action="go_on", control=2)
    step = step_of(pair, "process0")
    wait_until("it to run on", lambda: step_of(pair, "process0") > step + 20)
    assert pair.failures == {}


def test_a_saved_state_of_another_network_is_refused_and_of_another_run_left_alone(tmp_path: Path) -> None:
    one = SavedStates(tmp_path, Identity("run", "network", "a"))
    assert one.load() is None
    one.save({"x": np.arange(3)})
    loaded = one.load()
    assert loaded is not None
    assert loaded["x"].tolist() == [0, 1, 2]
    assert SavedStates(tmp_path, Identity("another", "network", "a")).load() is None
    with pytest.raises(StoreError, match="another network"):
        SavedStates(tmp_path, Identity("run", "other", "a")).load()
    one.path.write_bytes(one.path.read_bytes()[:100])
    with pytest.raises(StoreError, match="damaged"):
        one.load()

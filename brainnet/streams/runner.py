"""Runs one process of a network in lock-step with the others, in a thread of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import numpy as np
import structlog

from brainnet.errors import BrainnetError, ModelError, StoreError
from brainnet.guard import RepeatFilter, describe
from brainnet.simulation.spikes import Spikes
from brainnet.streams.lesioned import lesioned
from brainnet.streams.link import MAX_REPLY_BYTES, Link
from brainnet.streams.lockstep import Lockstep, Progress
from brainnet.streams.lost_windows import GAP_S, ON_THE_WAY_S, LostWindows
from brainnet.streams.modulation_log import ModulationLog
from brainnet.streams.realtime import Anchor, Realtime
from brainnet.streams.saved_states import SavedStates
from brainnet.streams.watched import TOGETHER_S, Watched
from brainnet.streams.window import decode_window
from brainnet.wire.messages import ClockAnchor, ClockControl, ClockState, Lesion, SourceLateness, Windows
from brainnet.wire.messages.streams import ClockPhase

log = structlog.get_logger("brainnet.streams")
T = TypeVar("T")

ANNOUNCE_S: Final = 0.25
"""Seconds after which a process says how far it is, whether it got on or not."""
START_IN_S: Final = 0.3
"""Seconds after which the first step is due in real time, once all processes are there: all have heard of it then."""
_WAITS_S: Final = 2.0
"""Seconds of waiting after which it is worth a word to people."""


class Runner:
    """One process of a network that runs divided.

    Guarantees: in lock-step with its sources and readers; what is lost on the way is asked for again; its state is
    saved every few seconds, and a process that is resumed from it goes on as if it had never ended.

    Args:
        lockstep: The process, with its network.
        link: The network between processes.
        states: Where its state is saved.
        run: Name of this run; windows of any other are left out.
        process_of: The process of each population.
        save_every_s: Seconds between two saved states. What was sent since the oldest one is kept for who may be
            resumed from it.
        time_scale: In real time, time on the wall by simulated time.
        lesion_of: Returns what an experiment does to the windows of a population of another process.
        on_waiting: Called in the thread, with whom it waits for when that takes long, and with "" when it goes on.
        on_trouble: Called in the thread with what is wrong with models that go on, and with "" when nothing is.
        on_failure: Called in the thread with what ended it.
    """

    def __init__(
        self,
        lockstep: Lockstep,
        link: Link,
        states: SavedStates,
        run: str,
        process_of: Mapping[str, str],
        *,
        save_every_s: float,
        time_scale: float = 1.0,
        lesion_of: Callable[[str], Lesion | None] = lambda source: None,
        on_waiting: Callable[[str], None] = lambda whom: None,
        on_trouble: Callable[[str], None] = lambda what: None,
        on_failure: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.lockstep = lockstep
        self._link = link
        self._states = states
        self._told = ModulationLog(states.path.with_suffix(".modulators"), run)
        self._run = run
        self._process_of = process_of
        self._save_every_s = save_every_s
        self._time_scale = time_scale
        self._lesion_of, self._random = lesion_of, np.random.default_rng()
        self._everybody = list(dict.fromkeys(process_of.values()))
        self._leads = self._everybody[0] == lockstep.plan.process
        self._others = set(self._everybody) - {lockstep.plan.process}
        self._on_waiting, self._on_trouble, self._on_failure = on_waiting, on_trouble, on_failure
        self._trouble = ""
        self._populations = lockstep.network.populations
        self._dt_ms = next(iter(self._populations.values())).model.setting.dt_ms
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = False
        self._control = 0
        self._known: dict[str, int] = {}  # the first step that is not computed, of every other process
        self._lost = LostWindows()
        self._watched = Watched(
            link,
            run,
            round(self._dt_ms * 1000),
            {name: population.model.setting.size for name, population in self._populations.items()},
            0.0 if isinstance(lockstep, Realtime) else TOGETHER_S,
        )
        self._announced = (time.monotonic(), 0)
        self._factor = 0.0
        self._windows_unannounced = 0
        self._saving: threading.Thread | None = None
        self._save_at = time.monotonic() + save_every_s
        self._waits_since: float | None = None
        self._said_waiting = ""
        self._faults = RepeatFilter()
        self._thread = threading.Thread(target=self._run_thread, name=f"stream-{lockstep.plan.process}", daemon=True)

    # -- from other threads ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, or go on where the last saved state of this run ends."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Save the state and end the thread; waits for at most so many seconds."""
        self._inbox.put(self._set_stopping)
        self._thread.join(timeout)

    def take_window(self, payload: bytes) -> None:
        """Take in a window as it came from the network."""
        self._inbox.put(lambda: self._on_window(payload))

    def take_state(self, state: ClockState) -> None:
        """Take note of how far another process is."""
        self._inbox.put(lambda: self._on_state(state))

    def modulate(self, name: str, amount: float, step: int | None) -> None:
        """Raise a modulator in a step, or in the next one; a value for a step that is past is left out, and counted."""
        self._inbox.put(lambda: self._on_modulation(name, amount, step))

    async def windows(self, population: str, run: str, step: int) -> Windows:
        """Return the windows of a population of this process from a step on, as far as they are kept and computed.

        Raises:
            ModelError: The step is no longer kept, or it is another run.
        """
        return await self.in_thread(lambda: self._windows_since(population, run, step))

    async def control(self, order: ClockControl) -> ClockState:
        """Follow an order to stop or to go on, and return how far this process is, with its digests."""
        return await self.in_thread(lambda: self._follow(order))

    def save_now(self) -> None:
        """Save the state at once; to be called in the thread, for what nobody says again should this process end."""
        self._save(wait=True)

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Call a function in the thread, between two windows, and return what it returns.

        Raises:
            BrainnetError: The thread has ended; or whatever the function raises.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            try:
                value = function()
            except Exception as error:
                loop.call_soon_threadsafe(_set, result, None, error)
            else:
                loop.call_soon_threadsafe(_set, result, value, None)

        if not self._thread.is_alive():
            raise BrainnetError("the network does not run here", code="stopping")
        self._inbox.put(call)
        return await result

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run_thread(self) -> None:
        try:
            saved = self._states.load()
            if saved is not None:
                self.lockstep.load(saved)
                log.info("the network goes on from its saved state", step=self.lockstep.next_step)
            for told in self._told.load(0 if saved is None else int(saved["told"][0])):
                if told.step >= self.lockstep.next_step:
                    self.lockstep.network.modulate(told.name, told.step, told.amount)
            self._announce()
            while not self._stopping:
                while not self._inbox.empty():
                    self._take_one(0.0)
                if self._stopping:
                    break
                if self.lockstep.can_advance:
                    self._advance()
                else:
                    self._wait()
            self._save(wait=True)
            self._watched.show(time.monotonic())
            self._announce()
        except BaseException as error:
            self._announce_failure(error)
            self._on_failure(error)
        finally:
            for population in self._populations.values():
                population.model.close()

    def _set_stopping(self) -> None:
        self._stopping = True

    def _take_one(self, timeout: float) -> None:
        try:
            handle = self._inbox.get(timeout=timeout) if timeout else self._inbox.get_nowait()
        except queue.Empty:
            return
        try:
            handle()
        except Exception as error:  # of this message
            if self._faults.admit(type(error).__name__) is not None:
                log.warning("a message of the network was left out", error=describe(error))

    def _advance(self) -> None:
        fired = self.lockstep.advance()
        for name in fired:
            if name in self.lockstep.plan.readers:
                self._link.send(name, self.lockstep.last_sent(name))
        if self._waits_since is not None:
            self._stop_waiting()
        self._windows_unannounced += 1
        now = time.monotonic()
        self._watched.add(fired.items(), now)
        if self._windows_unannounced >= max(1, self.lockstep.plan.credit // 4) or now - self._announced[0] > ANNOUNCE_S:
            self._announce()
        self._look_for_trouble()
        if now > self._save_at:
            self._save()

    def _look_for_trouble(self) -> None:
        found = [each for each in (p.model.trouble() for p in self._populations.values()) if each]
        if (trouble := "; ".join(found)) != self._trouble:
            self._trouble = trouble
            self._on_trouble(trouble)

    def _wait(self) -> None:
        now = time.monotonic()
        if isinstance(self.lockstep, Realtime):
            self._wait_in_real_time(self.lockstep, now)
            return
        if self._waits_since is None:
            self._waits_since = now
            if self.lockstep.finished or self.lockstep.stopped:
                self._announce()
                self._watched.show(now)
        elif now - self._waits_since > _WAITS_S:
            self._say_waiting()
        self._watched.look(now)
        if now - self._announced[0] > ANNOUNCE_S:
            self._announce()
        if now > self._save_at:
            self._save()
        gap = False
        for source, step in self.lockstep.missing().items():
            has_gap = self.lockstep.has_gap(source)
            gap |= has_gap
            sent = self._known.get(self._process_of[source], 0) > step
            if self._lost.is_due(source, now, now - self._waits_since, has_gap=has_gap, sent=sent):
                self._ask(source, step)
        self._take_one(GAP_S if gap else ON_THE_WAY_S)

    def _wait_in_real_time(self, realtime: Realtime, now: float) -> None:
        self._watched.look(now)
        if now - self._announced[0] > ANNOUNCE_S:
            self._announce()
        if now > self._save_at:
            self._save()
        if realtime.anchor is None and self._leads and self._known.keys() >= self._others:
            # All are there: the first process says when they begin.
            step = max([realtime.next_step, *self._known.values()])
            at_ns = time.time_ns() + int(START_IN_S * 1e9)
            anchor = ClockAnchor(step=step, at_ns=at_ns, scale=self._time_scale)
            self._obey(max(self._control, 1), realtime.stop_at, anchor)
            self._announce()
        due_s = realtime.due_in_s()
        if due_s > 0:
            self._take_one(min(due_s, ANNOUNCE_S))

    def _stop_waiting(self) -> None:
        self._waits_since = None
        self._lost.clear()
        if self._said_waiting:
            self._said_waiting = ""
            self._on_waiting("")

    def _say_waiting(self) -> None:
        if self.lockstep.finished or self.lockstep.stopped:
            return
        whom = ", ".join(self._waits_for())
        said = f"{whom}: {self._lost.reason}" if self._lost.reason else whom
        if said and said != self._said_waiting:
            self._said_waiting = said
            self._on_waiting(said)

    def _waits_for(self) -> list[str]:
        """Return the processes that it cannot go on without."""
        if self.lockstep.finished or self.lockstep.stopped:
            return []
        sources = {self._process_of[source] for source in self.lockstep.missing()}
        return sorted(sources | set(self.lockstep.behind()))

    # -- asking again ------------------------------------------------------------------------------------------------

    def _ask(self, source: str, step: int) -> None:
        self._lost.asked(source, time.monotonic())
        self._link.ask(
            source,
            self._run,
            step,
            lambda windows, reason: self._inbox.put(lambda: self._on_asked(source, windows, reason)),
        )

    def _on_asked(self, source: str, windows: list[bytes], reason: str) -> None:
        self._lost.replied(source, len(windows), reason)
        for payload in windows:
            self._on_window(payload)

    def _windows_since(self, population: str, run: str, step: int) -> Windows:
        if run != self._run:
            raise ModelError(f"process {self.lockstep.plan.process} is in run {self._run}, not {run}")
        windows: list[bytes] = []
        size = 0
        for sent in self.lockstep.sent_since(population, step):
            windows.append(sent.payload)
            size += len(windows[-1])
            if size > MAX_REPLY_BYTES:
                break
        return Windows(windows=windows)

    def _on_modulation(self, name: str, amount: float, step: int | None) -> None:
        at = self.lockstep.next_step if step is None else step
        self.lockstep.network.modulate(name, at, amount)
        # The saved state does not have it yet, and nobody sends it again.
        self._told.add(name, at, amount)

    # -- what comes --------------------------------------------------------------------------------------------------

    def _on_window(self, payload: bytes) -> None:
        window = decode_window(payload)
        if window.run != self._run:
            return
        # The synapses take for granted what is checked here.
        plan = self.lockstep.plan
        size, dt_us = plan.sizes.get(window.source), round(self._dt_ms * 1000)
        if (window.neurons, window.dt_us) != (size, dt_us) or window.steps > plan.window:
            raise ModelError(
                f"a window of {window.source} has {window.neurons} neurons, {window.steps} steps of {window.dt_us} us; "
                f"it has {size} neurons and at most {plan.window} steps of {dt_us} us"
            )
        spikes = Spikes(window.first_step, window.offsets, window.fired)
        lesion = self._lesion_of(window.source)
        if lesion is not None:
            spikes = lesioned(spikes, window.neurons, lesion, self._random)
        self.lockstep.receive(window.source, spikes)

    def _on_state(self, state: ClockState) -> None:
        if state.run != self._run or state.process == self.lockstep.plan.process:
            return
        self._known[state.process] = state.next_step
        self.lockstep.note_progress(state.process, Progress(state.next_step, state.needed_step))
        if state.control > self._control:  # an order that did not reach this process, because it was away
            self._obey(state.control, state.until, state.anchor)
        elif state.anchor is not None and isinstance(self.lockstep, Realtime) and self.lockstep.anchor is None:
            self._obey(self._control, self.lockstep.stop_at, state.anchor)

    def _follow(self, order: ClockControl) -> ClockState:
        if order.action != "status" and order.control > self._control:
            self._obey(order.control, order.until if order.action == "stop_at" else None, order.anchor)
            self._announce()
        return self._state(with_digests=True)

    def _obey(self, control: int, until: int | None, anchor: ClockAnchor | None) -> None:
        self._control = control
        self.lockstep.stop_at = until
        if anchor is not None and isinstance(self.lockstep, Realtime):
            self.lockstep.set_anchor(Anchor(anchor.step, anchor.at_ns, anchor.scale))
        self._waits_since = None

    # -- what others are told ----------------------------------------------------------------------------------------

    @property
    def _phase(self) -> ClockPhase:
        if self.lockstep.finished:
            return "finished"
        if self.lockstep.stopped:
            return "paused"
        if isinstance(self.lockstep, Realtime):
            return "starting" if self.lockstep.anchor is None else "running"
        return "running" if self._waits_since is None else "waiting"

    def _state(self, *, with_digests: bool = False) -> ClockState:
        step = self.lockstep
        return ClockState(
            process=step.plan.process,
            run=self._run,
            phase=self._phase,
            next_step=step.next_step,
            needed_step=step.needed_step,
            last_step=step.plan.last_step,
            until=step.stop_at,
            control=self._control,
            dt_ms=self._dt_ms,
            waits_for=self._waits_for() if self._waits_since is not None else [],
            real_time_factor=self._factor,
            resent=self._lost.resent,
            processes=self._everybody if with_digests else [],
            digests=step.network.digests() if with_digests or step.finished else {},
            reason=self._lost.reason,
            **self._in_real_time(),
        )

    def _in_real_time(self) -> dict[str, Any]:
        realtime = self.lockstep
        if not isinstance(realtime, Realtime):
            return {}
        anchor = realtime.anchor
        scale = self._time_scale if anchor is None else anchor.scale
        return {
            "mode": "realtime",
            "anchor": None if anchor is None else ClockAnchor(step=anchor.step, at_ns=anchor.at_ns, scale=scale),
            "overruns": realtime.overruns,
            "lateness": [
                SourceLateness(
                    source=source,
                    windows=lateness.windows,
                    late=lateness.late,
                    missed=lateness.missed,
                    p50_ms=lateness.percentile(0.5),
                    p99_ms=lateness.percentile(0.99),
                    longest_ms=lateness.longest_ms,
                    allowed_ms=realtime.plan.sources[source] * self._dt_ms * scale,
                )
                for source, lateness in realtime.lateness.items()
            ],
        }

    def _announce(self) -> None:
        now, step = time.monotonic(), self.lockstep.next_step
        before, step_before = self._announced
        if now - before > ANNOUNCE_S / 2:
            self._factor = max(0, step - step_before) * self._dt_ms / 1000 / (now - before)
            self._announced = now, step
        self._windows_unannounced = 0
        self._link.announce(self._state())

    def _announce_failure(self, error: BaseException) -> None:
        state = self._state()
        state.phase, state.reason = "failed", describe(error)
        self._link.announce(state)

    # -- saving ------------------------------------------------------------------------------------------------------

    def _save(self, *, wait: bool = False) -> None:
        """Save the state behind the computation; a write that is not finished yet is not joined by another."""
        self._save_at = time.monotonic() + self._save_every_s
        if self._saving is not None and self._saving.is_alive():
            if not wait:
                return
            self._saving.join()
        arrays, would_need, told = self.lockstep.save(), self.lockstep.would_need, self._told.number
        arrays["told"] = np.array([told])
        if wait:
            self._write(arrays, would_need, told)
            return
        self._saving = threading.Thread(
            target=self._write, args=(arrays, would_need, told), name="stream-save", daemon=True
        )
        self._saving.start()

    def _write(self, arrays: dict[str, Any], would_need: int, told: int) -> None:
        try:
            self._states.save(arrays)
        except StoreError as error:
            if self._faults.admit("save") is not None:
                log.error("the state of the network is not saved", error=str(error))
            return
        self._inbox.put(lambda: self._on_saved(would_need, told))

    def _on_saved(self, would_need: int, told: int) -> None:
        self.lockstep.note_saved(would_need)
        if self._told.number:
            self._told.forget(told)


def _set(future: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)

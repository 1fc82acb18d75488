"""Runs a chaos test from its options to its report."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from brainnet.bus import Bus, Endpoint, learn_topics
from brainnet.client import connect, host_statuses
from brainnet.errors import ConfigError
from brainnet.testing.chaos import disk as disks
from brainnet.testing.chaos import other, processes
from brainnet.testing.chaos.client import ForeignClient
from brainnet.testing.chaos.context import Context, now
from brainnet.testing.chaos.flood import flood
from brainnet.testing.chaos.ledger import CHANNELS, Ledger
from brainnet.testing.chaos.report import Report
from brainnet.testing.chaos.target import Target
from brainnet.testing.own_brain import OwnBrain
from brainnet.testing.workload import kinds_for
from brainnet.wire.messages import HostStatus

Fault = Literal["kill", "stop", "flood", "garbage", "slow", "disk"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
"""Every fault, in the order in which a run without a choice injects them."""
_TICK_S: Final = 0.1
_SHOW_S: Final = 0.5
_SHOW_SHARE: Final = 0.02
"""Part of the time that may be spent on counting what is shown meanwhile: it is taken from what is measured."""
_WARM_UP_S: Final = 20.0

Progress = Callable[[Report, str], None]
"""Called now and then with what was found so far, and what is done now."""


@dataclass(frozen=True)
class Options:
    """What a chaos run does.

    Attributes:
        allocation: The brain that it launches; None for the default one.
        attach: A brain that already runs, and the folder of its state, instead of one of its own.
        duration_s: Seconds of each fault.
        seed: Every random choice follows from it. What the machine does is not a choice: two runs differ in time.
        faults: What is injected, one after the other.
        rate_per_s: Prompts a second beside each fault but `flood`, which sends its own.
        deadline_s: Deadline of each prompt.
    """

    allocation: Path | None = None
    attach: tuple[Endpoint, Path] | None = None
    duration_s: float = 30.0
    seed: int = 0
    faults: tuple[Fault, ...] = FAULTS
    rate_per_s: float = 5.0
    deadline_s: float = 10.0


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Read the names of faults, with commas between them.

    Raises:
        ConfigError: One of them is unknown, or there is none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in FAULTS]
    if unknown or not names:
        what = f"there is no fault {', '.join(unknown)}" if unknown else "no fault is named"
        raise ConfigError(f"--faults {text}: {what}; there are {', '.join(FAULTS)}")
    return tuple(fault for name in names for fault in FAULTS if fault == name)


def run(options: Options, progress: Progress | None = None) -> Report:
    """Run a chaos test; call it from the main thread of a process that has no other.

    Ctrl-C ends it early: the report then holds what was found until then.

    Guarantees: when it returns or raises, nothing that it started is left, no process is stopped, no lock is held, and
    every limit is lifted.

    Raises:
        BrainnetError: The brain cannot be launched, or none runs to attach to.
    """
    if options.attach is not None:
        endpoint, state = options.attach
        return asyncio.run(_Run(options, progress, endpoint, state, None).measure())
    skipped = ""
    with OwnBrain(options.allocation) as brain:
        mounted = False
        if "disk" in options.faults:
            skipped = disks.mount_small_disk(brain.state)
            mounted = not skipped
        try:
            brain.launch()
            work = _Run(options, progress, brain.endpoint, brain.state, brain, small_disk=mounted, skipped=skipped)
            return asyncio.run(work.measure())
        finally:
            brain.stop()
            if mounted:
                disks.unmount(brain.state)


class _Run:
    def __init__(
        self,
        options: Options,
        progress: Progress | None,
        endpoint: Endpoint,
        state: Path,
        brain: OwnBrain | None,
        *,
        small_disk: bool = False,
        skipped: str = "",
    ) -> None:
        self._options = options
        self._progress = progress
        self._endpoint = endpoint
        self._state = state
        self._brain = brain
        self._small_disk = small_disk
        self._skipped = [f"disk: {skipped}"] if skipped else []
        self._ledger = Ledger()
        self._doing = "waits for the brain"
        self._phases: list[str] = []
        self._context: Context | None = None
        self._interrupted = False

    async def measure(self) -> Report:
        loop = asyncio.get_running_loop()
        interrupted = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted.set)
        work = asyncio.create_task(self._all_faults())
        showing = asyncio.create_task(self._show())
        waiting = asyncio.create_task(interrupted.wait())
        try:
            await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
            self._interrupted = not work.done()
            if self._interrupted:
                work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            for task in (showing, waiting, work):
                task.cancel()
            await asyncio.gather(showing, waiting, work, return_exceptions=True)
        return self._report()

    async def _all_faults(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            bus, status = await self._connect(stack)
            target = Target(bus, status, self._state)
            regions = await target.answering()
            # Not from the seed: a brain that is attached to twice must not take the prompts for those of the first run.
            word = f"{self._options.seed}-{time.time_ns():x}"
            client = ForeignClient(self._endpoint, self._ledger, word, self._options.deadline_s)
            await stack.enter_async_context(client)
            self._context = Context(
                target,
                client,
                self._ledger,
                kinds_for(target.nodes, regions),
                self._options.seed,
                self._tell,
                small_disk=self._small_disk,
                skipped=self._skipped,
            )
            await self._warm_up(self._context)
            await self._drain()
            for fault in self._options.faults:
                await self._phase(self._context, fault)
                # Before the next fault, so that a loss is counted for the fault that caused it.
                await self._drain()

    async def _connect(self, stack: contextlib.AsyncExitStack) -> tuple[Bus, HostStatus]:
        if self._brain is not None:
            bus = await stack.enter_async_context(self._brain.connected())
            status = await self._brain.ready(bus)
            await learn_topics(bus)
            return bus, status
        bus = await stack.enter_async_context(await connect(self._endpoint))
        statuses = await host_statuses(bus)
        if len(statuses) > 1:
            hosts = ", ".join(status.host for status in statuses)
            raise ConfigError(f"this brain runs on several hosts ({hosts}); chaos needs one that is all on this host")
        return bus, statuses[0]

    async def _warm_up(self, context: Context) -> None:
        """Ask one prompt of each kind, so that what runs for the first time is not taken for the effect of a fault."""
        context.progress("warms up")
        for kind in context.kinds:
            for text in kind.first:
                first = kind.model_copy(update={"text": text, "image": None})
                await self._ask(context, first)
            await self._ask(context, kind)

    async def _ask(self, context: Context, kind: Any) -> None:
        sent = await context.client.send(kind, "json", "warm-up", wait=True)
        assert sent.settled is not None
        await asyncio.wait({sent.settled}, timeout=_WARM_UP_S)

    async def _phase(self, context: Context, fault: Fault) -> None:
        self._phases.append(fault)
        if fault == "flood":
            await flood(context, self._options.duration_s)
            return
        injectors: dict[Fault, Callable[[Context], Coroutine[Any, Any, None]]] = {
            "kill": processes.kill,
            "stop": processes.stop,
            "slow": processes.slow,
            "garbage": other.garbage,
            "disk": other.disk,
        }
        context.ends_s = now() + self._options.duration_s
        injecting = asyncio.create_task(injectors[fault](context))
        loading = asyncio.create_task(self._load(context, fault))
        try:
            done, _ = await asyncio.wait({injecting, loading}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (injecting, loading):
                task.cancel()
            await asyncio.gather(injecting, loading, return_exceptions=True)
        context.progress(f"waits until the brain has recovered from {fault}")
        until_s = now() + processes.RECOVERY_S  # for all together: a node that stays away must not be waited for twice
        for node in context.target.nodes:
            await context.target.back(node, {}, max(0.0, until_s - now()))

    async def _load(self, context: Context, phase: str) -> None:
        """Send prompts at random moments, at the rate of the options."""
        rng = context.rng(f"load {phase}")
        while True:
            await asyncio.sleep(rng.expovariate(self._options.rate_per_s))
            kind, channel = context.draw(rng)
            await context.client.send(kind, channel, phase)

    async def _drain(self) -> None:
        """Wait until every prompt has its answer, or none comes any more."""
        self._tell("waits for the last answers")
        assert self._context is not None
        while True:
            self._context.client.read_inbox()
            if self._ledger.open_until(now()) is None:
                return
            await asyncio.sleep(_TICK_S / 2)

    async def _show(self) -> None:
        while self._progress is not None:
            started = time.thread_time()
            self._progress(self._report(), self._doing)
            await asyncio.sleep(max(_SHOW_S, (time.thread_time() - started) / _SHOW_SHARE))

    def _tell(self, doing: str) -> None:
        self._doing = doing

    def _report(self) -> Report:
        context, at_s = self._context, now()
        if context is not None:
            context.client.read_inbox()
        report = Report(
            seed=self._options.seed,
            duration_s=self._options.duration_s,
            rate_per_s=self._options.rate_per_s,
            faults=list(self._options.faults),
            interrupted=self._interrupted,
            total=self._ledger.tally(at_s),
            by_fault={phase: self._ledger.tally(at_s, phase=phase) for phase in self._phases},
            by_channel={channel: self._ledger.tally(at_s, channel=channel) for channel in CHANNELS},
            error_texts=self._ledger.error_texts(),
            wrong=self._ledger.wrong(at_s),
            unmatched=self._ledger.unmatched,
            skipped=list(self._skipped),
        )
        if context is not None:
            report.allocation = context.target.allocation
            report.flood = context.flood
            report.links_lost = context.client.links_lost
            report.injected = dict(sorted(context.injected.items()))
            report.recovery = [
                times.report(victim, fault) for (victim, fault), times in sorted(context.recovery.items())
            ]
        return report

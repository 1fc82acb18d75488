"""Faults of processes: killed, stopped, slowed down."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from brainnet.testing.chaos.context import Context, now
from brainnet.testing.chaos.ledger import Sent
from brainnet.testing.chaos.target import ZYGOTE, came_true
from brainnet.testing.tied import tied

RECOVERY_S: Final = 40.0
"""Seconds after which a victim that is not ready again counts as not recovered: longer than the longest back-off."""
NOTICE_S: Final = 10.0
"""Seconds in which the supervisor has to notice that a process is stopped: four times the timeout of a heartbeat."""
_ANSWER_S: Final = 10.0
_PROBE_S: Final = 0.1
"""Between two prompts that look for the first answer."""
_PAUSE_S: Final = (0.1, 0.8)
"""Between two faults, drawn evenly."""
_PULSE_S: Final = (0.2, 1.2)
"""How long a process is stopped by `slow`: below the 1.5 s after which the supervisor begins to ask for it."""
_BURN: Final = "while True: pass"


async def kill(context: Context) -> None:
    """Kill one random process after the other, each when the one before is ready again."""
    await _one_by_one(context, "kill", _kill)


async def stop(context: Context) -> None:
    """Stop one random process after the other; the supervisor has to notice and replace it."""
    await _one_by_one(context, "stop", _stop)


async def _one_by_one(context: Context, fault: str, inject: Callable[[Context, str, int], Awaitable[None]]) -> None:
    rng = context.rng(fault)
    while context.goes_on:
        victims = context.target.victims
        for victim in rng.sample(victims, len(victims)):  # everybody once, before anybody again
            await asyncio.sleep(rng.uniform(*_PAUSE_S))
            if not context.goes_on:
                return
            if not context.target.may_end(victim):
                continue
            pid = await context.target.pid(victim)
            if pid is None:
                continue
            context.progress(f"{fault} {victim}")
            await inject(context, victim, pid)


async def _kill(context: Context, victim: str, pid: int) -> None:
    times = context.times(victim, "kill")
    old = await _pids(context, victim)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    started = now()
    context.target.ended(victim)
    context.injected["kill"] += 1
    times.times += 1
    probing = asyncio.create_task(_first_answer(context, victim, "kill", started))
    try:
        if await context.target.back(victim, old, RECOVERY_S):
            times.ready.append(now() - started)
            answered = await probing
            if answered is not None:
                times.answer.append(answered)
        else:
            times.unrecovered += 1
            await context.target.start(victim)
    finally:
        probing.cancel()


async def _stop(context: Context, victim: str, pid: int) -> None:
    times = context.times(victim, "stop")
    old = await _pids(context, victim)
    os.kill(pid, signal.SIGSTOP)
    started = now()
    context.injected["stop"] += 1
    times.times += 1
    try:

        async def noticed() -> bool:
            if victim not in context.target.nodes:
                return context.target.zygote() != pid
            record = (await context.target.records()).get(victim)
            return record is not None and (record.pid != pid or record.state not in ("ready", "degraded"))

        if not await came_true(noticed, NOTICE_S):
            times.unnoticed += 1
            return
        times.detected.append(now() - started)
        context.target.ended(victim)
        if await context.target.back(victim, old, RECOVERY_S):
            times.ready.append(now() - started)
        else:
            times.unrecovered += 1
            await context.target.start(victim)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def _pids(context: Context, victim: str) -> dict[str, int | None]:
    records = await context.target.records()
    found: dict[str, int | None] = {node: record.pid for node, record in records.items()}
    if victim not in context.target.nodes:
        found[ZYGOTE] = context.target.zygote()
    return found


async def _first_answer(context: Context, victim: str, phase: str, started: float) -> float | None:
    """Send prompts to a victim until one is answered with a result; return the seconds from the fault."""
    rng = context.rng(f"probe {victim} {context.injected[phase]}")
    kinds = context.kinds_of(victim)
    prompts: list[Sent] = []
    while now() < started + RECOVERY_S + _ANSWER_S:
        prompts.append(await context.client.send(rng.choice(kinds), "json", phase))
        # One after the other: a prompt that is accepted waits for the victim, and more would only be work for it.
        while prompts[-1].is_open(now()):
            await asyncio.sleep(_PROBE_S)
            answered = context.first_ok(prompts)
            if answered is not None:
                return answered - started
    return None


async def slow(context: Context) -> None:
    """Slow the brain down: stop random processes for moments, lower their priority, and burn the processor."""
    rng = context.rng("slow")
    reniced = await _renice(context)
    try:
        while context.goes_on:
            if rng.random() < 0.25:
                seconds = rng.uniform(1.0, 3.0)
                context.progress(f"burns every processor for {seconds:.1f} s")
                with _burners():
                    await asyncio.sleep(seconds)
                context.injected["processors burnt"] += 1
            else:
                await _pulse(context, rng.choice(context.target.victims), rng.uniform(*_PULSE_S))
            await asyncio.sleep(rng.uniform(*_PAUSE_S))
    finally:
        for pid in reniced:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, pid, 0)


async def _renice(context: Context) -> list[int]:
    """Lower the priority of all nodes, where it can be raised again."""
    if os.geteuid() != 0:
        context.skipped.append("slow: priorities are left alone, because only root may raise them again")
        return []
    reniced = []
    for record in (await context.target.records()).values():
        if record.pid is not None:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, record.pid, 10)
                reniced.append(record.pid)
    context.injected["priority lowered"] += len(reniced)
    return reniced


async def _pulse(context: Context, victim: str, seconds: float) -> None:
    pid = await context.target.pid(victim)
    if pid is None:
        return
    context.progress(f"stops {victim} for {seconds:.1f} s")
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    context.injected["short stop"] += 1


@contextlib.contextmanager
def _burners() -> Iterator[None]:
    burners: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(len(os.sched_getaffinity(0))):
            burners.append(subprocess.Popen(tied(sys.executable, "-c", _BURN)))  # noqa: PERF401  # one may fail
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()

"""Overload: ten times as many prompts as the brain can answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Final

from brainnet.testing.chaos.context import Context, now
from brainnet.testing.chaos.ledger import EXPIRED, LOST_AFTER_S, REFUSED, Percentiles
from brainnet.testing.chaos.report import FloodResult
from brainnet.testing.tied import tied

FACTOR: Final = 10
"""How many times its capacity the brain is offered."""
CLIENTS: Final = 16
"""Clients that each wait for an answer before they ask again, to measure the capacity."""
AFTER_S: Final = 2.0
"""Seconds after the flood in which the brain has to be as fast as before."""
_TICK_S: Final = 0.005
_CATCH_UP: Final = 1.5
"""How many times the rate is sent at most, to make up for moments in which the processors had other work: a burst of
all that was missed would measure the client."""


async def flood(context: Context, duration_s: float) -> None:
    """Measure the capacity, offer ten times as much, and measure what the brain does meanwhile and after it."""
    result = context.flood = FloodResult()
    # The account holds some objects for each of a hundred thousand prompts, none of them in a cycle. The collector
    # would look through them again and again, and what it takes would count as the brain's.
    gc.disable()
    try:
        await _flood(context, result, duration_s)
    finally:
        gc.enable()


async def _flood(context: Context, result: FloodResult, duration_s: float) -> None:
    async with _status_probe(context) as status_ms:
        measuring_s = min(5.0, max(1.0, duration_s / 5))
        context.progress(f"measures the capacity for {measuring_s:.0f} s")
        result.capacity_per_s = await _closed_loop(context, "capacity", measuring_s)
        rate = max(1.0, FACTOR * result.capacity_per_s)
        context.progress(f"floods with {rate:.0f} prompts/s for {duration_s:.0f} s")
        started = now()
        stopped = threading.Event()
        sending = asyncio.create_task(asyncio.to_thread(_open_loop, context, rate, duration_s, stopped))
        try:
            await asyncio.shield(sending)
        finally:
            stopped.set()
            await asyncio.gather(sending, return_exceptions=True)  # the thread ends before the session closes
            ended = now()
            _evaluate(context, result, started, ended)
        context.progress(f"measures the {AFTER_S:.0f} s after the flood")
        after = now()
        result.new_after_per_s = await _closed_loop(context, "after", AFTER_S)
        await _drain(context)
        result.goodput_after_per_s = _answers_per_s(context, after, after + AFTER_S)
        _evaluate(context, result, started, ended)
    result.status_ms = Percentiles.of(status_ms)
    result.status_failed = status_ms.failed


def _evaluate(context: Context, result: FloodResult, started: float, ended: float) -> None:
    context.client.read_inbox()
    prompts = [sent for sent in context.ledger.entries if sent.phase == "flood" and started <= sent.sent_s <= ended]
    outcomes = [(sent, sent.first) for sent in prompts]
    seconds = max(ended - started, 1e-9)
    result.offered_per_s = round(len(prompts) / seconds, 1)
    result.goodput_per_s = _answers_per_s(context, started, ended)
    refusals = [(first.at_s - sent.sent_s) * 1000 for sent, first in outcomes if first and first.code in REFUSED]
    result.refused = len(refusals)
    result.refusal_ms = Percentiles.of(refusals)
    result.expired = sum(1 for _, first in outcomes if first is not None and first.code in EXPIRED)


def _answers_per_s(context: Context, started: float, ended: float) -> float:
    """Return how many answers with a result came per second of a span."""
    firsts = (sent.first for sent in context.ledger.entries)
    good = sum(1 for first in firsts if first is not None and first.ok and started <= first.at_s <= ended)
    return round(good / max(ended - started, 1e-9), 1)


async def _drain(context: Context) -> None:
    """Wait until every prompt of the flood has its answer, or none comes any more."""
    while True:
        context.client.read_inbox()
        until = context.ledger.open_until(now())
        if until is None:
            return
        await asyncio.sleep(min(0.05, max(0.0, until - now()) + 0.001))


async def _closed_loop(context: Context, purpose: str, seconds: float) -> float:
    """Ask with several clients that wait for each answer; return the answers with a result per second."""
    started, end = now(), now() + seconds
    kinds = context.quick_kinds()
    answered = 0

    async def client(number: int) -> None:
        nonlocal answered
        rng = context.rng(f"{purpose} {number}")
        while now() < end:
            sent = await context.client.send(rng.choice(kinds), "json", "flood: measuring", wait=True)
            assert sent.settled is not None
            limit = sent.deadline_s + LOST_AFTER_S - now()
            done, _ = await asyncio.wait({sent.settled}, timeout=max(0.0, min(limit, end - now())))
            if done and sent.settled.result().ok and sent.settled.result().at_s <= end:
                answered += 1
            elif done and not sent.settled.result().ok:
                await asyncio.sleep(0.02)  # a client that is refused does not ask again at once

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return round(answered / (now() - started), 1)


def _open_loop(context: Context, rate: float, duration_s: float, stopped: threading.Event) -> None:
    """Send at a rate, whatever comes back; runs on a thread."""
    rng = context.rng("flood")
    kinds = context.quick_kinds()
    started = time.monotonic()
    sent, before = 0, started
    while (now := time.monotonic()) - started < duration_s and not stopped.is_set():
        due = min((now - started) * rate - sent, max(1.0, (now - before) * rate * _CATCH_UP))
        before = now
        for _ in range(int(due)):
            context.client.send_now(rng.choice(kinds), "json", "flood")
            sent += 1
        stopped.wait(_TICK_S)
    context.injected["prompts of the flood"] += sent


class _Latencies(list[float]):
    """Milliseconds of the queries that were answered, and the number of those that were not."""

    failed = 0


@contextlib.asynccontextmanager
async def _status_probe(context: Context) -> AsyncIterator[_Latencies]:
    """Ask for the state of the brain all the time, from another process, which the flood's own work does not delay.

    It has asked once, and so has started, when the context is entered.
    """
    latencies = _Latencies()
    asked = asyncio.Event()
    endpoint = context.client.endpoint
    process = await asyncio.create_subprocess_exec(
        *tied(sys.executable, "-m", "brainnet.testing.chaos.status_probe", endpoint.namespace, endpoint.hub),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )

    async def read() -> None:
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                value = json.loads(line)
                if value is None:
                    latencies.failed += 1
                else:
                    latencies.append(value)
                asked.set()
        finally:
            asked.set()  # also when it cannot start

    reading = asyncio.create_task(read())
    try:
        await asked.wait()
        yield latencies
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading

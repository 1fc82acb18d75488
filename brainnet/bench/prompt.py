"""Benchmark of prompts, from a client and back; the baseline is a plain Zenoh query through the same hub.

Each kind of prompt is asked by 1, 4 and 16 clients that wait for each answer. They are coroutines of one process, over
one connection. Where another checkout is measured beside this one, both brains run at the same time on the same
machine, and turns of both alternate, so that a change of the machine's load affects both.

The stages of a prompt are those that its answer reports. `transport` is what is left of the time that the client
measured: both ways through the network, and reading and writing on both sides. `between` is what is left of the time
that the brain measured for its nodes: the ways between them, and waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
import timeit
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from brainnet.bench.workload import RAW_QUERY
from brainnet.bus import Bus, Endpoint, open_session
from brainnet.client import connect, host_statuses
from brainnet.errors import BrainnetError, BusError, LaunchError
from brainnet.rows import Row, compare, percentile
from brainnet.testing.own_brain import OwnBrain
from brainnet.testing.tied import tied
from brainnet.testing.workload import Kind, kinds_for
from brainnet.wire.keys import key
from brainnet.wire.messages import Answer, Health, HostStatus, Prompt, StatusQuery, encode

CLIENTS: Final = (1, 4, 16)
"""How many clients ask at the same time."""
RAW: Final = "raw zenoh query, same bytes"
_TIMEOUT_S: Final = 30.0
_DEADLINE_MS: Final = 20_000
_TOTALS: Final = frozenset({"total", "brain"})
"""Parts of an answer's time that are sums of other parts."""
_NODES: Final = ("decision", "fuse")
"""Stages inside of the part `brain`, besides the regions."""


@dataclass(frozen=True)
class Plan:
    """Size of the measurement.

    Attributes:
        turns: How often each kind and number of clients is measured.
        turn_s: Seconds of one turn; each client asks at least once.
        raw_trips: Plain queries in each turn of a kind.
    """

    turns: int = 6
    turn_s: float = 1.0
    raw_trips: int = 100

    @classmethod
    def quick(cls) -> Plan:
        """Return a smaller plan with noisier results."""
        return cls(turns=2, turn_s=0.2, raw_trips=30)


@dataclass
class _Measured:
    """What one brain did with one kind of prompt, asked by one number of clients."""

    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    stages: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: int = 0


@dataclass
class _Subject:
    """One brain that is measured."""

    bus: Bus
    name: str
    measured: defaultdict[tuple[str, int], _Measured] = field(default_factory=lambda: defaultdict(_Measured))


def measure(
    plan: Plan,
    progress: Callable[[str], None] = lambda _: None,
    *,
    attach: Endpoint | None = None,
    against: Path | None = None,
    allocation: Path | None = None,
) -> list[Row]:
    """Run the benchmark; call it from the main thread.

    Args:
        plan: Size of the measurement.
        progress: Called with a description of each step.
        attach: A brain that already runs; by default one of its own is launched.
        against: Another checkout, with an environment in `.venv`, that is measured in turns with this one.
        allocation: What is launched; by default that of the checkout or installation.

    Raises:
        BrainnetError: A brain cannot be launched or does not answer.
    """
    with contextlib.ExitStack() as stack:
        brains: list[OwnBrain] = []
        if attach is None:
            brains.append(stack.enter_context(OwnBrain(allocation)))
        if against is not None:
            brains.append(stack.enter_context(OwnBrain(allocation, checkout=against)))
        for brain in brains:
            brain.launch()
        return asyncio.run(_measure(plan, progress, attach, brains, against))


async def _measure(
    plan: Plan,
    progress: Callable[[str], None],
    attach: Endpoint | None,
    brains: list[OwnBrain],
    against: Path | None,
) -> list[Row]:
    async with contextlib.AsyncExitStack() as stack:
        progress("waits for the brain")
        subjects: list[_Subject] = []
        if attach is not None:
            bus = await stack.enter_async_context(await connect(attach))
            subjects.append(_Subject(bus, "this"))
            kinds = await _kinds(bus, await host_statuses(bus))
        for brain in brains:
            bus = await stack.enter_async_context(brain.connected())
            status = await brain.complete(bus)
            if not subjects:
                kinds = await _kinds(bus, [status])
            subjects.append(_Subject(bus, "this" if not subjects else _commit(against)))
        hub = attach.hub if attach is not None else brains[0].endpoint.hub
        raw = await stack.enter_async_context(_RawQueries.open(hub))
        await _warm_up(subjects, kinds, progress)
        raw_s: defaultdict[str, list[float]] = defaultdict(list)
        numbers = iter(range(10**9))
        for turn in range(plan.turns):
            for kind in kinds:
                progress(f"{kind.name}, turn {turn + 1} of {plan.turns}")
                payload = encode(_prompt(kind, next(numbers)))
                raw_s[kind.name] += await raw.trips(payload, plan.raw_trips)
                for clients in CLIENTS:
                    for subject in subjects:
                        await _ask(subject, kind, clients, plan.turn_s, numbers)
    return _rows(subjects, kinds, raw_s)


async def _kinds(bus: Bus, statuses: list[HostStatus]) -> list[Kind]:
    """Return the kinds that the brain answers."""
    replies = await bus.call_all(key("node_status"), StatusQuery())
    regions = [r.message.node_id for r in replies if isinstance(r.message, Health) and r.message.answers]
    kinds = kinds_for([node.id for status in statuses for node in status.nodes], regions)
    if not kinds:
        raise LaunchError("no node of this brain answers prompts, so there is nothing to measure")
    return kinds


def _prompt(kind: Kind, number: int) -> Prompt:
    return Prompt.model_validate(kind.fields(number) | {"deadline_ms": _DEADLINE_MS})


async def _warm_up(subjects: list[_Subject], kinds: list[Kind], progress: Callable[[str], None]) -> None:
    """Ask each kind some times without counting; what runs for the first time is slower."""
    progress("warms up")
    for subject in subjects:
        for kind in kinds:
            for text in kind.first:
                await _call(subject.bus, Prompt(text=text, deadline_ms=_DEADLINE_MS))
            for number in range(3):
                answer = await _call(subject.bus, _prompt(kind, number))
                if answer.error is not None:
                    raise BusError(f"a prompt of kind {kind.name} is answered with an error: {answer.error}")


async def _call(bus: Bus, prompt: Prompt) -> Answer:
    answer: Answer = await bus.call(key("prompt"), prompt, timeout=_TIMEOUT_S)
    return answer


async def _ask(subject: _Subject, kind: Kind, clients: int, seconds: float, numbers: Any) -> None:
    measured = subject.measured[kind.name, clients]
    started = time.perf_counter()
    answered = 0

    async def client() -> None:
        nonlocal answered
        while True:
            prompt = _prompt(kind, next(numbers))
            before = time.perf_counter()
            try:
                answer = await _call(subject.bus, prompt)
            except BrainnetError:  # refused: too many at once, for one
                measured.errors += 1
            else:
                taken = time.perf_counter() - before
                if answer.error is None:
                    answered += 1
                    measured.latencies.append(taken)
                    for name, value in stages(answer, taken * 1000).items():
                        measured.stages[name].append(value)
                else:
                    measured.errors += 1
            if time.perf_counter() - started >= seconds:
                return

    await asyncio.gather(*(client() for _ in range(clients)))
    measured.rates.append(answered / (time.perf_counter() - started))


def stages(answer: Answer, taken_ms: float) -> dict[str, float]:
    """Return the milliseconds of each stage of one prompt, by name.

    Args:
        answer: Its answer; every part of the time that it reports is a stage.
        taken_ms: What the client measured.
    """
    parts = dict(answer.latency)
    regions = [value for name, value in parts.items() if name.startswith("region.")]
    found = {name: value for name, value in parts.items() if not name.startswith("region.")}
    if regions:
        found["compute"] = max(regions)  # they work at the same time
    if "brain" in parts:
        found["between"] = parts["brain"] - found.get("compute", 0.0) - sum(parts.get(name, 0.0) for name in _NODES)
    whole = parts.get("total", sum(value for name, value in found.items() if name not in _TOTALS))
    found["transport"] = taken_ms - whole
    return found


def _rows(subjects: list[_Subject], kinds: list[Kind], raw_s: dict[str, list[float]]) -> list[Row]:
    ours, others = subjects[0], subjects[1:]
    rows: list[Row] = []
    for kind in kinds:
        raw_ms = statistics.median(raw_s[kind.name]) * 1000
        rows.append(compare(f"{kind.name}_encode", _encode_ms(kind), "ms"))
        for clients in CLIENTS:
            rows += _rows_of(kind.name, clients, ours.measured[kind.name, clients], raw_ms)
            for other in others:
                theirs = other.measured[kind.name, clients]
                rows += _against(kind.name, clients, ours.measured[kind.name, clients], theirs, other.name)
    return rows


def _rows_of(kind: str, clients: int, measured: _Measured, raw_ms: float) -> list[Row]:
    name = f"{kind}_{clients}"
    rows = [compare(f"{name}_rate", statistics.mean(measured.rates), "prompts/s")]
    if measured.latencies:
        milliseconds = [seconds * 1000 for seconds in measured.latencies]
        p50 = statistics.median(milliseconds)
        rows.append(compare(f"{name}_p50", p50, "ms", rival=RAW, rival_value=raw_ms))
        rows.append(compare(f"{name}_p95", percentile(milliseconds, 95), "ms"))
    if measured.errors:
        rows.append(compare(f"{name}_errors", measured.errors, "prompts"))
    if clients == 1:
        rows += [
            compare(f"{name}_stage_{stage}", statistics.median(values), "ms")
            for stage, values in sorted(measured.stages.items())
        ]
    return rows


def _against(kind: str, clients: int, ours: _Measured, theirs: _Measured, rival: str) -> list[Row]:
    name = f"{kind}_{clients}"
    rows = [
        compare(
            f"{name}_rate_against",
            statistics.mean(ours.rates),
            "prompts/s",
            rival=rival,
            rival_value=statistics.mean(theirs.rates),
        )
    ]
    if ours.latencies and theirs.latencies:
        rows.append(
            compare(
                f"{name}_p50_against",
                statistics.median(ours.latencies) * 1000,
                "ms",
                rival=rival,
                rival_value=statistics.median(theirs.latencies) * 1000,
            )
        )
    return rows


def _encode_ms(kind: Kind) -> float:
    prompt = _prompt(kind, 1)
    rounds = 500
    # The minimum, because another process can only make a run slower.
    return min(timeit.repeat(lambda: encode(prompt), number=rounds, repeat=5)) / rounds * 1000


def _commit(checkout: Path | None) -> str:
    """Return how a checkout is called in the rows."""
    git = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return "commit " + subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return str(checkout)


class _RawQueries:
    """Plain queries to another process through the hub of a brain."""

    def __init__(self, session: Any) -> None:
        self._session = session

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, hub: str) -> AsyncIterator[_RawQueries]:
        command = tied(sys.executable, "-m", "brainnet.bench.raw_echo", hub)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
        session = None
        try:
            assert process.stdout is not None
            async with asyncio.timeout(_TIMEOUT_S):
                if not await process.stdout.readline():
                    raise BusError("the process of the raw baseline ended before it served")
            session = await asyncio.to_thread(open_session, Endpoint(hub=hub))
            yield cls(session)
        finally:
            if session is not None:
                await asyncio.to_thread(session.close)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def trips(self, payload: bytes, count: int) -> list[float]:
        """Measure queries one after the other; return the seconds of each."""
        return await asyncio.to_thread(self._trips, payload, count)

    def _trips(self, payload: bytes, count: int) -> list[float]:
        taken: list[float] = []
        deadline = time.monotonic() + _TIMEOUT_S
        while len(taken) < count:
            before = time.perf_counter()
            replies = list(self._session.get(RAW_QUERY, payload=payload, timeout=_TIMEOUT_S))
            after = time.perf_counter()
            if replies and replies[0].ok is not None:
                taken.append(after - before)
            elif time.monotonic() > deadline:  # the hub has not heard of the queryable
                raise BusError("a raw query through the hub gets no reply")
        return taken

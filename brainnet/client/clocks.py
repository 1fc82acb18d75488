"""The clocks of a network of populations: how far its processes are, and orders to all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from brainnet.bus import Bus
from brainnet.errors import BrainnetError
from brainnet.wire.keys import key
from brainnet.wire.messages import ClockAnchor, ClockControl, ClockState

_POLL_S = 0.05
_BEGIN_S = 10.0
"""Seconds in which the processes of a network in real time find each other; they are ready by then."""
_START_IN_NS = 100_000_000
"""Nanoseconds after which the next step is due when a network in real time goes on: all have heard of it by then."""


async def clock_states(bus: Bus, order: ClockControl | None = None) -> list[ClockState]:
    """Return how far every process of the brain's network is, by name, after an order to all of them.

    One that is away, because it is being started again or behind a link that is cut, has the phase `starting`.

    Raises:
        BrainnetError: No process of a network replied.
    """
    replies = await bus.call_all(key("clock_control"), order or ClockControl())
    states = [reply.message for reply in replies if isinstance(reply.message, ClockState)]
    if not states:
        raise BrainnetError(
            "this brain computes no network of populations; launch a connectome file, or name one in the allocation",
            code="not_found",
        )
    found = {state.process: state for state in states}
    for away in {name for state in states for name in state.processes} - found.keys():
        found[away] = ClockState(process=away, run=states[0].run, reason="does not reply", dt_ms=states[0].dt_ms)
    return [found[name] for name in sorted(found)]


async def pause(bus: Bus) -> list[ClockState]:
    """Stop all processes at the same step, as early as they can, and wait until they stand there."""
    await clock_states(bus, _order("stop_at", 0))
    # Each has stopped where it was; those that are behind go on to the step of the foremost.
    return await _stop_at(bus, max(state.next_step for state in await clock_states(bus)))


async def step(bus: Bus, steps: int, on_progress: Callable[[int], None] = lambda step: None) -> list[ClockState]:
    """Compute some steps more in all processes, and wait until they are done.

    Args:
        bus: A bus of a client.
        steps: How many, at least 1.
        on_progress: Called with the first step that is not computed everywhere.
    """
    states = await clock_states(bus)
    if any(state.until is None for state in states):
        states = await pause(bus)
    return await _stop_at(bus, max(state.next_step for state in states) + steps, on_progress)


async def resume(bus: Bus) -> list[ClockState]:
    """Let all processes go on."""
    states = await clock_states(bus)
    return await clock_states(bus, _order("go_on", anchor=_from_now(states)))


async def set_rate(bus: Bus, scale: float) -> list[ClockState]:
    """Let a network in real time run so many times as slowly as the clock on the wall.

    A network that has just been launched is waited for until its processes have agreed on when it begins.

    Raises:
        BrainnetError: It does not run in real time, or does not begin.
    """
    deadline = time.monotonic() + _BEGIN_S
    states = await clock_states(bus)
    while (anchor := _from_now(states, scale)) is None:
        if all(state.mode != "realtime" for state in states):
            raise BrainnetError(
                "the network does not run in real time; write `clock: {mode: realtime}` into its file", code="refused"
            )
        if time.monotonic() > deadline:
            raise BrainnetError(
                f"the network has not begun within {_BEGIN_S:g} s: it waits for processes that are away; see "
                "`brainnet clock status`",
                code="refused",
            )
        await asyncio.sleep(_POLL_S)
        states = await clock_states(bus)
    until = states[0].until
    return await clock_states(bus, _order("go_on" if until is None else "stop_at", until or 0, anchor))


def _from_now(states: list[ClockState], scale: float | None = None) -> ClockAnchor | None:
    """Return when the steps are due that are not computed yet; None in lock-step."""
    known = next((state.anchor for state in states if state.anchor is not None), None)
    if known is None:
        return None
    step = max(state.next_step for state in states)
    return ClockAnchor(step=step, at_ns=time.time_ns() + _START_IN_NS, scale=scale or known.scale)


async def _stop_at(bus: Bus, until: int, on_progress: Callable[[int], None] = lambda step: None) -> list[ClockState]:
    anchor = _from_now(await clock_states(bus))
    states = await clock_states(bus, _order("stop_at", until, anchor))
    while any(state.phase not in ("paused", "finished", "failed") or _is_behind(state, until) for state in states):
        on_progress(min(state.next_step for state in states))
        await asyncio.sleep(_POLL_S)
        states = await clock_states(bus)
    return states


def _is_behind(state: ClockState, until: int) -> bool:
    end = until if state.last_step is None else min(until, state.last_step)
    return state.phase != "failed" and state.next_step < end


def _order(action: Literal["stop_at", "go_on"], until: int = 0, anchor: ClockAnchor | None = None) -> ClockControl:
    # The clock on the wall numbers the orders of all clients; the later one holds.
    return ClockControl(action=action, until=until, control=time.time_ns() // 1000, anchor=anchor)

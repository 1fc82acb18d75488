"""Stopping effectors, and asking what they are."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from brainnet.bus import Bus
from brainnet.errors import CallTimeout
from brainnet.wire import keys
from brainnet.wire.messages import EffectorQuery, EffectorState, MotorStop

_ASK_AGAIN_S: Final = 0.02


async def stop_effectors(
    bus: Bus, stop: MotorStop, *, connect_s: float = 1.0, reply_s: float = 1.0
) -> list[EffectorState]:
    """Stop effectors, or release them, and return the states of those that are meant, asked after that.

    Args:
        bus: An open bus.
        stop: What is sent.
        connect_s: Seconds to wait until there is an effector.
        reply_s: Seconds to wait until those that reply say that they are stopped, or released.

    Raises:
        CallTimeout: No effector is there, or none replies.
    """
    key = keys.key("motor_stop")
    if not await bus.wait_matching(key, connect_s):
        raise CallTimeout("no effector is there; `brainnet status` shows the nodes, effectors have the role body")
    bus.publish(key, stop)
    await bus.flush()
    deadline = time.monotonic() + reply_s
    while True:
        states = [state for state in await effectors(bus, reply_s) if stop.concerns(state.effector)]
        obey = states and all(state.stopped != stop.release for state in states)
        if obey or time.monotonic() >= deadline:
            break
        await asyncio.sleep(_ASK_AGAIN_S)  # query and stop are of different priorities, so either may come first
    if not states:
        asked = f" of {', '.join(stop.effectors)}" if stop.effectors else ""
        raise CallTimeout(f"none{asked} replies; the message was sent")
    return states


async def effectors(bus: Bus, timeout: float = 1.0) -> list[EffectorState]:
    """Return the states of all effectors that reply within `timeout` seconds, by name."""
    replies = await bus.call_all(keys.key("motor_effector"), EffectorQuery(), timeout=timeout)
    states = [reply.message for reply in replies if isinstance(reply.message, EffectorState)]
    return sorted(states, key=lambda state: state.effector)

"""Faults of the network and of the disk: garbage on every key, a locked journal, a full disk."""

from __future__ import annotations

import asyncio
from typing import Final

from brainnet.errors import LaunchError, MessageError
from brainnet.testing.chaos import disk as disks
from brainnet.testing.chaos import garbage as garbage_
from brainnet.testing.chaos.context import Context

_GARBAGE_PAUSE_S: Final = 0.02
_LOCKED_S: Final = (0.5, 3.0)
_FULL_S: Final = (0.5, 2.0)
_BETWEEN_S: Final = (0.2, 1.0)


async def garbage(context: Context) -> None:
    """Publish malformed bytes of every sort on every topic of the contract, and on keys that are in none."""
    rng = context.rng("garbage")
    payloads = garbage_.payloads(rng)
    keys = garbage_.keys(rng, context.target.nodes, context.target.bus.contract)
    while context.goes_on:
        what, payload, encoding = next(payloads)
        relative, asked = next(keys)
        full = context.client.full(relative)
        context.progress(f"garbage: {what}")
        try:
            if asked:
                await context.client.query(full, payload, encoding, timeout=2.0)
            else:
                await context.client.put(full, payload, encoding)
            context.injected[f"garbage: {what}"] += 1
        except MessageError:
            context.injected["garbage that Zenoh itself refused"] += 1
        await asyncio.sleep(_GARBAGE_PAUSE_S)


async def disk(context: Context) -> None:
    """Lock the journal for seconds, and fill the disk, in turns."""
    rng = context.rng("disk")
    while context.goes_on:
        await _lock(context, rng.uniform(*_LOCKED_S))
        await asyncio.sleep(rng.uniform(*_BETWEEN_S))
        seconds = rng.uniform(*_FULL_S)
        context.progress(f"disk full for {seconds:.1f} s")
        if context.small_disk:
            with disks.filled(context.target.state):
                await asyncio.sleep(seconds)
            context.injected["disk full"] += 1
        else:
            with disks.limited(context.target.processes):
                await asyncio.sleep(seconds)
            context.injected["size of files limited"] += 1
        await asyncio.sleep(rng.uniform(*_BETWEEN_S))


async def _lock(context: Context, seconds: float) -> None:
    journals = disks.journals(context.target.state)
    if not journals:
        reason = f"disk: there is no journal below {context.target.state} to lock"
        if reason not in context.skipped:
            context.skipped.append(reason)
        return
    context.progress(f"journal locked for {seconds:.1f} s")
    try:
        async with disks.locked(journals[0]):
            await asyncio.sleep(seconds)
        context.injected["journal locked"] += 1
    except LaunchError as error:
        context.skipped.append(f"disk: {error}")

"""The program of the hippocampus, and how tests ask it."""

from __future__ import annotations

import sys

from brainnet import Partial, Prompt
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.testing import MemoryBrain
from brainnet.wire.messages import StatusQuery

PROGRAM = load_program(str(region_file("hippocampus")))
MODULE = sys.modules[PROGRAM.__module__]


async def ask(brain: MemoryBrain, text: str, **more: str) -> Partial:
    partial: Partial = await brain.query("memory", Prompt(text=text, **more))
    return partial


def said(partial: Partial) -> str:
    assert partial.error is None, partial.error
    assert partial.best is not None
    return partial.best.text


async def counters(brain: MemoryBrain) -> dict[str, int]:
    health = await brain.bus().call("node/memory/status", StatusQuery())
    found: dict[str, int] = health.counters
    return found

"""What the regions of the default brain bid on labelled prompts.

They run in this process, and are asked as the router asks them. Memory is empty, so that it knows no answer to any
question; it bids on statements, and the other regions on what they can do.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from brainnet import Prompt, SpikePacket
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.testing import MemoryBrain
from brainnet.wire.keys import chunk, key
from prefrontal_bids import Bids
from routing_prompts import Example

BIDDERS = ("vision", "hippocampus", "motor_cortex", "cerebellum", "language")
WAIT_S = 30.0
"""Seconds for one bid: what is measured is what regions bid, not how fast."""


def real_bids(examples: Sequence[Example]) -> list[dict[str, float]]:
    """Return the bids of the standard regions on some prompts, by region; one that does not bid is left out."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_asked(examples, Path(folder)))


async def _asked(examples: Sequence[Example], folder: Path) -> list[dict[str, float]]:
    async with MemoryBrain(folder) as brain:
        for name in BIDDERS:
            await brain.start(load_program(str(region_file(name))), name)
        bus = brain.bus("router", "prefrontal")
        bids = Bids(bus, "prefrontal")
        spikes = bus.subscribe(key("spikes", target="prefrontal"))

        async def take() -> None:
            while True:
                received = await spikes.get()
                packet: SpikePacket = received.message
                bids.take(chunk("spikes", received.key, "source"), packet)

        taking = asyncio.create_task(take())
        bidding = []
        for name in BIDDERS:
            bids.declare(name)
            if await bus.wait_matching(key("bid", region=name), 1.0):
                bidding.append(name)
        found = []
        for example in examples:
            prompt = Prompt(text=example.text or " ", image=b"\0" if example.has_image else None)
            bids.ask([prompt], bidding)
            (said,) = await bids.collect([prompt], WAIT_S)
            found.append({name: bid.score for name, bid in said.items()})
        taking.cancel()
        return found

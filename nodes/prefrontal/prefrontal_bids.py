"""Asks the regions how well they could answer a prompt, and collects what they say in time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from brainnet import Bid, Prompt, SpikePacket
from brainnet.bus import Bus
from brainnet.prompts import bid_packet
from brainnet.wire.codes.values import CONFIDENCE
from brainnet.wire.keys import key

LONGEST_WAIT_S = 0.05
"""Longest time for which bids are waited for, also when they usually take longer."""
USUAL_TIMES = 3.0
"""A bid that takes so many times as long as those of its region usually do is late."""
FIRST_USUAL_S = 0.01
"""What a bid is taken to need before any has come."""
SMOOTHING = 0.1
"""Weight of a new bid in the usual time of its region."""
REMEMBERED = 512
"""Prompts for which a late bid still tells how long bids take."""


@dataclass(slots=True)
class _Round:
    asked_at: float
    missing: set[str]
    bids: dict[str, Bid] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Bids:
    """The bids of the regions that bid by a method. Not thread-safe.

    A bid is late after `wait_s`, or where the machine is busy and bids usually take longer, after three times as long
    as usual, 50 ms at most. It counts as none.

    Args:
        bus: Where regions are asked.
        source: The id of the router.
    """

    def __init__(self, bus: Bus, source: str) -> None:
        self._bus = bus
        self._source = source
        self._rounds: OrderedDict[str, _Round] = OrderedDict()
        self._usual_s: dict[str, float] = {}

    def declare(self, region: str) -> None:
        """Prepare to ask a region: its subscriptions become known."""
        self._bus.declare(key("bid", region=region))

    def bids(self, region: str) -> bool:
        """Return whether a region listens for prompts to bid on."""
        return self._bus.is_matched(key("bid", region=region))

    def ask(self, prompts: Iterable[Prompt], regions: Sequence[str]) -> None:
        """Ask the regions about some prompts."""
        for prompt in prompts:
            self._rounds[prompt.prompt_id] = _Round(time.monotonic(), set(regions))
            self._rounds.move_to_end(prompt.prompt_id)
            if regions:
                packet = bid_packet(prompt, source=self._source)
                for region in regions:
                    self._bus.publish(key("bid", region=region), packet)
        while len(self._rounds) > REMEMBERED:
            self._rounds.popitem(last=False)

    def take(self, region: str, packet: SpikePacket) -> None:
        """Take one bid.

        Raises:
            PacketError: Its spikes are no bid.
        """
        prompt_id = packet.metadata.get("prompt_id")
        asked = self._rounds.get(prompt_id) if isinstance(prompt_id, str) else None
        if asked is None or region not in asked.missing:
            return
        score = float(CONFIDENCE.decode(packet)[0])
        took_s = time.monotonic() - asked.asked_at
        usual_s = self._usual_s.get(region, FIRST_USUAL_S)
        self._usual_s[region] = usual_s + SMOOTHING * (took_s - usual_s)
        asked.missing.discard(region)
        why = packet.metadata.get("why")
        asked.bids[region] = Bid(score, why if isinstance(why, str) else "")
        if not asked.missing:
            asked.done.set()

    async def collect(self, prompts: Iterable[Prompt], wait_s: float) -> list[dict[str, Bid]]:
        """Return the bids on some prompts by region, waiting for those that are missing.

        Args:
            prompts: Prompts of `ask`.
            wait_s: Seconds since `ask` after which a bid is late.
        """
        rounds = [self._rounds[prompt.prompt_id] for prompt in prompts]
        for asked in rounds:
            usual_s = max((self._usual_s.get(region, FIRST_USUAL_S) for region in asked.missing), default=0.0)
            limit_s = max(wait_s, min(LONGEST_WAIT_S, USUAL_TIMES * usual_s))
            left_s = asked.asked_at + limit_s - time.monotonic()
            if asked.missing and left_s > 0:
                try:
                    async with asyncio.timeout(left_s):
                        await asked.done.wait()
                except TimeoutError:
                    pass
        # Copies: a bid that comes later still counts for the usual time, not for the decision.
        return [dict(asked.bids) for asked in rounds]

"""A region that does not stop when told."""

from __future__ import annotations

import asyncio
import signal

from brainnet import Candidate, Partial, Query, Region


class Stubborn(Region):
    """Ignores SIGINT and SIGTERM."""

    async def setup(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def answer(self, query: Query) -> Partial:
        return Partial(candidates=[Candidate(text="no", probability=1.0)], confidence=1.0)

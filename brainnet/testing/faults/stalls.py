"""Regions that stop responding: while they load, when they are asked, or when they shall stop."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

from pydantic import Field

from brainnet.node import NodeParameters, Query, Region
from brainnet.testing.faults.answers import says
from brainnet.wire.messages import Partial


class HangInLoad(Region):
    """Never becomes ready, because `load` does not return."""

    def load(self) -> None:
        """Wait without an end."""
        threading.Event().wait()

    def answer(self, query: Query) -> Partial:
        """Return the text of the prompt."""
        return says(query.prompt.text)


class HangAfterInit(Region):
    """Becomes ready, and then never returns from `answer`; its event loop and its heartbeat go on."""

    def answer(self, query: Query) -> Partial:
        """Wait without an end."""
        threading.Event().wait()
        raise AssertionError("the wait has no end")


class BlockedLoop(Region):
    """Blocks its event loop at each prompt, so that it sends no heartbeat meanwhile."""

    class Parameters(NodeParameters):
        """How long it blocks."""

        seconds: float = Field(60.0, gt=0.0, le=3600.0, description="of one block")

    params: Parameters

    async def answer(self, query: Query) -> Partial:
        """Block the event loop, then return the text of the prompt."""
        time.sleep(self.params.seconds)  # noqa: ASYNC251  # this is the fault
        return says(query.prompt.text)


class IgnoresSignals(Region):
    """Ignores SIGINT and SIGTERM; only SIGKILL ends it."""

    async def setup(self) -> None:
        """Ignore the signals of an orderly stop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def answer(self, query: Query) -> Partial:
        """Return the text of the prompt."""
        return says(query.prompt.text)

"""A region that is ready, and then dies of what it is asked or right away."""

from __future__ import annotations

import os
import sys

from pydantic import Field

from brainnet import NodeParameters, Partial, Query, Region


class Crash(Region):
    """Dies."""

    class Parameters(NodeParameters):
        at_once: bool = Field(False, description="do not wait to be asked")
        exit_code: int = Field(3, ge=0, le=255)

    params: Parameters

    async def run(self) -> None:
        if self.params.at_once:
            self.die()

    def answer(self, query: Query) -> Partial:
        self.die()
        raise AssertionError

    def die(self) -> None:
        print("segment 4 is out of spikes", file=sys.stderr, flush=True)
        os._exit(self.params.exit_code)

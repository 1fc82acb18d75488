"""A region that fails while it runs, and says why."""

from __future__ import annotations

import threading

from pydantic import Field

from brainnet import NodeParameters, Partial, Query, Region


class Fails(Region):
    """Loses its sensor."""

    class Parameters(NodeParameters):
        hang: bool = Field(False, description="do not end after the failure")

    params: Parameters

    async def run(self) -> None:
        self.fail("the sensor is gone")

    async def teardown(self) -> None:
        if self.params.hang:
            threading.Event().wait()

    def answer(self, query: Query) -> Partial:
        return Partial()

"""Regions that take more than their share: of memory, or of the network."""

from __future__ import annotations

import asyncio

import numpy as np
from pydantic import Field

from brainnet.node import NodeParameters, Query, Region
from brainnet.testing.faults.answers import says
from brainnet.wire.keys import key
from brainnet.wire.messages import Partial
from brainnet.wire.packet import SpikePacket


class Leak(Region):
    """Keeps memory with each prompt and never gives it back, up to a limit."""

    class Parameters(NodeParameters):
        """How much it keeps."""

        prompt_mb: int = Field(10, ge=1, le=1000, description="megabytes that each prompt adds")
        limit_mb: int = Field(200, ge=1, le=100_000, description="megabytes at which it stops")

    params: Parameters

    def load(self) -> None:
        """Keep nothing yet."""
        self.kept: list[bytes] = []

    kept: list[bytes]

    def answer(self, query: Query) -> Partial:
        """Return the text of the prompt, and keep some memory."""
        size = self.params.prompt_mb
        if (len(self.kept) + 1) * size <= self.params.limit_mb:
            self.kept.append(b"\x01" * (size * 1_000_000))  # written to, so that the pages are really taken
        return says(query.prompt.text, kept_mb=len(self.kept) * size)


class Flood(Region):
    """Publishes spikes as fast as it can, and answers beside that."""

    class Parameters(NodeParameters):
        """How much it publishes."""

        burst: int = Field(100, ge=1, le=10_000, description="packets without a pause")
        pause_s: float = Field(0.001, ge=0.0, le=10.0, description="seconds after a burst")
        neurons: int = Field(1024, ge=1, le=1_000_000)

    params: Parameters

    async def run(self) -> None:
        """Publish until the node stops."""
        topic = key("spikes", source=self.id, target="flood")
        spikes = np.ones((self.params.neurons, 8), np.uint8)
        while True:
            for _ in range(self.params.burst):
                self.publish(topic, SpikePacket(spikes, modality="flood"))
            self.count("flooded", self.params.burst)
            await asyncio.sleep(self.params.pause_s)

    def answer(self, query: Query) -> Partial:
        """Return the text of the prompt."""
        return says(query.prompt.text)

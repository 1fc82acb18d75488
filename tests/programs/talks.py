"""A region that prints much, on both streams."""

from __future__ import annotations

import sys

from brainnet import Partial, Query, Region


class Talks(Region):
    """Prints."""

    def load(self) -> None:
        for _ in range(1000):
            print("a line of text that is no log record", "ΑΒΓ ☃ 漢")
            print("another one", file=sys.stderr)

    async def run(self) -> None:
        print("running", flush=True)
        self.log.info("running")

    def answer(self, query: Query) -> Partial:
        return Partial()

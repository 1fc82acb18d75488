"""A region that prints much, on both streams, and writes to a pipe that nobody reads."""

from __future__ import annotations

import contextlib
import os
import sys

from brainnet import Partial, Query, Region


class Talks(Region):
    """Prints."""

    def load(self) -> None:
        read, write = os.pipe()
        os.close(read)
        with contextlib.suppress(BrokenPipeError):  # a signal would end the process
            os.write(write, b"to nobody")
        for _ in range(1000):
            print("a line of text that is no log record", "ΑΒΓ ☃ 漢")
            print("another one", file=sys.stderr)

    async def run(self) -> None:
        print("running", flush=True)
        self.log.info("running")

    def answer(self, query: Query) -> Partial:
        return Partial()

"""A region that has a process of its own, and dies without ending it."""

from __future__ import annotations

import os
import subprocess

from brainnet import Partial, Query, Region


class Parent(Region):
    """Leaves a child behind."""

    def load(self) -> None:
        subprocess.Popen(["sleep", "1000"])

    async def run(self) -> None:
        os._exit(1)

    def answer(self, query: Query) -> Partial:
        return Partial()

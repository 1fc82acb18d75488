"""A region that has a process of its own, and does not end it."""

from __future__ import annotations

import subprocess

from brainnet import Partial, Query, Region


class ParentThatStays(Region):
    """Has a child."""

    def load(self) -> None:
        subprocess.Popen(["sleep", "1000"])

    def answer(self, query: Query) -> Partial:
        return Partial()

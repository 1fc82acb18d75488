"""A region whose model never finishes loading."""

from __future__ import annotations

import threading

from brainnet import Partial, Query, Region


class Hang(Region):
    """Waits for what never comes."""

    def load(self) -> None:
        threading.Event().wait()

    def answer(self, query: Query) -> Partial:
        return Partial()

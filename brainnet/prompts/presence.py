"""Which regions are alive, and which were a moment ago and may come back."""

from __future__ import annotations

import time


class RegionPresence:
    """Follows the liveliness tokens of nodes, by node id. Not thread-safe."""

    def __init__(self) -> None:
        self._alive: set[str] = set()
        self._last_seen: dict[str, float] = {}

    @property
    def alive(self) -> set[str]:
        """The nodes that are alive now."""
        return set(self._alive)

    @property
    def seen(self) -> set[str]:
        """The nodes that are alive, or were."""
        return self._alive | self._last_seen.keys()

    def update(self, node_id: str, alive: bool) -> bool:
        """Take a token's appearance or disappearance in; returns whether the node came back after it had gone."""
        if not alive:
            self._alive.discard(node_id)
            self._last_seen[node_id] = time.monotonic()
            return False
        returned = node_id in self._last_seen and node_id not in self._alive
        self._alive.add(node_id)
        return returned

    def is_expected(self, node_id: str, patience_s: float) -> bool:
        """Return whether a node is alive, or was within the last `patience_s` seconds."""
        if node_id in self._alive:
            return True
        gone_at = self._last_seen.get(node_id)
        return gone_at is not None and time.monotonic() - gone_at < patience_s

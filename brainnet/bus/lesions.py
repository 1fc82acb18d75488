"""Lesions: what an experiment does to the spikes that a process receives from one source.

A lesion acts on arrival, so that other receivers of the same spikes are left alone. Header, time and sequence number of
a packet stay as they are; graded values are no spikes, and pass unchanged.
"""

from __future__ import annotations

import threading

import numpy as np

from brainnet.wire.messages import Lesion
from brainnet.wire.packet import SpikePacket


class Lesions:
    """The lesions of one process, by source. Any thread may read and change them."""

    def __init__(self) -> None:
        self._by_source: dict[str, Lesion] = {}
        self._lock = threading.Lock()
        self._random = np.random.default_rng()

    def __bool__(self) -> bool:
        return bool(self._by_source)

    def all(self) -> list[Lesion]:
        """Return the lesions there are, by name of the source."""
        with self._lock:
            return [self._by_source[source] for source in sorted(self._by_source)]

    def set(self, lesion: Lesion) -> None:
        """Put a lesion in the place of what there was for its source; `heal` leaves none."""
        with self._lock:
            self._by_source.pop(lesion.source, None)
            if lesion.kind != "heal":
                self._by_source[lesion.source] = lesion

    def of(self, source: str) -> Lesion | None:
        """Return the lesion of a source; None without one."""
        return self._by_source.get(source)

    def apply(self, packet: SpikePacket) -> None:
        """Change the spikes of a packet as the lesion of its source says."""
        lesion = self._by_source.get(packet.source)
        if lesion is None or not packet.data.size or not packet.is_spikes:
            return
        if lesion.kind == "silence":
            packet.data = np.zeros_like(packet.data)
            return
        with self._lock:  # a generator is not for several threads
            if lesion.kind == "shuffle":
                packet.data = self._random.permutation(packet.data, axis=0)
            else:
                packet.data = packet.data * (self._random.random(packet.data.shape) >= lesion.share)

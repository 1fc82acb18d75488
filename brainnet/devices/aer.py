"""Raw address events in UDP datagrams, as jAER sends and receives them.

All numbers have 32 bits and are big-endian:

    sequence number     of the datagram, rising by one; may be left out
    address, time       of each event; the time in microseconds

Source of the format: `AEUnicastInput` and `AEUnicastSettings` of jAER (SensorsINI), with their defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import PacketError

MAX_EVENTS: Final = 180
"""Events of one datagram that is written: 1,444 bytes with the sequence number, which fit into an Ethernet frame."""
WRAP: Final = 1 << 32
"""Times and sequence numbers are counted modulo this."""


@dataclass(frozen=True, slots=True, eq=False)
class AerPacket:
    """What one datagram holds.

    Attributes:
        addresses: int64 [events].
        times: int64 [events], in microseconds modulo `WRAP`.
        sequence: The number of the datagram; None where there is none.
    """

    addresses: NDArray[np.int64]
    times: NDArray[np.int64]
    sequence: int | None


def encode(addresses: NDArray[np.integer], times: NDArray[np.integer], sequence: int | None = None) -> list[bytes]:
    """Return events as datagrams, as few as hold them; none without events.

    Args:
        addresses: Of the events, 0 to 2**32 - 1.
        times: In microseconds, not negative; their lowest 32 bits are sent.
        sequence: The number of the first datagram; None to leave numbers out.

    Raises:
        PacketError: An address is out of range, or there are not as many times as addresses.
    """
    if addresses.shape != times.shape or addresses.ndim != 1:
        raise PacketError(f"there are {addresses.size} addresses and {times.size} times")
    if addresses.size and not 0 <= int(addresses.min()) <= int(addresses.max()) < WRAP:
        raise PacketError(f"addresses must be from 0 to {WRAP - 1}")
    events = np.empty((addresses.size, 2), ">u4")
    events[:, 0], events[:, 1] = addresses, times.astype(np.int64) % WRAP
    parts = [events[at : at + MAX_EVENTS].tobytes() for at in range(0, len(events), MAX_EVENTS)]
    if sequence is None:
        return parts
    return [((sequence + index) % WRAP).to_bytes(4, "big") + part for index, part in enumerate(parts)]


def decode(datagram: bytes, *, numbered: bool) -> AerPacket:
    """Read one datagram.

    Args:
        datagram: Its bytes.
        numbered: Whether it begins with a sequence number.

    Raises:
        PacketError: It is no whole number of events.
    """
    head = 4 * numbered
    if len(datagram) < head or (len(datagram) - head) % 8:
        raise PacketError(f"a datagram of address events has {head} bytes and 8 for each event, got {len(datagram)}")
    events = np.frombuffer(datagram, ">u4", offset=head).astype(np.int64).reshape(-1, 2)
    return AerPacket(events[:, 0], events[:, 1], int.from_bytes(datagram[:4], "big") if numbered else None)


class SequenceCount:
    """Counts the datagrams that are missing in a row of sequence numbers. One that comes late is no longer missing.

    Guarantees: exact from the first to the last number that came, as long as a late one is at most `WINDOW` late. What
    is lost before the first or after the last cannot be known.
    """

    WINDOW: Final = 1 << 16

    def __init__(self) -> None:
        self.lost = 0
        self._next: int | None = None
        self._missing: dict[int, None] = {}

    def add(self, sequence: int) -> None:
        """Take note of a datagram."""
        ahead = 0 if self._next is None else (sequence - self._next + WRAP // 2) % WRAP - WRAP // 2
        if ahead < 0:
            if sequence in self._missing:
                del self._missing[sequence]
                self.lost -= 1
            return
        self.lost += ahead
        # what is left out of the list stays lost; a wild number must not fill the memory
        for back in range(min(ahead, self.WINDOW), 0, -1):
            self._missing[(sequence - back) % WRAP] = None
        while len(self._missing) > self.WINDOW:
            del self._missing[next(iter(self._missing))]
        self._next = (sequence + 1) % WRAP

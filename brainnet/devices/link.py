"""Spikes as datagrams: a UDP socket, with EIEIO or raw address events on it. Both ends use it, driver and server."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from brainnet.devices import aer, eieio
from brainnet.devices.protocol import Counters
from brainnet.devices.ticks import unwrap
from brainnet.errors import DeviceError, PacketError

Format = Literal["eieio", "aer"]
Address = tuple[str, int]
_SO_TIMESTAMPNS: Final = 35
"""Option of Linux on most processors: the kernel says when it received a datagram. Python has no name for it."""
_TIMESPEC: Final = struct.Struct("@qq")
_RECEIVE_BYTES: Final = 4 << 20
_MOST_BYTES: Final = 65_535
_FURTHEST: Final = 1 << 31
_MOST_AT_ONCE: Final = 4096
"""Datagrams that are taken in before whoever reads goes on; a flood must not hold it up for ever."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How spikes are written.

    Attributes:
        format: Of the datagrams.
        key_bits: Width of a key, for EIEIO.
        numbered: Whether datagrams have sequence numbers, for AER.
        sends_from: Key of address 0 of what is sent.
        receives_from: Key of address 0 of what is received.
        tick_us: One tick in microseconds.
    """

    format: Format
    key_bits: eieio.KeyBits = 32
    numbered: bool = True
    sends_from: int = 0
    receives_from: int = 0
    tick_us: float = 1000.0

    @property
    def largest_key(self) -> int:
        """The largest key that can be sent."""
        return (1 << (self.key_bits if self.format == "eieio" else 32)) - 1

    def check_keys(self, sent: int, received: int) -> None:
        """Check that the keys of so many addresses can be written.

        Raises:
            DeviceError: They cannot.
        """
        for size, base in ((sent, self.sends_from), (received, self.receives_from)):
            if base + size - 1 > self.largest_key:
                raise DeviceError(f"the keys {base} to {base + size - 1} exceed the largest, {self.largest_key}")

    def reversed(self) -> Wire:
        """Return how the other end writes."""
        return Wire(self.format, self.key_bits, self.numbered, self.receives_from, self.sends_from, self.tick_us)


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """The spikes of one datagram.

    Attributes:
        addresses: int32 [spikes].
        ticks: int64 [spikes]; None where the datagram says no time.
        at_ns: When the kernel received it, in nanoseconds since 1970.
    """

    addresses: NDArray[np.int32]
    ticks: NDArray[np.int64] | None
    at_ns: int


def parse_address(text: str) -> Address:
    """Return host and port of `HOST:PORT`; an IPv6 host stands in brackets.

    Raises:
        DeviceError: It is written in another way.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise DeviceError(f"{text!r} is no address of a device; write HOST:PORT, such as 10.0.0.7:17892")
    return host.removeprefix("[").removesuffix("]"), int(port)


def resolve(address: Address) -> Address:
    """Return an address with the number of its host.

    Raises:
        DeviceError: The host is not known.
    """
    try:
        found = socket.getaddrinfo(*address, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise DeviceError(f"the host {address[0]!r} of the device is not known: {error}") from None
    return str(found[0][4][0]), int(found[0][4][1])


class SpikeLink:
    """Sends and receives spikes, and counts them. Not thread-safe.

    Args:
        wire: How they are written.
        listen: Where to receive; port 0 for any.
        peer: Where to send, and whose datagrams are taken; None until `set_peer`.

    Attributes:
        counters: What was sent and received; the driver keeps them.
        last_unknown: The last key that belongs to no address.
    """

    def __init__(self, wire: Wire, listen: Address, peer: Address | None = None) -> None:
        self.wire = wire
        self.counters = Counters()
        self.last_unknown: int | None = None
        self._sequence = 0
        self._counted = aer.SequenceCount()
        self._near = 0
        self._size = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            with contextlib.suppress(OSError):  # then the time of reading is all there is
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.bind(listen)
            self._peer = None if peer is None else resolve(peer)
        except OSError as error:
            self._socket.close()
            raise DeviceError(f"spikes cannot be received at {listen[0]}:{listen[1]}: {error}") from None
        except DeviceError:
            self._socket.close()
            raise

    @property
    def port(self) -> int:
        """The port at which it receives."""
        return int(self._socket.getsockname()[1])

    @property
    def lost_packets(self) -> int | None:
        """Datagrams that are missing by their numbers; None where they have none."""
        return self._counted.lost if self.wire.format == "aer" and self.wire.numbered else None

    def set_peer(self, peer: Address) -> None:
        """Say where to send, and whose datagrams are taken.

        Raises:
            DeviceError: The host is not known.
        """
        self._peer = resolve(peer)

    def set_size(self, addresses: int, near_tick: int = 0) -> None:
        """Say how many addresses may be received, and which tick they begin near to."""
        self._size, self._near = addresses, near_tick

    def datagrams(self, addresses: NDArray[np.integer], ticks: NDArray[np.int64] | None) -> list[bytes]:
        """Return spikes, in rising ticks or without a time, as datagrams.

        Raises:
            DeviceError: A key does not fit into the format.
        """
        keys = addresses.astype(np.int64) + self.wire.sends_from
        try:
            if self.wire.format == "aer":
                zeros = np.zeros(keys.size, np.int64)
                times = zeros if ticks is None else np.rint(ticks * self.wire.tick_us).astype(np.int64)
                parts = aer.encode(keys, times, self._sequence if self.wire.numbered else None)
                self._sequence = (self._sequence + len(parts)) % aer.WRAP
                return parts
            if ticks is None:
                return eieio.encode(keys, self.wire.key_bits)
            if not ticks.size:
                return []
            starts = np.flatnonzero(np.diff(ticks, prepend=ticks[0] - 1))
            return [
                datagram
                for begin, end in zip(starts, [*starts[1:], ticks.size], strict=True)
                for datagram in eieio.encode(keys[begin:end], self.wire.key_bits, int(ticks[begin]))
            ]
        except PacketError as error:
            raise DeviceError(f"spikes cannot be sent to the device: {error}") from None

    def send(self, addresses: NDArray[np.integer], ticks: NDArray[np.int64] | None) -> int:
        """Send spikes, and return the number of datagrams.

        Raises:
            DeviceError: A key does not fit, or the system cannot send to the address.
        """
        assert self._peer is not None, "the peer is set before anything is sent"
        parts = self.datagrams(addresses, ticks)
        for part in parts:
            self._send(part)
        self.counters.packets_sent += len(parts)
        self.counters.keys_sent += int(addresses.size)
        return len(parts)

    def _send(self, datagram: bytes) -> None:
        assert self._peer is not None
        for _ in range(3):
            try:
                self._socket.sendto(datagram, self._peer)
                return
            except BlockingIOError:
                select.select([], [self._socket], [], 1.0)
            except ConnectionRefusedError:
                continue  # of a datagram before this one; whoever needs an answer notices that there is none
            except OSError as error:
                raise DeviceError(f"spikes cannot be sent to {self._peer[0]}:{self._peer[1]}: {error}") from None

    def received(self, wait_s: float = 0.0) -> Iterator[Arrival]:
        """Yield what has arrived, each datagram once; waits for the first one, for at most so many seconds.

        What cannot be read is counted and left out.
        """
        if wait_s:
            select.select([self._socket], [], [], wait_s)
        for _ in range(_MOST_AT_ONCE):
            try:
                data, extra, _, sender = self._socket.recvmsg(_MOST_BYTES, 64)
            except BlockingIOError:
                return
            except OSError:  # an earlier datagram was refused
                continue
            self.counters.packets_received += 1
            if self._peer is not None and sender[0] != self._peer[0]:
                self.counters.malformed_packets += 1
                continue
            try:
                arrival = self._arrival(data, _received_ns(extra))
            except PacketError:
                self.counters.malformed_packets += 1
                continue
            if arrival is not None:
                self.counters.keys_received += arrival.addresses.size
                yield arrival

    def _arrival(self, data: bytes, at_ns: int) -> Arrival | None:
        if self.wire.format == "aer":
            packet = aer.decode(data, numbered=self.wire.numbered)
            if packet.sequence is not None:
                self._counted.add(packet.sequence)
            keys = packet.addresses
            ticks: NDArray[np.int64] | None = self._ticks(packet.times, aer.WRAP, self.wire.tick_us)
        else:
            read = eieio.decode(data)
            if read.command is not None:
                return None
            keys = read.keys
            ticks = None if not read.timed or read.payloads is None else self._ticks(read.payloads, 1 << read.bits, 1)
        addresses = keys - self.wire.receives_from
        known = (addresses >= 0) & (addresses < self._size)
        if not known.all():
            self.counters.unknown_keys += int((~known).sum())
            self.last_unknown = int(keys[~known][-1])
            addresses, ticks = addresses[known], None if ticks is None else ticks[known]
        return Arrival(addresses.astype(np.int32), ticks, at_ns)

    def _ticks(self, sent: NDArray[np.int64], period: int, per_tick: float) -> NDArray[np.int64]:
        if not sent.size:
            return sent
        ticks = np.rint(unwrap(sent, period, round(self._near * per_tick)) / per_tick).astype(np.int64)
        latest = int(ticks.max())
        if abs(latest - self._near) < _FURTHEST:
            self._near = latest
        return ticks

    def note_tick(self, tick: int) -> None:
        """Say which tick it is about: counters that were sent modulo their width are taken near to it."""
        self._near = tick

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()


def _received_ns(extra: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()

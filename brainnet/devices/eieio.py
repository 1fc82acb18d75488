"""EIEIO, the external interface for events of SpiNNaker: keys of spikes in UDP datagrams.

A datagram begins with two bytes, little-endian as all numbers in it:

    byte 0          count: the elements of this datagram
    byte 1, bit 7   a key prefix of 16 bits follows the header
            bit 6   the prefix is the upper half of the key; otherwise the lower one
            bit 5   a payload base follows, as wide as a key
            bit 4   payloads are times, in ticks
            bits 3-2  type: 0 keys of 16 bits, 1 keys and payloads of 16 bits, 2 and 3 the same of 32 bits
            bits 1-0  tag

Prefix and payload base are combined with each element by a bitwise or. Where bit 7 is 0 and bit 6 is 1, the datagram is
a command and its number stands in the other 14 bits. A datagram has at most 256 bytes, so that it holds 127 keys of 16
bits or 63 of 32 bits, and one or two fewer with a payload base.

Source of the format: the classes `EIEIODataHeader` and `EIEIOType` of SpiNNMan (SpiNNaker Manchester, Apache-2.0), with
whose bytes the tests compare these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import PacketError

MAX_BYTES: Final = 256
"""Bytes of one datagram."""
KeyBits = Literal[16, 32]
_PREFIX, _UPPER, _BASE, _TIMES = 1 << 7, 1 << 6, 1 << 5, 1 << 4
_TYPES: Final = {0: (16, False), 1: (16, True), 2: (32, False), 3: (32, True)}


@dataclass(frozen=True, slots=True, eq=False)
class EieioPacket:
    """What one datagram holds.

    Attributes:
        keys: int64 [count], prefixes applied; none for a command.
        payloads: int64 [count], the base applied; None without payloads.
        timed: Whether the payloads are times in ticks.
        bits: Width of keys and payloads.
        command: The number of a command; None for data.
    """

    keys: NDArray[np.int64]
    payloads: NDArray[np.int64] | None
    timed: bool
    bits: KeyBits
    command: int | None = None


def most_keys(bits: KeyBits, *, timed: bool = False) -> int:
    """Return how many keys fit into one datagram, with or without a time that they have in common."""
    return (MAX_BYTES - 2 - timed * bits // 8) // (bits // 8)


def encode(keys: NDArray[np.integer], bits: KeyBits = 32, tick: int | None = None) -> list[bytes]:
    """Return keys as datagrams, as few as hold them; none without keys.

    Args:
        keys: Their keys, in the order in which they are sent.
        bits: Width of a key.
        tick: The time that all have in common, whose lowest `bits` bits are sent; None for keys without a time.

    Raises:
        PacketError: A key is negative or wider than `bits`.
    """
    if keys.size and not 0 <= int(keys.min()) <= int(keys.max()) < 1 << bits:
        raise PacketError(f"keys must be from 0 to {(1 << bits) - 1}, not {int(keys.min())} to {int(keys.max())}")
    flags = (0 if bits == 16 else 2) << 2 | (0 if tick is None else _BASE | _TIMES)
    base = b"" if tick is None else (tick % (1 << bits)).to_bytes(bits // 8, "little")
    most = most_keys(bits, timed=tick is not None)
    body = np.ascontiguousarray(keys, f"<u{bits // 8}")
    return [
        bytes((len(part), flags)) + base + part.tobytes()
        for part in (body[at : at + most] for at in range(0, body.size, most))
    ]


def decode(datagram: bytes) -> EieioPacket:
    """Read one datagram.

    Raises:
        PacketError: It is shorter than its header says, or longer.
    """
    if len(datagram) < 2:
        raise PacketError(f"an EIEIO datagram has a header of 2 bytes, got {len(datagram)} bytes")
    count, flags = datagram[0], datagram[1]
    none = np.zeros(0, np.int64)
    if not flags & _PREFIX and flags & _UPPER:
        return EieioPacket(none, None, timed=False, bits=32, command=(flags << 8 | count) & 0x3FFF)
    bits, paired = _TYPES[flags >> 2 & 3]
    width, prefix, base = bits // 8, 2 * bool(flags & _PREFIX), bits // 8 * bool(flags & _BASE)
    expected = 2 + prefix + base + count * width * (1 + paired)
    if len(datagram) != expected:
        raise PacketError(f"an EIEIO datagram with {count} elements has {expected} bytes, got {len(datagram)}")
    values = np.frombuffer(datagram, f"<u{width}", offset=2 + prefix + base).astype(np.int64)
    keys, payloads = (values[::2].copy(), values[1::2].copy()) if paired else (values, None)
    if prefix:
        keys |= int.from_bytes(datagram[2:4], "little") << (16 if flags & _UPPER else 0)
    if base:
        common = int.from_bytes(datagram[2 + prefix : 2 + prefix + base], "little")
        payloads = np.full(count, common, np.int64) if payloads is None else payloads | common
    timed = bool(flags & _TIMES) and payloads is not None
    return EieioPacket(keys, payloads, timed, 16 if bits == 16 else 32)

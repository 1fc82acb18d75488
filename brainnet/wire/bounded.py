"""Reads msgpack and JSON of anybody: in bounded time, depth and size.

What a sender chooses is a few bytes; what they may stand for is a structure of any size and depth. The limits here are
far above every message of the contract. All functions raise `ValueError` with a short text for what exceeds them, and
nothing else.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

import msgpack
import numpy as np

MAX_BYTES: Final = 1 << 27
"""Bytes of one payload: a SpikePacket of the most elements in the widest type has half of it."""
MAX_DEPTH: Final = 64
"""Levels of maps and lists inside each other."""
MAX_ITEMS: Final = 1 << 20
"""Entries of all maps and lists of one payload. An entry is one byte on the wire, and up to a hundred in memory."""
_SMALL: Final = 4096
"""Bytes of a payload that is read without counting: its worst case is a few milliseconds and 32 MB."""
_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 64) - 1
_INT_DIGITS: Final = 20


def unpack(payload: bytes) -> Any:
    """Read one msgpack value; `check` has to follow for what is kept in free form.

    Raises:
        ValueError: The bytes are not exactly one value of the types of JSON and bytes, or exceed a limit.
    """
    try:
        if len(payload) <= _SMALL:
            return msgpack.unpackb(payload, strict_map_key=True, max_ext_len=0, ext_hook=_refuse_extension)
        return _unpack_large(payload)
    except ValueError:
        raise
    except Exception as error:  # msgpack raises further kinds of errors of its own, and RecursionError, MemoryError
        raise ValueError(str(error) or type(error).__name__) from None


def _unpack_large(payload: bytes) -> Any:
    if len(payload) > MAX_BYTES:
        raise ValueError(f"at most {MAX_BYTES} bytes are read")
    # A list is allocated with the length that it declares, once for each level. So the declared lengths are first
    # compared with what is there, by a pass that builds nothing.
    scan = msgpack.Unpacker(max_buffer_size=len(payload))
    scan.feed(payload)
    try:
        scan.skip()
    except msgpack.OutOfData:
        raise ValueError("incomplete input") from None
    del scan
    total = 0

    def count(container: Any) -> Any:
        nonlocal total
        total += len(container) + 1
        if total > MAX_ITEMS:
            raise ValueError(f"more than {MAX_ITEMS} entries of maps and lists")
        return container

    return msgpack.unpackb(
        payload,
        strict_map_key=True,
        max_ext_len=0,
        ext_hook=_refuse_extension,
        list_hook=count,
        object_hook=count,
        max_array_len=MAX_ITEMS,
        max_map_len=MAX_ITEMS,
    )


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")


def read_json(payload: bytes) -> Any:
    """Read one JSON value in UTF-8 as people write it: also with a byte order mark, and with tabs inside of texts.

    Of two entries of one name in a map, the last is taken.

    Raises:
        ValueError: The bytes are not JSON, or exceed a limit. NaN and Infinity are not JSON; a whole number has at most
            64 bits.
    """
    if len(payload) > MAX_BYTES:
        raise ValueError(f"at most {MAX_BYTES} bytes are read")
    # This also counts what stands inside of texts; no text of a message has as many commas and brackets.
    if payload.count(b",") + payload.count(b"[") + payload.count(b"{") > MAX_ITEMS:
        raise ValueError(f"more than {MAX_ITEMS} entries of maps and lists")
    try:
        return json.loads(payload.decode("utf-8-sig"), strict=False, parse_int=_whole, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels of maps and lists") from None


def _whole(digits: str) -> int:
    number = int(digits) if len(digits) <= _INT_DIGITS else _INT_MAX + 1  # Python reads long ones in quadratic time
    if not _INT_MIN <= number <= _INT_MAX:
        raise ValueError("a whole number has more than 64 bits")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_CONTAINERS: Final = frozenset((dict, list, tuple))


def check(value: Any) -> None:
    """Check that what was read, or is to be written, can be kept in free form.

    Raises:
        ValueError: More than `MAX_DEPTH` levels, or a key that is no text.
    """
    if type(value) in _CONTAINERS:
        _check(value, MAX_DEPTH)


def _check(container: Any, levels: int) -> None:
    if not levels:
        raise ValueError(f"more than {MAX_DEPTH} levels of maps and lists")
    if type(container) is dict:
        for name in container:
            if type(name) is not str:
                raise ValueError(f"a key of a map is {type(name).__name__}, not text")
        container = container.values()
    for item in container:
        if (
            type(item) in _CONTAINERS and item
        ):  # most are empty or hold no further ones; a call costs more than the loop
            _check(item, levels - 1)


def number(value: Any) -> Any:
    """Return the number of a numpy scalar, for a serializer that does not know the type of the value.

    Raises:
        TypeError: The value is none; names its type.
    """
    found = value.item() if isinstance(value, np.generic) else value
    if isinstance(found, bool | int | float):
        return found
    hint = "; use .tolist(), or the data of a SpikePacket" if isinstance(value, np.ndarray) else ""
    raise TypeError(f"a value of type {type(value).__name__} is neither text, number, bytes, list nor map{hint}")

"""The control connection of a stepped device: requests and replies in msgpack over TCP.

UDP neither orders nor confirms. A device that is run in steps is told over this connection how many datagrams of input
there are and up to which step to go, and says how many datagrams it has sent. So both ends count exactly what was lost.

A request is a map with `do`: open, load, start, run, state, restore, reset, counters or close. A reply is a map, with
`error` where the request was refused. Each is preceded by its length in 4 bytes, big-endian.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from brainnet.devices.link import Address
from brainnet.errors import DeviceError
from brainnet.wire import bounded

MAX_BYTES: Final = 1 << 26
"""Bytes of a request or a reply: a network has the size of its file."""
_TYPES: Final = ("int16", "uint8")


class ControlClient:
    """Sends requests to a device.

    Args:
        address: Of its control connection.
        timeout_s: Seconds to wait for a reply.

    Raises:
        DeviceError: Nobody answers there.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._where, self._timeout_s = f"{address[0]}:{address[1]}", timeout_s
        try:
            self._socket = socket.create_connection(address, timeout_s)
        except (OSError, UnicodeError) as error:
            raise DeviceError(
                f"the device at {self._where} does not answer: {error or 'no reply'}; is it on, and is that the "
                "address of its control connection?"
            ) from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return the reply.

        Raises:
            DeviceError: No reply came in time, it is not one, or it is a refusal.
        """
        try:
            self._socket.settimeout(self._timeout_s)
            send(self._socket, {"do": do, **fields})
            reply = receive(self._socket)
        except TimeoutError:
            raise DeviceError(
                f"the device at {self._where} does not answer {do!r} within {self._timeout_s:g} s; is it on? Give one "
                "that only is slow a longer timeout_s"
            ) from None
        except (OSError, ValueError) as error:
            raise DeviceError(f"the device at {self._where} does not answer {do!r}: {error}") from None
        if "error" in reply:
            raise DeviceError(f"the device at {self._where}: {str(reply['error'])[:500]}")
        return reply

    def number(self, reply: Mapping[str, Any], name: str) -> int:
        """Return a whole number of at least 0 from a reply.

        Raises:
            DeviceError: There is none.
        """
        value = reply.get(name)
        if type(value) is not int or value < 0:
            raise DeviceError(
                f"the device at {self._where} gives no number {name!r} in its reply; it is of another kind"
            )
        return value

    def close(self) -> None:
        """Tell the device, and end the connection."""
        with contextlib.suppress(OSError, ValueError):
            send(self._socket, {"do": "close"})
        self._socket.close()


def send(to: socket.socket, message: Mapping[str, Any]) -> None:
    """Send one message.

    Raises:
        OSError: The connection has ended.
        ValueError: It is too large.
    """
    body: bytes = msgpack.packb(message)
    if len(body) > MAX_BYTES:
        raise ValueError(f"a message of {len(body)} bytes is longer than {MAX_BYTES}")
    to.sendall(len(body).to_bytes(4, "big") + body)


def receive(connection: socket.socket) -> dict[str, Any]:
    """Return the next message.

    Raises:
        OSError: The connection has ended.
        ValueError: The bytes are no message.
    """
    length = int.from_bytes(_exactly(connection, 4), "big")
    if length > MAX_BYTES:
        raise ValueError(f"a message of {length} bytes is longer than {MAX_BYTES}")
    message = bounded.unpack(_exactly(connection, length))
    if not isinstance(message, dict):
        raise ValueError("a message is a map")
    return message


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = connection.recv(min(count, 1 << 16))
        if not part:
            raise ConnectionError("the connection has ended")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return arrays of one axis as what a message can hold."""
    return {name: {"type": array.dtype.name, "data": array.tobytes()} for name, array in arrays.items()}


def unpack_arrays(packed: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays that `pack_arrays` packed.

    Raises:
        DeviceError: They are none.
    """
    try:
        found: dict[str, NDArray[Any]] = {}
        for name, each in packed.items():
            if each["type"] not in _TYPES:
                raise ValueError(each["type"])
            found[name] = np.frombuffer(each["data"], each["type"]).copy()
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DeviceError("what should be the state of a device is none") from None
    return found

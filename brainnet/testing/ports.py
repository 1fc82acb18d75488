"""Ports for tests that start real processes."""

from __future__ import annotations

import itertools
import os
import socket
from typing import Final

_FIRST: Final = 20_000
_COUNT: Final = 12_000
"""Ports below the range from which operating systems take those of outgoing connections (32768 and up on Linux)."""
_numbers = itertools.count()


def free_port() -> int:
    """Find a TCP port that nothing on the loopback interface uses.

    The port is not reserved: bind it soon. Each process begins somewhere else and gives every port once, so that test
    processes that run side by side do not get the same one.

    Raises:
        OSError: Every port is taken.
    """
    begin = os.getpid() * 97  # processes that start one after the other begin 97 ports apart
    for _ in range(_COUNT):
        port = _FIRST + (begin + next(_numbers)) % _COUNT
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("no free port between 20000 and 31999 on the loopback interface")

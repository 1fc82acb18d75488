"""Ports for tests that start real processes."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Find a TCP port that nothing on the loopback interface uses.

    The port is not reserved: bind it soon.

    Returns:
        A port number from the operating system's ephemeral range.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

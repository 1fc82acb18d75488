"""The baseline of streams: the same bytes between two processes, in plain zenoh-python.

As a program it is the process that sends: the arguments are the endpoint that it connects to, the size of a message and
the seconds for which it sends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from brainnet.testing.ports import free_port

_KEY: Final = "raw/window"
_TIMEOUT_S: Final = 30.0


def raw_rate(payload: bytes, seconds: float, read: Callable[[bytes], object]) -> float:
    """Return how many messages a second with these bytes arrive from another process, and are read.

    Raises:
        TimeoutError: The other process does not send.
    """
    import zenoh

    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    endpoint = f"tcp/127.0.0.1:{free_port()}"
    config.insert_json5("listen/endpoints", f'["{endpoint}"]')
    with zenoh.open(config) as session:
        # A channel with a bound: what is not read yet holds the sender up, instead of filling the memory.
        windows = session.declare_subscriber(_KEY, zenoh.handlers.FifoChannel(16))
        command = [sys.executable, "-m", "brainnet.bench.raw_stream", endpoint, str(seconds + _TIMEOUT_S)]
        sender = subprocess.Popen(command, stdin=subprocess.PIPE)
        try:
            assert sender.stdin is not None
            sender.stdin.write(payload)
            sender.stdin.close()
            return _read(windows, seconds, read)
        finally:
            sender.kill()
            sender.wait()
            windows.undeclare()  # type: ignore[no-untyped-call]


def _read(windows: Any, seconds: float, read: Callable[[bytes], object]) -> float:
    give_up = time.perf_counter() + _TIMEOUT_S
    while (first := windows.try_recv()) is None:
        if time.perf_counter() > give_up:
            raise TimeoutError("the process that sends raw messages does not send")
        time.sleep(0.01)  # a blocking `recv` has no timeout
    read(first.payload.to_bytes())
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        read(windows.recv().payload.to_bytes())
        count += 1
    return count / (time.perf_counter() - begun)


def _main(endpoint: str, seconds: float) -> None:
    import zenoh

    payload = sys.stdin.buffer.read()
    config = zenoh.Config()
    config.insert_json5("mode", '"client"')
    config.insert_json5("connect/endpoints", f'["{endpoint}"]')
    with zenoh.open(config) as session:
        # Any: the stubs call the matching status a bool, and it is an object.
        windows: Any = session.declare_publisher(_KEY, congestion_control=zenoh.CongestionControl.BLOCK)
        deadline = time.monotonic() + _TIMEOUT_S
        while not windows.matching_status.matching:
            if time.monotonic() > deadline:
                os._exit(1)
            time.sleep(0.01)  # Zenoh tells only who asks
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            windows.put(payload)
    os._exit(0)


if __name__ == "__main__":
    _main(sys.argv[1], float(sys.argv[2]))

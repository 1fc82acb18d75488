"""The baseline of streams: the same bytes between two processes, in plain zenoh-python that does not read them.

As a program it is the process that sends: the arguments are the endpoint that it connects to, the size of a message and
the seconds for which it sends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any, Final

from brainnet.testing.ports import free_port

_KEY: Final = "raw/window"
_END: Final = "raw/end"
_TIMEOUT_S: Final = 30.0


def raw_rate(payload: bytes, seconds: float) -> float:
    """Return how many messages a second with these bytes arrive from another process.

    Raises:
        TimeoutError: The other process does not send.
    """
    import zenoh

    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    endpoint = f"tcp/127.0.0.1:{free_port()}"
    config.insert_json5("listen/endpoints", f'["{endpoint}"]')
    count = 0
    begun = 0.0
    ended = threading.Event()

    def received(sample: Any) -> None:
        nonlocal count, begun
        sample.payload.to_bytes()
        if not count:
            begun = time.perf_counter()
        count += 1

    with zenoh.open(config) as session:
        subscribers = [
            session.declare_subscriber(_KEY, received),
            session.declare_subscriber(_END, lambda _: ended.set()),
        ]
        command = [sys.executable, "-m", "brainnet.bench.raw_stream", endpoint, str(seconds)]
        sender = subprocess.Popen(command, stdin=subprocess.PIPE)
        try:
            assert sender.stdin is not None
            sender.stdin.write(payload)
            sender.stdin.close()
            if not ended.wait(seconds + _TIMEOUT_S):
                raise TimeoutError("the process that sends raw messages did not end")
            passed = time.perf_counter() - begun
        finally:
            sender.kill()
            sender.wait()
        for subscriber in subscribers:
            subscriber.undeclare()  # type: ignore[no-untyped-call]
    return max(0, count - 1) / passed


def _main(endpoint: str, seconds: float) -> None:
    import zenoh

    payload = sys.stdin.buffer.read()
    config = zenoh.Config()
    config.insert_json5("mode", '"client"')
    config.insert_json5("connect/endpoints", f'["{endpoint}"]')
    with zenoh.open(config) as session:
        options: dict[str, Any] = {"congestion_control": zenoh.CongestionControl.BLOCK}
        # Any: the stubs call the matching status a bool, and it is an object.
        windows: Any = session.declare_publisher(_KEY, **options)
        end: Any = session.declare_publisher(_END, **options)
        deadline = time.monotonic() + _TIMEOUT_S
        while not (windows.matching_status.matching and end.matching_status.matching):
            if time.monotonic() > deadline:
                os._exit(1)
            time.sleep(0.01)  # Zenoh tells only who asks
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            windows.put(payload)
        end.put(b"")
        time.sleep(1.0)  # until it has left; the other process ends this one
    os._exit(0)


if __name__ == "__main__":
    _main(sys.argv[1], float(sys.argv[2]))

"""The twin as a process of its own, and a relay that loses datagrams on purpose."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from brainnet.testing import PATIENCE_S


@dataclass(frozen=True, slots=True)
class Peer:
    """A process that serves the twin."""

    process: subprocess.Popen[str]
    said: dict[str, Any]

    @property
    def control(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.said["control"])

    @property
    def port(self) -> int:
        return int(self.said["port"])


@contextlib.contextmanager
def served(*options: str, afresh: bool = False) -> Iterator[Peer]:
    """Run the server, and end it.

    Args:
        options: Of its command line.
        afresh: In a process that imports everything itself, which takes seconds, not in a fork: see `tests.warm`.
    """
    command = [sys.executable, *(["-u"] if afresh else []), "-m", "brainnet.devices.server", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"the server ended with {process.wait(PATIENCE_S)}"
            yield Peer(process, json.loads(line))
        finally:
            process.kill()


class LossyRelay:
    """Passes datagrams on in both directions, except those that `drops` says, which it counts.

    The first datagram says who the host is.
    """

    def __init__(self, device: tuple[str, int], drops: Callable[[str, int], bool]) -> None:
        self.dropped = {"in": 0, "out": 0}
        self.keys_dropped = 0
        self._passed = {"in": 0, "out": 0}
        self._device, self._drops = device, drops
        self._host: tuple[str, int] | None = None
        self._front, self._back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for each in (self._front, self._back):
            each.bind(("127.0.0.1", 0))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def to_device(self) -> tuple[str, int]:
        """Where the host sends."""
        return self._front.getsockname()  # type: ignore[no-any-return]

    @property
    def to_host(self) -> int:
        """The port where the device sends."""
        return int(self._back.getsockname()[1])

    def set_host(self, port: int) -> None:
        self._host = ("127.0.0.1", port)

    def __enter__(self) -> LossyRelay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(PATIENCE_S)
        self._front.close()
        self._back.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            for ready in select.select([self._front, self._back], [], [], 0.02)[0]:
                data = ready.recv(65_535)
                way, to = ("in", self._device) if ready is self._front else ("out", self._host)
                number = self._passed[way]
                self._passed[way] += 1
                if to is None or self._drops(way, number):
                    self.dropped[way] += 1
                    self.keys_dropped += data[0] if way == "out" else 0
                else:
                    ready.sendto(data, to)

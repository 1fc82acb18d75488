"""The supervisor's end of a zygote."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from brainnet.errors import LaunchError
from brainnet.launcher.run.zygote import ENVIRONMENT, MAX_PACKET

_ENTRY: Final = "from brainnet.launcher.run.zygote import main; main()"


@dataclass
class Fork:
    """One process that a zygote was asked for."""

    on_pid: Callable[[int], None]
    """Called when it exists."""
    send_signal: Callable[[int], None]
    """Signals it, if it still is there; all but SIGINT go to what it has started itself, too."""
    ended: asyncio.Future[int | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """The exit code, negative for a signal; None when the zygote itself went and took it along."""
    refused: str = ""
    """Why there is no process."""


class ZygoteProcess:
    """A zygote that runs. Made before an event loop is there, so that it can import while its supervisor starts."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            path = [p or str(Path.cwd()) for p in sys.path]
            if str(Path.cwd()) not in path:
                path.append(str(Path.cwd()))  # last: a program named as a module may stand in the current folder
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
                env={**os.environ, **ENVIRONMENT},
            )
        self._socket = ours
        self._socket.setblocking(False)
        self._forks: dict[int, Fork] = {}
        self._tickets = itertools.count()
        self._broken = ""
        self.gone: asyncio.Future[str]
        self.ready: asyncio.Future[float]

    def attach(self, log: Path, preload: tuple[str, ...]) -> None:
        """Start to listen to it, and tell it what to import. Its output goes to `log` from now on."""
        loop = asyncio.get_running_loop()
        self.gone = loop.create_future()
        self.ready = loop.create_future()
        loop.add_reader(self._socket, self._readable)
        self._send({"do": "log", "path": str(log)})
        self._send({"do": "preload", "modules": list(preload)})

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def spawn(self, request: dict[str, Any], notify: int, on_pid: Callable[[int], None]) -> Fork:
        """Ask for a process; `notify` is the descriptor it reports its states on, which the caller still closes.

        Raises:
            LaunchError: the request cannot be handed over.
        """
        ticket = next(self._tickets)
        self._send({"do": "spawn", "ticket": ticket, **request}, [notify])

        def send_signal(number: int) -> None:
            self._send({"do": "signal", "ticket": ticket, "signal": int(number)})

        fork = self._forks[ticket] = Fork(on_pid, send_signal)
        return fork

    def _send(self, packet: dict[str, Any], descriptors: list[int] | None = None) -> None:
        data = json.dumps(packet).encode()
        if len(data) > MAX_PACKET:
            raise LaunchError(f"its parameters take {len(data)} bytes, at most {MAX_PACKET} can be handed over")
        try:
            socket.send_fds(self._socket, [data], descriptors or [])
        except BlockingIOError:
            raise LaunchError("the zygote takes no requests any more") from None
        except OSError:  # it is gone, which the reader tells everybody
            pass

    def _readable(self) -> None:
        while True:
            try:
                packet = self._socket.recv(MAX_PACKET)
            except BlockingIOError:
                return
            except ConnectionResetError:  # it ended before it read all; told once, and what it said still waits
                continue
            except OSError:
                packet = b""
            if not packet:
                self._lost()
                return
            self._handle(json.loads(packet))

    def _handle(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "ready" if not self.ready.done():
                self.ready.set_result(event["seconds"])
            case "broken":
                self._broken = event["reason"]
            case "spawned":
                self._forks[event["ticket"]].on_pid(event["pid"])
            case "refused":
                fork = self._forks.pop(event["ticket"])
                fork.refused = event["reason"]
                _finish(fork, 1)
            case "exited":
                _finish(self._forks.pop(event["ticket"]), event["code"])

    def _lost(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        code = self._process.wait()
        reason = self._broken or (f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
        self.gone.set_result(reason)  # first, so that whoever replaces it is told before those who lost a node
        for fork in self._forks.values():
            _finish(fork, None)
        self._forks.clear()

    async def close(self, timeout: float = 3.0) -> None:
        """End it and whatever it still has; returns when it is gone."""
        if not self.gone.done():
            self._socket.shutdown(socket.SHUT_WR)
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.shield(self.gone)
            except TimeoutError:
                self.kill()
                await self.gone

    def kill(self) -> None:
        """End it at once; the kernel ends its nodes."""
        self._process.kill()

    def abandon(self) -> None:
        """End it before it was attached."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


_BOOT: Final = f"import json, sys; sys.path[:] = json.loads(sys.argv[2]); {_ENTRY}"


def _finish(fork: Fork, code: int | None) -> None:
    if not fork.ended.done():
        fork.ended.set_result(code)

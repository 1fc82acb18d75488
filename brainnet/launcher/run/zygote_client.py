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
    """One requested process.

    Attributes:
        on_pid: Called with its process id when it exists.
        send_signal: Sends it a signal if it still exists; every signal but SIGINT goes to its whole process group.
        ended: Its exit code, negative for a signal; None when the zygote exited, and the kernel killed it.
        error: Why it could not be forked; empty otherwise.
    """

    on_pid: Callable[[int], None]
    send_signal: Callable[[int], None]
    ended: asyncio.Future[int | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    error: str = ""


class ZygoteProcess:
    """A running zygote.

    It is created before there is an event loop, so that it imports while its supervisor starts; `attach` connects it
    to the event loop.

    Attributes:
        exited: Done when the process has exited; its result is the reason.
        ready: Done when everything is imported; its result is the seconds that it took.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The default buffer is smaller than MAX_PACKET, and a packet that does not fit into it cannot be sent.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_PACKET)
        with theirs:
            path = [p or str(Path.cwd()) for p in sys.path]
            if str(Path.cwd()) not in path:
                # The current folder, because a program named as a module may be there. Last, so that a file there
                # does not hide an installed module.
                path.append(str(Path.cwd()))
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # standard error: the standard output of `brainnet launch` is for its table
                start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone
                env={**os.environ, **ENVIRONMENT},
            )
        self._socket = ours
        self._socket.setblocking(False)
        self._forks: dict[int, Fork] = {}
        self._tickets = itertools.count()
        self._import_error = ""
        self.exited: asyncio.Future[str]
        self.ready: asyncio.Future[float]

    def attach(self, log: Path, preload: tuple[str, ...]) -> None:
        """Connect it to the running event loop and send it the modules to import.

        Args:
            log: File to which its output goes from now on.
            preload: Names of modules.
        """
        loop = asyncio.get_running_loop()
        self.exited = loop.create_future()
        self.ready = loop.create_future()
        loop.add_reader(self._socket, self._on_readable)
        self._send({"do": "log", "path": str(log)})
        self._send({"do": "preload", "modules": list(preload)})

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def spawn(self, request: dict[str, Any], notify: int, on_pid: Callable[[int], None]) -> Fork:
        """Request a process.

        Args:
            request: The spec of the node and its log file.
            notify: File descriptor on which the node reports its states; the caller closes its own copy.
            on_pid: Called with the process id when it exists.

        Raises:
            LaunchError: The request is too large, or the zygote does not read its requests.
        """
        # A number of ours, because the process id is known only when the zygote has forked.
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
        except OSError:  # it has exited, which `_on_readable` reports
            pass

    def _on_readable(self) -> None:
        while True:
            try:
                packet = self._socket.recv(MAX_PACKET)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # It exited before it had read everything. The kernel reports that once; its own packets, with the
                # reason of the exit, can still be received.
                continue
            except OSError:
                packet = b""
            if not packet:
                self._on_exit()
                return
            self._handle_event(json.loads(packet))

    def _handle_event(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "ready" if not self.ready.done():
                self.ready.set_result(event["seconds"])
            case "broken":
                self._import_error = event["reason"]
            case "spawned":
                self._forks[event["ticket"]].on_pid(event["pid"])
            case "refused":
                fork = self._forks.pop(event["ticket"])
                fork.error = event["reason"]
                _finish(fork, 1)
            case "exited":
                _finish(self._forks.pop(event["ticket"]), event["code"])

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        code = self._process.wait()
        reason = self._import_error or (f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
        # Before the forks: the supervisor must have started a new zygote when the nodes are restarted.
        self.exited.set_result(reason)
        for fork in self._forks.values():
            _finish(fork, None)
        self._forks.clear()

    async def close(self, timeout: float = 3.0) -> None:
        """Stop it and its nodes, and return when it has exited.

        Args:
            timeout: Seconds after which it is killed.
        """
        if not self.exited.done():
            # Only the sending half: its last reports of exits are still received.
            self._socket.shutdown(socket.SHUT_WR)
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.shield(self.exited)
            except TimeoutError:
                self.kill()
                await self.exited

    def kill(self) -> None:
        """Kill it; the kernel then kills its nodes."""
        self._process.kill()

    def discard(self) -> None:
        """Kill one that was never attached, or that has already exited."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


_BOOT: Final = f"import json, sys; sys.path[:] = json.loads(sys.argv[2]); {_ENTRY}"


def _finish(fork: Fork, code: int | None) -> None:
    if not fork.ended.done():
        fork.ended.set_result(code)

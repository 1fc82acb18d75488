"""The supervisor's end of one zygote."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from brainnet.errors import LaunchError
from brainnet.launcher.run.kernel import is_frozen, signal_name
from brainnet.launcher.run.node_process import NodeProcess
from brainnet.launcher.run.orphans import MARK
from brainnet.launcher.run.zygote import ENVIRONMENT, MAX_PACKET

_ENTRY: Final = "from brainnet.launcher.run.zygote import main; main()"
BOOT: Final = f"import json, sys; sys.path[:] = json.loads(sys.argv[2]); {_ENTRY}"
"""The program of a zygote; its arguments are the descriptor of its socket and its `sys.path`."""
_PING_INTERVAL_S: Final = 0.5
REPLY_TIMEOUT_S: Final = 2.0
"""Seconds without a reply to a ping after which a zygote does not work any more: frozen, or stuck."""


class UnresponsiveError(LaunchError):
    """The zygote does not read its requests."""


class ZygoteProcess:
    """A running zygote.

    It is created before there is an event loop, so that it imports while its supervisor starts; `attach` connects it
    to the event loop.

    Attributes:
        exited: Done when the process has exited; its result is the reason.
        ready: Done when everything is imported; its result is the seconds that it took.

    Raises:
        LaunchError: The process cannot be started.
    """

    def __init__(self) -> None:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise LaunchError(f"cannot start a zygote: {error.strerror}") from None
        # The default buffer is smaller than MAX_PACKET, and a packet that does not fit into it cannot be sent.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_PACKET)
        with theirs:
            folder = _current_folder()
            path = [p or folder for p in sys.path if p or folder]
            if folder and folder not in path:
                # The current folder, because a program named as a module may be there. Last, so that a file there
                # does not hide an installed module.
                path.append(folder)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", BOOT, str(theirs.fileno()), json.dumps(path)],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # standard error: the standard output of `brainnet launch` is for its table
                    start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone
                    env={**os.environ, **ENVIRONMENT, MARK: str(os.getpid())},
                )
            except OSError as error:
                ours.close()
                raise LaunchError(f"cannot start a zygote: {error.strerror}") from None
        self._socket = ours
        self._socket.setblocking(False)
        self._processes: dict[int, NodeProcess] = {}  # requested and not forked yet, by ticket
        self._tickets = itertools.count()
        self._import_error = ""
        self._last_pong = self._last_ping = self._started = time.monotonic()
        self._frozen_since: float | None = None
        self.importing = ""
        self.exited: asyncio.Future[str]
        self.ready: asyncio.Future[float]

    def attach(self, log: Path, preload: tuple[str, ...], cache: Path) -> None:
        """Connect it to the running event loop and send it the modules to import.

        Args:
            log: File to which its output goes from now on.
            preload: Names of modules.
            cache: Folder for compiled code, where the usual ones cannot be written.
        """
        loop = asyncio.get_running_loop()
        self.exited = loop.create_future()
        self.ready = loop.create_future()
        loop.add_reader(self._socket, self._on_readable)
        self._send({"do": "log", "path": str(log)})
        self._send({"do": "preload", "modules": list(preload), "cache": str(cache)})

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it has imported everything, and takes requests."""
        return self.ready.done() and not self.exited.done()

    @property
    def import_s(self) -> float:
        """Seconds for which it has imported the present module; 0 when it imports nothing."""
        return 0.0 if self.ready.done() or self.exited.done() else time.monotonic() - self._started

    def spawn(self, process: NodeProcess) -> None:
        """Request a process from a zygote that is ready.

        Raises:
            UnresponsiveError: The zygote does not read its requests; the next one may.
            LaunchError: It cannot be requested: it is too large, or holds values that JSON cannot express.
        """
        # A number of ours, because the process id is known only when the node has reported it.
        ticket = next(self._tickets)
        self._send({"do": "spawn", "ticket": ticket, "supervisor": os.getpid(), **process.request}, [process.notify])
        self._processes[ticket] = process

    def guard(self, process: NodeProcess) -> None:
        """Make it end this process when the supervisor exits."""
        self._send({"do": "guard", "pid": process.pid}, [process.pidfd])

    def problem(self, suspended_s: float) -> str:
        """Return why it does not work any more, or an empty string; call it every fraction of a second.

        Args:
            suspended_s: Seconds for which this process itself was suspended since the last call.
        """
        now = time.monotonic()
        if self.exited.done():
            return ""
        self._last_pong += suspended_s
        if not self.ready.done():  # it imports, and cannot reply
            if not is_frozen(self.pid):
                self._frozen_since = None
            elif self._frozen_since is None:
                self._frozen_since = now
            frozen = self._frozen_since is not None and now - self._frozen_since > REPLY_TIMEOUT_S
            return "it was frozen while it imported" if frozen else ""
        if now - self._last_ping >= _PING_INTERVAL_S:
            self._last_ping = now
            try:
                self._send({"do": "ping"})
            except LaunchError:
                return "it reads no requests"
        return f"no reply for {REPLY_TIMEOUT_S:g} s" if now - self._last_pong > REPLY_TIMEOUT_S else ""

    def _send(self, packet: dict[str, Any], descriptors: list[int] | None = None) -> None:
        try:
            data = json.dumps(packet).encode()
        except (TypeError, ValueError) as error:
            raise LaunchError(f"its parameters cannot be handed over: {error}") from None
        if len(data) > MAX_PACKET:
            raise LaunchError(f"its parameters take {len(data)} bytes, at most {MAX_PACKET} can be handed over")
        try:
            socket.send_fds(self._socket, [data], descriptors or [])
        except BlockingIOError:
            raise UnresponsiveError("the zygote takes no requests any more") from None
        except (BrokenPipeError, ConnectionResetError):  # it has exited, which `_on_readable` reports
            pass
        except OSError as error:
            raise LaunchError(f"the zygote cannot be reached: {error.strerror}") from None

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
        self._last_pong = time.monotonic()
        match event["event"]:
            case "ready" if not self.ready.done():
                self.ready.set_result(event["seconds"])
            case "importing":
                self.importing = event["module"]
                self._started = time.monotonic()
            case "broken":
                self._import_error = event["reason"]
            case "forked":
                self._processes.pop(event["ticket"]).forked()
            case "refused":
                self._processes.pop(event["ticket"]).never_started(event["reason"])

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        code = self._process.wait()
        reason = self._import_error or (f"killed by {signal_name(-code)}" if code < 0 else f"exit code {code}")
        self._processes.clear()  # the keeper requests them again, from the next zygote
        self.exited.set_result(reason)

    async def close(self, timeout: float = 3.0) -> None:
        """Stop it and what it guards, and return when it has exited.

        Args:
            timeout: Seconds after which it is killed.
        """
        if not self.exited.done():
            # Only the sending half: its last reports are still received.
            self._socket.shutdown(socket.SHUT_WR)
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.shield(self.exited)
            except TimeoutError:
                self.kill()
                await self.exited

    def kill(self) -> None:
        """Kill it; the nodes that it has made go on."""
        self._process.kill()

    def discard(self) -> None:
        """Kill one that was never attached, or that has already exited."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return ""

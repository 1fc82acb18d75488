"""One process of a node, as its supervisor sees it: from the request to a zygote until it is reaped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from typing import Any

from brainnet.wire.messages import NodeState


class NodeProcess:
    """One process of a node.

    The zygote forks it twice, so that it is a child of this process from its first moment: its exit is seen, and its
    exit code known, whatever becomes of the zygote. It reports its process id and its states on a pipe.

    It is created within a running event loop, and needs no clean-up: everything is closed when `ended` is done.

    Attributes:
        request: What the zygote has to know: the spec of the node and its log file.
        pid: Its process id; None until it has reported it.
        ended: Its exit code, negative for a signal; None when there was never a process.
        error: Why there was never a process; empty otherwise.

    Args:
        request: See above.
        on_pid: Called when its process id is known.
        on_state: Called with each state that it reports, and the reason.

    Raises:
        OSError: This process has no file descriptors left.
    """

    def __init__(
        self, request: dict[str, Any], on_pid: Callable[[NodeProcess], None], on_state: Callable[[NodeState, str], None]
    ) -> None:
        self.request = request
        self.pid: int | None = None
        self.error = ""
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._on_pid = on_pid
        self._on_state = on_state
        self._read, self._write = os.pipe()
        self._pidfd = -1
        self._buffer = b""
        self._pending_signal: int | None = None
        os.set_blocking(self._read, False)
        asyncio.get_running_loop().add_reader(self._read, self._on_readable)

    # -- for the keeper of the zygote --------------------------------------------------------------------------------

    @property
    def notify(self) -> int:
        """The end of the pipe on which the node reports, to be handed over with the request."""
        return self._write

    @property
    def pidfd(self) -> int:
        """A descriptor of the process; valid from `on_pid` until it has ended."""
        return self._pidfd

    def forked(self) -> None:
        """Take note that there is a process, which holds an end of the pipe of its own.

        The end of file of the pipe now says that a process without a known id has ended.
        """
        self._close_write()

    def never_started(self, error: str) -> None:
        """End it without a process, unless there is one."""
        if self.pid is None and not self.ended.done():
            self.error = error
            self._finish(None)

    # -- for the managed node ----------------------------------------------------------------------------------------

    def send_signal(self, number: int) -> None:
        """Send a signal: SIGINT to the process alone, for an orderly stop, any other to its process group.

        It is sent later when the process id is not known yet.
        """
        if self.ended.done():
            return
        if self.pid is None:
            self._pending_signal = number  # the signals of a stop come in the order of their strength
            return
        # This process is the parent and has not reaped it, so that the id cannot belong to another process.
        with contextlib.suppress(ProcessLookupError):
            (os.kill if number == signal.SIGINT else os.killpg)(self.pid, number)

    # -- events ------------------------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        try:
            while data := os.read(self._read, 4096):
                self._buffer += data
        except BlockingIOError:
            at_end = False
        else:  # end of file: the descriptor is readable for ever, which would wake the event loop all the time
            at_end = True
            asyncio.get_running_loop().remove_reader(self._read)
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a program may write to any descriptor
                self._on_report(json.loads(line))
        if at_end and self.pid is None:
            self.never_started("its process ended before it could report its id")

    def _on_report(self, report: dict[str, Any]) -> None:
        if "pid" not in report:
            self._on_state(report["state"], report["reason"])
        elif self.pid is None:
            self._on_pid_report(int(report["pid"]))
        elif report["pid"] != self.pid:
            # A zygote ended right after it had forked, and its successor got the same request.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(report["pid"]), signal.SIGKILL)

    def _on_pid_report(self, pid: int) -> None:
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError as error:  # without a descriptor its end would not be seen
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
            self.never_started(f"cannot watch its process: {error.strerror}")
            return
        self.pid = pid
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_exit)
        self._close_write()
        self._on_pid(self)
        if self._pending_signal is not None:
            self.send_signal(self._pending_signal)

    def _on_exit(self) -> None:
        assert self.pid is not None
        # What it had started, before it is reaped: until then the id of its group cannot be given to another process.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code: int | None
        try:
            ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
            assert ended is not None
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        except ChildProcessError:
            code = 1
        self._on_readable()  # its last states may still be in the pipe
        self._finish(code)

    def _finish(self, code: int | None) -> None:
        loop = asyncio.get_running_loop()
        for descriptor in (self._read, self._pidfd):
            if descriptor >= 0:
                loop.remove_reader(descriptor)
                os.close(descriptor)
        self._read = self._pidfd = -1
        self._close_write()
        self.ended.set_result(code)

    def _close_write(self) -> None:
        if self._write >= 0:
            os.close(self._write)
            self._write = -1

"""Keeps a zygote running, and hands it the requests for processes of nodes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from brainnet.errors import LaunchError
from brainnet.launcher.run.kernel import become_subreaper
from brainnet.launcher.run.node_process import NodeProcess
from brainnet.launcher.run.zygote_client import UnresponsiveError, ZygoteProcess
from brainnet.wire.messages import NodeState

log = structlog.get_logger("brainnet.launcher")

_FIRST_PAUSE_S: Final = 1.0
"""Seconds before a zygote is started again that ended while it imported; doubles with each further one."""
_LONGEST_PAUSE_S: Final = 30.0


class ZygoteKeeper:
    """Keeps one zygote running.

    Guarantees: a zygote that exits, or does not reply for 2 s, is replaced; the processes of nodes go on meanwhile,
    and those that were requested and not made are requested from the next one. Every process of a node is a child of
    this process, so that its exit is known.

    Args:
        zygote: The first one, which is not attached yet.
        log_file: Where its output goes.
        preload: Modules that it imports.
        cache: Folder for compiled code, where the usual ones cannot be written.
        import_timeout_s: Seconds that the import of one module may take.
        on_startup_failure: Called with the reason when the first zygote cannot import; it is not replaced then, since
            another one would fail, too.
    """

    def __init__(
        self,
        zygote: ZygoteProcess,
        log_file: Path,
        preload: tuple[str, ...],
        cache: Path,
        import_timeout_s: float,
        on_startup_failure: Callable[[str], None],
    ) -> None:
        self._zygote = zygote
        self._log_file = log_file
        self._preload = preload
        self._cache = cache
        self._import_timeout_s = import_timeout_s
        self._on_startup_failure = on_startup_failure
        self._was_ready = False
        self._closing = False
        self._failures = 0
        self._end_reason = ""
        self._restart: asyncio.TimerHandle | None = None
        self._waiting: list[NodeProcess] = []  # not requested from the present zygote
        self._processes: set[NodeProcess] = set()

    def start(self) -> None:
        """Attach the first zygote; call it within the running event loop."""
        become_subreaper()
        self._attach()

    def spawn(
        self, request: dict[str, Any], on_pid: Callable[[int], None], on_state: Callable[[NodeState, str], None]
    ) -> NodeProcess:
        """Request a process, from the next zygote when there is none now.

        Args:
            request: The spec of the node and its log file.
            on_pid: Called with its process id when it exists.
            on_state: Called with each state that it reports, and the reason.

        Raises:
            LaunchError: This process has no file descriptors left.
        """

        def exists(process: NodeProcess) -> None:
            assert process.pid is not None
            if self._zygote.is_ready:
                with contextlib.suppress(LaunchError):  # it reads nothing any more, and will be replaced
                    self._zygote.guard(process)
            on_pid(process.pid)

        try:
            process = NodeProcess(request, exists, on_state)
        except OSError as error:
            raise LaunchError(f"cannot start its process: {error.strerror}") from None
        self._processes.add(process)
        process.ended.add_done_callback(lambda _: self._processes.discard(process))
        self._request(process)
        return process

    def check(self, suspended_s: float) -> None:
        """Replace a zygote that does not work any more, and reap what nodes left behind; call it often.

        Args:
            suspended_s: Seconds for which this process itself was suspended since the last call.
        """
        self._reap_strays()
        zygote = self._zygote
        problem = zygote.problem(suspended_s)
        if not problem and zygote.import_s > self._import_timeout_s:
            problem = f"{zygote.importing or 'the runtime'} is still being imported after {self._import_timeout_s:g} s"
        if problem and not self._end_reason:
            log.error("ending the zygote", reason=problem, pid=zygote.pid)
            self._end_reason = problem
            zygote.kill()

    def cancel_waiting(self) -> None:
        """Start none of the processes that were requested and not made yet."""
        self._closing = True
        if self._restart is not None:
            self._restart.cancel()
        if not self._zygote.is_ready:
            self._zygote.kill()
        for process in self._waiting:
            process.never_started("the brain stops")
        self._waiting.clear()

    async def close(self) -> None:
        """End the zygote."""
        self.cancel_waiting()
        await self._zygote.close()
        for process in list(self._processes):
            process.never_started("the brain stops")

    # -- the present zygote ------------------------------------------------------------------------------------------

    def _attach(self) -> None:
        zygote = self._zygote
        self._end_reason = ""
        zygote.attach(self._log_file, self._preload, self._cache)
        zygote.ready.add_done_callback(self._on_ready)
        zygote.exited.add_done_callback(self._on_exit)

    def _on_ready(self, ready: asyncio.Future[float]) -> None:
        if ready.cancelled():
            return
        log.info("zygote ready", seconds=round(ready.result(), 3), pid=self._zygote.pid)
        self._was_ready = True
        self._failures = 0
        for process in self._processes:
            if process.pid is not None:
                with contextlib.suppress(LaunchError):
                    self._zygote.guard(process)
        waiting, self._waiting = self._waiting, []
        for process in waiting:
            self._request(process)

    def _request(self, process: NodeProcess) -> None:
        if self._closing:
            process.never_started("the brain stops")
            return
        if not self._zygote.is_ready:
            self._waiting.append(process)
            return
        try:
            self._zygote.spawn(process)
        except UnresponsiveError:  # `check` will replace it
            self._waiting.append(process)
        except LaunchError as error:
            process.never_started(str(error))

    def _on_exit(self, exited: asyncio.Future[str]) -> None:
        reason = self._end_reason or exited.result()
        unmade = [process for process in self._processes if process.pid is None]
        if self._closing:
            for process in unmade:
                process.never_started("the brain stops")
            return
        log.error("zygote ended", reason=reason)
        if not self._was_ready:
            self._closing = True
            self._on_startup_failure(reason)
            return
        # A request that it was reading may have been carried out: the process then reports itself before the next
        # zygote, which has to import first, is ready.
        self._waiting = unmade
        if self._zygote.ready.done():
            self._start_next()
        else:
            self._pause()

    def _pause(self) -> None:
        pause = min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S)
        self._failures += 1
        log.warning("the next zygote is started later", in_s=pause)
        self._restart = asyncio.get_running_loop().call_later(pause, self._start_next)

    def _start_next(self) -> None:
        if self._closing:
            return
        try:
            self._zygote = ZygoteProcess()
        except LaunchError as error:
            log.error("no zygote", error=str(error))
            self._pause()
        else:
            self._attach()

    # -- children ----------------------------------------------------------------------------------------------------

    def _reap_strays(self) -> None:
        """Reap what became a child of this process because its parent, a node, has ended.

        Not while a process of a node is about to report its id: its exit code would be lost.
        """
        known = {process.pid for process in self._processes} | {self._zygote.pid}
        if None in known:
            return
        with contextlib.suppress(ChildProcessError):
            # WNOWAIT: look without reaping. A known child is reaped where its end is handled.
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in known:
                    return
                os.waitpid(ended.si_pid, 0)

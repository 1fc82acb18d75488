"""The life cycle of one node under its supervisor: start, heartbeat timeout, restart policy, stop with escalation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from brainnet.errors import LaunchError
from brainnet.launcher.run.zygote_client import Fork
from brainnet.node.spec import NodeSpec
from brainnet.wire.messages import Health, NodeRecord, NodeState

log = structlog.get_logger("brainnet.launcher")

HEARTBEAT_TIMEOUT_S: Final = 2.5
"""Seconds without a heartbeat after which a ready node is lost: frozen, or without a connection. Heartbeats come every
second and may be dropped on a congested link, so two may be missing; the supervisor queries the node before that."""
_RUNNING: Final = ("ready", "degraded")
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
"""The escalation of a stop: an orderly stop of the node, one of all that it has started, an unconditional kill."""
_LOG_TAIL_BYTES: Final = 8192
"""Bytes of a log that are read for its last line: enough for the end of a traceback, however long the log is."""

Spawn = Callable[[NodeSpec, int, Callable[[int], None]], Fork]
"""Starts a process for a node: its spec, the file descriptor on which it reports its states, and a callback for its
process id."""


class ManagedNode:
    """Keeps one node running as its spec says.

    Guarantees: at most one process at a time; every unexpected exit is logged with its reason and handled by the
    restart policy; `stop` returns when the process has exited.

    Args:
        spec: The node.
        log_file: Where the output of its process goes.
        spawn: Starts a process for it.
        on_change: Called with its record at every change of state.
    """

    def __init__(self, spec: NodeSpec, log_file: Path, spawn: Spawn, on_change: Callable[[NodeRecord], None]) -> None:
        self.spec = spec
        self.log_file = log_file
        self.record = NodeRecord(id=spec.id, program=spec.program, host=spec.host, state="stopped")
        self._spawn = spawn
        self._on_change = on_change
        self._intent: str = "run"  # or "restart", "stop"
        self._intent_changed = asyncio.Event()
        self._skip_grace = asyncio.Event()
        self._fork: Fork | None = None
        self._started = self._last_heartbeat = self._lost_at = 0.0
        self._log_offset = 0
        self._reported_failure = ""  # the reason that the process itself gave for its exit
        self._stop_reason = ""  # why the supervisor ended it
        self._last_exit_reason = ""
        self._exit_times: list[float] = []

    # -- called by the supervisor ------------------------------------------------------------------------------------

    async def supervise(self) -> None:
        """Run the node and restart it as its policy says, until cancelled."""
        while True:
            if self._intent == "stop":
                self._intent_changed.clear()
                await self._intent_changed.wait()
                continue
            code = await self._run_once()
            self._last_exit_reason = self._exit_reason(code)
            if self._intent == "stop":
                self._set("stopped", self._stop_reason)
            elif self._intent == "restart":
                self._intent = "run"
                self.record.restarts += 1
            else:
                await self._handle_unexpected_exit(code)

    def start(self) -> None:
        """Start it, also after it failed; the count of its exits starts anew."""
        self._exit_times.clear()
        self._last_exit_reason = ""
        self._intent = "run"
        self._intent_changed.set()

    async def restart(self, grace_s: float) -> None:
        """Stop its process, if there is one, and start another."""
        if self._fork is None:
            self.start()
            return
        self._exit_times.clear()
        self._intent = "restart"
        await self._terminate(self._fork, grace_s, "restart asked for")

    async def stop(self, grace_s: float, reason: str = "") -> bool:
        """Send SIGINT, SIGTERM and SIGKILL, `grace_s` seconds apart; return whether the process has exited."""
        self._intent = "stop"
        self._intent_changed.set()
        if self._fork is not None:
            return await self._terminate(self._fork, grace_s, reason)
        if self.record.state == "backoff":
            self._set("stopped", reason)
        return True

    async def _terminate(self, fork: Fork, grace_s: float, reason: str) -> bool:
        self._stop_reason = reason
        self._set("stopping", reason)
        for number in _STOP_SIGNALS:
            last = number == signal.SIGKILL
            if not last and self._skip_grace.is_set():
                continue
            fork.send_signal(number)
            # After SIGKILL there is nothing to escalate to, so `kill_now` cannot shorten that wait.
            skipped = asyncio.create_task(self._skip_grace.wait())
            waiting: list[asyncio.Future[Any]] = [fork.ended] if last else [fork.ended, skipped]
            await asyncio.wait(waiting, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            skipped.cancel()
            if fork.ended.done():
                return True
        return False

    def kill_now(self) -> None:
        """Make a running `stop` escalate to SIGKILL at once."""
        self._skip_grace.set()

    def record_heartbeat(self, health: Health) -> None:
        """Record that a heartbeat of this node was received."""
        if health.pid == self.record.pid:  # not that of an earlier process, which may still be on its way
            self._last_heartbeat = time.monotonic()

    def check(self, ready_timeout_s: float) -> None:
        """Kill the process when its heartbeat is overdue, or when it is not ready in time; the policy then applies."""
        now = time.monotonic()
        if self.heartbeat_age_s > HEARTBEAT_TIMEOUT_S:
            self._kill_as_lost(f"no heartbeat for {HEARTBEAT_TIMEOUT_S:g} s")
        elif self.record.state == "starting" and self.record.pid and now - self._started > ready_timeout_s:
            self._kill_as_lost(f"not ready after {ready_timeout_s:g} s")

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the last heartbeat of a node that should send some; 0 in other states."""
        return time.monotonic() - self._last_heartbeat if self.record.state in _RUNNING else 0.0

    def extend_heartbeat_deadline(self, seconds: float) -> None:
        """Do not count a time in which the supervisor itself could not receive heartbeats."""
        self._last_heartbeat += seconds

    @property
    def lost_for_s(self) -> float:
        """Seconds since it was killed as lost, while its process has not exited; 0 in other states."""
        return time.monotonic() - self._lost_at if self.record.state == "lost" else 0.0

    @property
    def uptime_s(self) -> float:
        """Seconds since its process was started; 0 when there is none."""
        return time.monotonic() - self._started if self._fork is not None else 0.0

    # -- one run -----------------------------------------------------------------------------------------------------

    async def _run_once(self) -> int | None:
        loop = asyncio.get_running_loop()
        self._started = time.monotonic()
        self._reported_failure = self._stop_reason = ""
        # Logs are appended to: what earlier runs wrote is not the reason of this run's exit.
        self._log_offset = self.log_file.stat().st_size if self.log_file.exists() else 0
        self.record.ready_s = self.record.exit_code = None
        self._set("starting", self._last_exit_reason)
        read, write = os.pipe()
        states = _StateReader(read, self._on_state_report)
        code: int | None = 1
        try:
            os.set_blocking(read, False)
            loop.add_reader(read, states.on_readable)
            self._fork = self._spawn(self.spec, write, self._on_spawned)
            os.close(write)  # the zygote has its copy; with ours open, the pipe would never report its end
            write = -1
            code = await self._fork.ended
            states.on_readable()  # its last states may still be in the pipe
            self._reported_failure = self._reported_failure or self._fork.error
        except LaunchError as error:
            self._reported_failure = str(error)
        finally:
            loop.remove_reader(read)
            os.close(read)
            if write >= 0:
                os.close(write)
            self._fork = None
            self.record.pid = None
        self.record.exit_code = code
        return code

    def _on_spawned(self, pid: int) -> None:
        self._started = time.monotonic()
        self.record.pid = pid
        self._on_change(self.record)

    def _on_state_report(self, state: NodeState, reason: str) -> None:
        """Take over a state that the node reported, unless the supervisor has decided otherwise."""
        if state == "failed":  # the record changes at the exit, when the restart policy is applied
            self._reported_failure = reason
        elif state in _RUNNING and self.record.state in ("starting", *_RUNNING):
            self._last_heartbeat = time.monotonic()
            if self.record.ready_s is None:
                self.record.ready_s = round(self._last_heartbeat - self._started, 3)
            self._set(state, reason or self._last_exit_reason)
        elif state == "stopping" and self.record.state != "lost":
            self._set(state, reason or self.record.reason)

    def _set(self, state: NodeState, reason: str = "") -> None:
        if state != self.record.state:
            log.info("node", id=self.record.id, state=state, pid=self.record.pid, reason=reason)
        self.record.state, self.record.reason = state, reason
        self._on_change(self.record)

    def _kill_as_lost(self, reason: str) -> None:
        self._stop_reason = reason
        self._lost_at = time.monotonic()
        self._set("lost", reason)
        if self._fork is not None:
            self._fork.send_signal(signal.SIGKILL)

    # -- exits -------------------------------------------------------------------------------------------------------

    async def _handle_unexpected_exit(self, code: int | None) -> None:
        reason, delay = self._last_exit_reason, self._restart_delay(code)
        log.warning("node ended", id=self.record.id, exit_code=code, reason=reason, restart_in_s=delay)
        if delay is None:
            self._intent = "stop"
            self._set("stopped" if code == 0 else "failed", reason)
            return
        if delay:
            self._set("backoff", f"{reason}; restart in {delay:.3g} s")
            self._intent_changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):  # `start` and `stop` end the back-off
                    await self._intent_changed.wait()
        if self._intent == "run":
            self.record.restarts += 1

    def _exit_reason(self, code: int | None) -> str:
        if self._stop_reason:
            return self._stop_reason
        if code is None:
            return "its zygote ended"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if self._reported_failure:
            return self._reported_failure
        last = _last_log_line(self.log_file, self._log_offset)
        return f"ended with exit code {code}{': ' + last if last else ''}"

    def _restart_delay(self, code: int | None) -> float | None:
        """Return the seconds until the next start, or None for no restart.

        Exponential back-off: the first restart in the window is immediate, the second waits `backoff_s`, and each
        further one twice as long as the one before.
        """
        restart = self.spec.restart
        if restart.policy == "never" or (restart.policy == "on-failure" and code == 0):
            return None
        now = time.monotonic()
        self._exit_times = [t for t in self._exit_times if now - t < restart.window_s] + [now]
        if len(self._exit_times) > restart.max_restarts:
            return None
        if len(self._exit_times) == 1:
            return 0.0
        backoff_s: float = restart.backoff_s * 2 ** (len(self._exit_times) - 2)
        return min(backoff_s, restart.max_backoff_s)


class _StateReader:
    """Reads the states that a node writes to its pipe, one JSON object a line."""

    def __init__(self, descriptor: int, on_state: Callable[[NodeState, str], None]) -> None:
        self._descriptor = descriptor
        self._on_state = on_state
        self._buffer = b""

    def on_readable(self) -> None:
        """Read all that is in the pipe; the descriptor must be non-blocking."""
        try:
            while data := os.read(self._descriptor, 4096):
                self._buffer += data
        except BlockingIOError:
            pass
        else:  # end of file: the descriptor is readable for ever, which would wake the event loop all the time
            asyncio.get_running_loop().remove_reader(self._descriptor)
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError):  # a program may write to any descriptor it finds
                report = json.loads(line)
                self._on_state(report["state"], report["reason"])


def _last_log_line(path: Path, offset: int) -> str:
    """Return the last line that a run wrote to its log; the last line of a traceback is the error."""
    try:
        with path.open("rb") as file:
            file.seek(max(offset, path.stat().st_size - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        record = json.loads(last)
        return str(record.get("error") or record["event"])
    except (ValueError, KeyError, AttributeError):
        return last[:300]

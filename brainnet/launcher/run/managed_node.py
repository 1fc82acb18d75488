"""The life cycle of one node under its supervisor: start, heartbeat timeout, restart policy, stop with escalation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from brainnet.errors import LaunchError
from brainnet.launcher.run.kernel import is_frozen, signal_name
from brainnet.launcher.run.node_process import NodeProcess
from brainnet.launcher.run.restarts import NextStart, RestartSchedule
from brainnet.node.restarts import why_down
from brainnet.node.spec import NodeSpec
from brainnet.texts import shorten
from brainnet.wire.messages import Health, NodeRecord, NodeState

log = structlog.get_logger("brainnet.launcher")

HEARTBEAT_TIMEOUT_S: Final = 2.5
"""Seconds without a heartbeat after which a ready node is lost: frozen, or without a connection. Heartbeats come every
second and may be dropped on a congested link, so two may be missing; the supervisor queries the node before that."""
_RUNNING: Final = ("ready", "degraded")
_END_AFTER_FAILURE_S: Final = 5.0
"""Seconds in which a process that has reported its failure may end by itself."""
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
"""The escalation of a stop: an orderly stop of the node, one of all that it has started, an unconditional kill."""
_LOG_TAIL_BYTES: Final = 8192
"""Bytes of a log that are read for its last line: enough for the end of a traceback, however long the log is."""

_SHOWN_CHARACTERS: Final = 300
"""Characters of a log line that are shown as a reason."""

Spawn = Callable[[NodeSpec, Callable[[int], None], Callable[[NodeState, str], None]], NodeProcess]
"""Starts a process for a node: its spec, and callbacks for its process id and for each state that it reports."""


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
        self.record = NodeRecord(id=spec.id, program=spec.program, host=spec.host, state="starting")
        self._spawn = spawn
        self._on_change = on_change
        self._intent: str = "run"  # or "restart", "stop"
        self._intent_changed = asyncio.Event()
        self._skip_grace = asyncio.Event()
        self._process: NodeProcess | None = None
        self._started = self._last_heartbeat = self._lost_at = self._frozen_since = self._failed_at = 0.0
        self._log_offset = 0
        self._reported_failure = ""  # the reason that the process itself gave for its exit
        self._stop_reason = ""  # why the supervisor ended it
        self._last_exit_reason = ""
        self._schedule = RestartSchedule(spec.restart)
        self._next_start: float | None = None

    # -- called by the supervisor ------------------------------------------------------------------------------------

    async def supervise(self) -> None:
        """Run the node and restart it as its policy says, until cancelled."""
        while True:
            if self._intent == "stop":
                self._intent_changed.clear()
                await self._intent_changed.wait()
                continue
            code = await self._run_once()
            lived_s = time.monotonic() - self._started
            self._last_exit_reason = self._exit_reason(code)
            if self._intent == "stop":
                self._set("stopped", self._stop_reason)
            elif self._intent == "restart":
                self._intent = "run"
                self.record.restarts += 1
            else:
                await self._handle_unexpected_exit(code, lived_s)

    def start(self) -> None:
        """Start it, also after it failed; the count of its exits starts anew."""
        self._schedule.reset()
        self._last_exit_reason = ""
        self._intent = "run"
        self._intent_changed.set()

    async def restart(self, grace_s: float) -> None:
        """Stop its process, if there is one, and start another."""
        if self._process is None:
            self.start()
            return
        self._schedule.reset()
        self._intent = "restart"
        await self._terminate(self._process, grace_s, "restart asked for")

    async def stop(self, grace_s: float, reason: str = "") -> bool:
        """Send SIGINT, SIGTERM and SIGKILL, `grace_s` seconds apart; return whether the process has exited."""
        self._intent = "stop"
        self._intent_changed.set()
        if self._process is not None:
            return await self._terminate(self._process, grace_s, reason)
        self._next_start = None
        if self.record.state in ("starting", "backoff", "failed"):
            self._set("stopped", reason)
        return True

    async def _terminate(self, process: NodeProcess, grace_s: float, reason: str) -> bool:
        self._stop_reason = reason
        self._set("stopping", reason)
        for number in _STOP_SIGNALS:
            last = number == signal.SIGKILL
            if not last and self._skip_grace.is_set():
                continue
            process.send_signal(number)
            # After SIGKILL there is nothing to escalate to, so `kill_now` cannot shorten that wait.
            skipped = asyncio.create_task(self._skip_grace.wait())
            waiting: list[asyncio.Future[Any]] = [process.ended] if last else [process.ended, skipped]
            await asyncio.wait(waiting, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            skipped.cancel()
            if process.ended.done():
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
        if self.record.pid is None or self.record.state == "lost":
            return
        if self.heartbeat_age_s > HEARTBEAT_TIMEOUT_S:
            self._kill_as_lost(self._reported_failure or f"no heartbeat for {HEARTBEAT_TIMEOUT_S:g} s")
        elif self._failed_at and now - self._failed_at > _END_AFTER_FAILURE_S:
            self._kill_as_lost(self._reported_failure)
        elif self.record.state == "starting":  # it sends no heartbeats yet that could be missed
            if not is_frozen(self.record.pid):
                self._frozen_since = now
            if now - self._frozen_since > HEARTBEAT_TIMEOUT_S:
                self._kill_as_lost("frozen while it started")
            elif now - self._started > ready_timeout_s:
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
        return time.monotonic() - self._started if self._process is not None else 0.0

    @property
    def next_start_s(self) -> float | None:
        """Seconds until it is started again after an exit; None when no start is due."""
        return None if self._next_start is None else max(0.0, self._next_start - time.monotonic())

    @property
    def why_down(self) -> str | None:
        """One sentence that says why it does not run, or None for one that runs, starts or stops."""
        if self._process is not None:
            return None
        return why_down(self.record.model_copy(update={"next_start_s": self.next_start_s})) or None

    @property
    def advice(self) -> str:
        """What to do about it when it is down; empty for one that is not."""
        if self.record.state not in ("failed", "backoff", "lost"):
            return ""
        id = self.record.id
        return f"`brainnet logs {id}` says more, `brainnet node restart {id}` starts it now"

    def log_was_cut(self) -> None:
        """Take note that its log file was emptied, and is read from its beginning."""
        self._log_offset = 0

    # -- one run -----------------------------------------------------------------------------------------------------

    async def _run_once(self) -> int | None:
        self._started = time.monotonic()
        self._reported_failure = self._stop_reason = ""
        self._failed_at = 0.0
        # Logs are appended to: what earlier runs wrote is not the reason of this run's exit.
        self._log_offset = _size(self.log_file)
        self.record.ready_s = self.record.exit_code = None
        self.record.starts += 1
        self._set("starting", self._last_exit_reason)
        code: int | None = 1
        try:
            self._process = self._spawn(self.spec, self._on_spawned, self._on_state_report)
            code = await self._process.ended
            self._reported_failure = self._reported_failure or self._process.error
        except LaunchError as error:
            self._reported_failure = str(error)
        finally:
            self._process = None
            self.record.pid = None
        self.record.exit_code = code
        return code

    def _on_spawned(self, pid: int) -> None:
        self._started = self._frozen_since = time.monotonic()
        self.record.pid = pid
        self._on_change(self.record)

    def _on_state_report(self, state: NodeState, reason: str) -> None:
        """Take over a state that the node reported, unless the supervisor has decided otherwise."""
        if state == "failed":  # the record changes at the exit, when the restart policy is applied
            if not self._reported_failure:  # the first one is the cause, later ones its consequences
                self._reported_failure = reason or "it failed without a reason"
                self._failed_at = time.monotonic()
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
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)

    # -- exits -------------------------------------------------------------------------------------------------------

    async def _handle_unexpected_exit(self, code: int | None, lived_s: float) -> None:
        reason = self._last_exit_reason
        orderly = code == 0 and not self._reported_failure
        start = self._schedule.after_exit(orderly=orderly, lived_s=lived_s)
        delay_s = None if start is None else start.delay_s
        log.warning("node ended", id=self.record.id, exit_code=code, reason=reason, restart_in_s=delay_s)
        if start is None:
            self._intent = "stop"
            self._set("stopped" if orderly else "failed", reason)
            return
        if start.delay_s:
            await self._wait_for(start, reason)
        if self._intent == "run":
            self.record.restarts += 1

    async def _wait_for(self, start: NextStart, reason: str) -> None:
        self._next_start = time.monotonic() + start.delay_s
        self._intent_changed.clear()
        self._set("failed" if start.failed else "backoff", reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(start.delay_s):  # `start` and `stop` end the pause
                await self._intent_changed.wait()
        self._next_start = None

    def _exit_reason(self, code: int | None) -> str:
        if self._stop_reason:
            return self._stop_reason
        if self._reported_failure:
            return self._reported_failure
        if code is None:
            return "its process could not be made"
        last = _last_log_line(self.log_file, self._log_offset)
        if code < 0:
            return f"killed by {signal_name(-code)}{'; last in its log: ' + last if last else ''}"
        return f"ended with exit code {code}{': ' + last if last else ''}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _last_log_line(path: Path, offset: int) -> str:
    """Return the last line that a run wrote to its log; the last line of a traceback is the error."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            start = offset if offset <= size else 0  # it was emptied since then
            file.seek(max(start, size - _LOG_TAIL_BYTES))
            lines = file.read(_LOG_TAIL_BYTES).decode(errors="replace").replace("\0", "").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        record = json.loads(last)
        said = record.get("error") or record.get("reason")
        text = str(said or f"{record['event']} {record.get('state', '')}".strip())
    except (ValueError, KeyError, AttributeError):
        text = last
    return shorten(text, _SHOWN_CHARACTERS)

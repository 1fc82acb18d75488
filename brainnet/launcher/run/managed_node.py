"""One node as its supervisor keeps it: started, watched, restarted by its policy, stopped on a clock."""

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

HEARTBEAT_LIMIT_S: Final = 2.5
"""A ready node that has not been heard for so long is lost: frozen, or cut off."""
_RUNNING: Final = ("ready", "degraded")
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_TAIL_BYTES: Final = 8192

Spawn = Callable[[NodeSpec, int, Callable[[int], None]], Fork]
"""Starts a process for a node, which reports its states on a descriptor; tells its id once it exists."""


class ManagedNode:
    """Keeps one node as its spec says.

    Guarantees: one process at a time; every end that nobody asked for is logged with its reason and answered by the
    restart policy; `stop` returns when the process is gone.
    """

    def __init__(self, spec: NodeSpec, log_file: Path, spawn: Spawn, on_change: Callable[[NodeRecord], None]) -> None:
        self.spec = spec
        self.log_file = log_file
        self.record = NodeRecord(id=spec.id, program=spec.program, host=spec.host, state="stopped")
        self._spawn = spawn
        self._on_change = on_change
        self._intent: str = "run"  # or "restart", "stop"
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._fork: Fork | None = None
        self._started = self._heard = self._lost_at = 0.0
        self._log_offset = 0
        self._failure = ""  # what the process itself said about its end
        self._our_reason = ""  # why we ended it
        self._last_end = ""
        self._ends: list[float] = []

    # -- what the supervisor calls -----------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Run the node, again and again as its policy says; runs until cancelled."""
        while True:
            if self._intent == "stop":
                self._changed.clear()
                await self._changed.wait()
                continue
            code = await self._run_once()
            self._last_end = self._why(code)
            if self._intent == "stop":
                self._set("stopped", self._our_reason)
            elif self._intent == "restart":
                self._intent = "run"
                self.record.restarts += 1
            else:
                await self._ended_unasked(code)

    def start(self) -> None:
        """Let it run, also when it had failed."""
        self._ends.clear()
        self._last_end = ""
        self._intent = "run"
        self._changed.set()

    async def restart(self, grace_s: float) -> None:
        """End its process in order, if there is one, and start another."""
        if self._fork is None:
            self.start()
            return
        self._ends.clear()
        self._intent = "restart"
        await self._end(self._fork, grace_s, "restart asked for")

    async def stop(self, grace_s: float, reason: str = "") -> bool:
        """SIGINT, SIGTERM, SIGKILL, `grace_s` apart; True when the process is gone."""
        self._intent = "stop"
        self._changed.set()
        if self._fork is not None:
            return await self._end(self._fork, grace_s, reason)
        if self.record.state == "backoff":
            self._set("stopped", reason)
        return True

    async def _end(self, fork: Fork, grace_s: float, reason: str) -> bool:
        self._our_reason = reason
        self._set("stopping", reason)
        for number in _STOP_SIGNALS:
            last = number == signal.SIGKILL
            if not last and self._hurry.is_set():
                continue
            fork.send_signal(number)
            hurried = asyncio.create_task(self._hurry.wait())
            waiting: list[asyncio.Future[Any]] = [fork.ended] if last else [fork.ended, hurried]
            await asyncio.wait(waiting, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
            if fork.ended.done():
                return True
        return False

    def hurry(self) -> None:
        """Let a running `stop` go to SIGKILL at once."""
        self._hurry.set()

    def heard(self, health: Health) -> None:
        """A heartbeat came."""
        if health.pid == self.record.pid:
            self._heard = time.monotonic()

    def check(self, start_limit_s: float) -> None:
        """Kill it when it is frozen, or does not become ready; its policy then decides."""
        now = time.monotonic()
        if self.silent_s > HEARTBEAT_LIMIT_S:
            self._lose(f"no heartbeat for {HEARTBEAT_LIMIT_S:g} s")
        elif self.record.state == "starting" and self.record.pid and now - self._started > start_limit_s:
            self._lose(f"not ready after {start_limit_s:g} s")

    @property
    def silent_s(self) -> float:
        """How long a node that should be heard has not been."""
        return time.monotonic() - self._heard if self.record.state in _RUNNING else 0.0

    def excuse(self, seconds: float) -> None:
        """Do not count a time in which nobody could have been heard."""
        self._heard += seconds

    @property
    def lost_for_s(self) -> float:
        """How long ago it was killed for being lost, while it is still there."""
        return time.monotonic() - self._lost_at if self.record.state == "lost" else 0.0

    @property
    def uptime_s(self) -> float:
        """Since its process was started; 0 when there is none."""
        return time.monotonic() - self._started if self._fork is not None else 0.0

    # -- one run -----------------------------------------------------------------------------------------------------

    async def _run_once(self) -> int | None:
        loop = asyncio.get_running_loop()
        self._started = time.monotonic()
        self._failure = self._our_reason = ""
        self._log_offset = self.log_file.stat().st_size if self.log_file.exists() else 0
        self.record.ready_s = self.record.exit_code = None
        self._set("starting", self._last_end)
        read, write = os.pipe()
        states = _StateReader(read, self._reported)
        code: int | None = 1
        try:
            os.set_blocking(read, False)
            loop.add_reader(read, states.readable)
            self._fork = self._spawn(self.spec, write, self._exists)
            os.close(write)
            write = -1
            code = await self._fork.ended
            states.readable()  # what it said last
            self._failure = self._failure or self._fork.refused
        except LaunchError as error:
            self._failure = str(error)
        finally:
            loop.remove_reader(read)
            os.close(read)
            if write >= 0:
                os.close(write)
            self._fork = None
            self.record.pid = None
        self.record.exit_code = code
        return code

    def _exists(self, pid: int) -> None:
        self._started = time.monotonic()
        self.record.pid = pid
        self._on_change(self.record)

    def _reported(self, state: NodeState, reason: str) -> None:
        """The node said its state."""
        if state == "failed":
            self._failure = reason
        elif state in _RUNNING and self.record.state in ("starting", *_RUNNING):
            self._heard = time.monotonic()
            if self.record.ready_s is None:
                self.record.ready_s = round(self._heard - self._started, 3)
            self._set(state, reason or self._last_end)
        elif state == "stopping" and self.record.state != "lost":
            self._set(state, reason or self.record.reason)

    def _set(self, state: NodeState, reason: str = "") -> None:
        if state != self.record.state:
            log.info("node", id=self.record.id, state=state, pid=self.record.pid, reason=reason)
        self.record.state, self.record.reason = state, reason
        self._on_change(self.record)

    def _lose(self, reason: str) -> None:
        self._our_reason = reason
        self._lost_at = time.monotonic()
        self._set("lost", reason)
        if self._fork is not None:
            self._fork.send_signal(signal.SIGKILL)

    # -- ends --------------------------------------------------------------------------------------------------------

    async def _ended_unasked(self, code: int | None) -> None:
        reason, delay = self._last_end, self._delay_after(code)
        log.warning("node ended", id=self.record.id, exit_code=code, reason=reason, restart_in_s=delay)
        if delay is None:
            self._intent = "stop"
            self._set("stopped" if code == 0 else "failed", reason)
            return
        if delay:
            self._set("backoff", f"{reason}; restart in {delay:.3g} s")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._changed.wait()
        if self._intent == "run":
            self.record.restarts += 1

    def _why(self, code: int | None) -> str:
        if self._our_reason:
            return self._our_reason
        if code is None:
            return "its zygote ended"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if self._failure:
            return self._failure
        last = _last_words(self.log_file, self._log_offset)
        return f"ended with exit code {code}{': ' + last if last else ''}"

    def _delay_after(self, code: int | None) -> float | None:
        """Seconds until the next start, or None for no restart."""
        restart = self.spec.restart
        if restart.policy == "never" or (restart.policy == "on-failure" and code == 0):
            return None
        now = time.monotonic()
        self._ends = [t for t in self._ends if now - t < restart.window_s] + [now]
        if len(self._ends) > restart.max_restarts:
            return None
        return (
            0.0 if len(self._ends) == 1 else min(restart.backoff_s * 2 ** (len(self._ends) - 2), restart.max_backoff_s)
        )


class _StateReader:
    """Reads the JSON lines that a node writes about its state."""

    def __init__(self, descriptor: int, on_state: Callable[[NodeState, str], None]) -> None:
        self._descriptor = descriptor
        self._on_state = on_state
        self._buffer = b""

    def readable(self) -> None:
        try:
            while data := os.read(self._descriptor, 4096):
                self._buffer += data
        except BlockingIOError:
            pass
        else:  # closed: nothing will come, do not be woken for it
            asyncio.get_running_loop().remove_reader(self._descriptor)
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError):
                told = json.loads(line)
                self._on_state(told["state"], told["reason"])


def _last_words(path: Path, offset: int) -> str:
    """The last line that a run wrote to its log: of a traceback, the error."""
    try:
        with path.open("rb") as file:
            file.seek(max(offset, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        record = json.loads(last)
        return str(record.get("error") or record["event"])
    except (ValueError, KeyError, AttributeError):
        return last[:300]

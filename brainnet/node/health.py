"""Measures this process: memory, CPU time, lag of the event loop."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

_PROBE_INTERVAL_S = 0.1
_MEMORY_EVERY = 50
_MEMORY_FIRST = 5
"""The memory is measured at the sixth probe, when the node is about to be ready, and then every 50 probes (5 s): to
compute the proportional set size, the kernel walks all page tables of the process and holds its memory lock for
milliseconds, which delays every thread that allocates."""


def proportional_set_size(pid: int | str = "self") -> int:
    """Return the proportional set size of a process in bytes; 0 where the kernel does not report it.

    It counts private pages, and each shared page divided by the number of processes that share it. Forked nodes share
    most of their pages, so the sum of their resident set sizes would count those many times.
    """
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class ProcessMonitor:
    """Samples the process and its event loop.

    Attributes:
        started: `time.monotonic()` when the process became this node.
        memory_bytes: Proportional set size.
        loop_lag_ms: By how much the event loop was late: the worst case, decaying over some seconds.
        pid: Process id.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.memory_bytes = 0
        self.loop_lag_ms = 0.0
        self._cpu = self._cpu_at = 0.0
        self.pid = os.getpid()

    @property
    def uptime_s(self) -> float:
        """Seconds since the process became this node."""
        return time.monotonic() - self.started

    def cpu_percent(self) -> float:
        """Return the CPU time since the previous call, in percent of one core."""
        cpu, now = time.process_time(), time.monotonic()
        percent = 100.0 * (cpu - self._cpu) / (now - self._cpu_at) if self._cpu_at else 0.0
        self._cpu, self._cpu_at = cpu, now
        return percent

    async def watch(self) -> None:
        """Update lag and memory until cancelled."""
        loop = asyncio.get_running_loop()
        rounds = 0
        while True:
            # A blocked event loop wakes this sleep too late, by as much as it was blocked.
            before = loop.time()
            await asyncio.sleep(_PROBE_INTERVAL_S)
            lag = (loop.time() - before - _PROBE_INTERVAL_S) * 1000
            # The peak decays by 5 % per probe, a half in 1.4 s, so that heartbeats once a second show a short one.
            self.loop_lag_ms = max(lag, self.loop_lag_ms * 0.95, 0.0)
            if rounds % _MEMORY_EVERY == _MEMORY_FIRST:
                self.memory_bytes = await loop.run_in_executor(None, proportional_set_size)
            rounds += 1

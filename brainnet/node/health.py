"""How this process is: memory, CPU, event-loop lag."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

_PROBE_S = 0.1


def proportional_set_size(pid: int | str = "self") -> int:
    """PSS of a process in bytes: its own pages plus its share of those it shares; 0 where the kernel does not tell."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Vitals:
    """Samples the process and its event loop."""

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
        """Of one core, since the previous call."""
        cpu, now = time.process_time(), time.monotonic()
        percent = 100.0 * (cpu - self._cpu) / (now - self._cpu_at) if self._cpu_at else 0.0
        self._cpu, self._cpu_at = cpu, now
        return percent

    async def watch(self) -> None:
        """Keep the worst loop lag of the last seconds, and the memory; runs until cancelled."""
        loop = asyncio.get_running_loop()
        rounds = 0
        while True:
            before = loop.time()
            await asyncio.sleep(_PROBE_S)
            lag = (loop.time() - before - _PROBE_S) * 1000
            self.loop_lag_ms = max(lag, self.loop_lag_ms * 0.95, 0.0)
            if rounds % 50 == 5:  # reading it walks the page tables: a few ms
                self.memory_bytes = await loop.run_in_executor(None, proportional_set_size)
            rounds += 1

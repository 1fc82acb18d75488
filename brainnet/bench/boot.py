"""Benchmark of a start: how long a brain takes from its launch until every node is ready, and the memory it takes.

The baseline is a Python process that imports torch, measured in the same run: no brain whose regions use torch can be
there earlier. Memory is proportional set size, which counts each shared page once over all processes.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from brainnet.node.health import proportional_set_size
from brainnet.rows import Row, compare
from brainnet.testing.own_brain import OwnBrain
from brainnet.wire.messages import HostStatus

_MEGABYTE: Final = 1e6
_IMPORT: Final = "import torch; print(flush=True); input()"


@dataclass(frozen=True)
class Plan:
    """Size of the measurement: how often the brain is launched."""

    launches: int = 5

    @classmethod
    def quick(cls) -> Plan:
        """Return a smaller plan with noisier results."""
        return cls(launches=1)


@dataclass
class _Launch:
    ready_s: float
    stop_s: float
    status: HostStatus
    memory: dict[str, int]


def measure(plan: Plan, progress: Callable[[str], None] = lambda _: None, allocation: Path | None = None) -> list[Row]:
    """Run the benchmark; call it from the main thread.

    Args:
        plan: Size of the measurement.
        progress: Called with a description of each step.
        allocation: What is launched; by default that of this installation.

    Raises:
        LaunchError: The brain cannot be launched, or not all of its nodes become ready.
    """
    launches: list[_Launch] = []
    imports: list[tuple[float, int]] = []
    for number in range(plan.launches):
        progress(f"launch {number + 1} of {plan.launches}")
        imports.append(_import_torch())
        launches.append(_launch(allocation))
    return _rows(launches, imports)


def _launch(allocation: Path | None) -> _Launch:
    with OwnBrain(allocation) as brain:
        started = time.monotonic()
        brain.launch()
        status, ready_s = asyncio.run(_ready(brain, started))
        launcher = psutil.Process(brain.pid)
        memory = {"launcher": proportional_set_size(brain.pid)}
        known = {node.pid: node.id for node in status.nodes}
        for child in launcher.children(recursive=True):
            memory[known.get(child.pid, "zygote")] = proportional_set_size(child.pid)
        stopping = time.monotonic()
        brain.stop()
        return _Launch(ready_s, time.monotonic() - stopping, status, memory)


async def _ready(brain: OwnBrain, started: float) -> tuple[HostStatus, float]:
    async with brain.connected() as bus:
        status = await brain.complete(bus)
        return status, time.monotonic() - started


def _import_torch() -> tuple[float, int]:
    """Return the seconds until a process has imported torch, and its memory then."""
    pipe = subprocess.PIPE
    started = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", _IMPORT], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        taken = time.monotonic() - started
        memory = proportional_set_size(process.pid)
        process.kill()
    return taken, memory


def _rows(launches: list[_Launch], imports: list[tuple[float, int]]) -> list[Row]:
    rival = "a process that imports torch"
    import_s, import_bytes = (statistics.median(values) for values in zip(*imports, strict=True))
    nodes = len(launches[0].status.nodes)
    totals = [sum(launch.memory.values()) for launch in launches]
    ready_s = statistics.median(launch.ready_s for launch in launches)
    rows = [
        compare("boot_ready", ready_s, f"s, {nodes} nodes", rival=rival, rival_value=import_s),
        compare("boot_stop", statistics.median(launch.stop_s for launch in launches), "s"),
        compare(
            "boot_memory",
            statistics.median(totals) / _MEGABYTE,
            "MB, all processes",
            rival=f"{rival}, times {nodes}",
            rival_value=import_bytes * nodes / _MEGABYTE,
        ),
    ]
    by_name: defaultdict[str, list[int]] = defaultdict(list)
    for launch in launches:
        for name, used in launch.memory.items():
            by_name[name].append(used)
    rows += [
        compare(f"boot_memory_{name}", statistics.median(used) / _MEGABYTE, "MB")
        for name, used in sorted(by_name.items(), key=lambda item: -statistics.median(item[1]))
    ]
    return rows

"""The table of nodes of `brainnet launch` and `brainnet status`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from brainnet.wire.messages import NodeRecord

_STYLE = {
    "ready": "green",
    "starting": "cyan",
    "degraded": "yellow",
    "backoff": "yellow",
    "stopping": "yellow",
    "stopped": "dim",
    "failed": "bold red",
    "lost": "bold red",
}


def node_table(records: Iterable[NodeRecord]) -> Table:
    """Return a table with one row per node."""
    table = Table(box=None, pad_edge=False)
    for name in ("node", "state", "pid", "host"):
        table.add_column(name, no_wrap=True)
    for name in ("memory", "restarts", "uptime"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("program", no_wrap=True)
    table.add_column("reason")
    for r in records:
        table.add_row(
            r.id,
            Text(r.state, style=_STYLE[r.state]),
            "" if r.pid is None else str(r.pid),
            r.host,
            f"{r.memory_bytes / 1e6:.0f} MB" if r.memory_bytes else "",
            str(r.restarts),
            duration(r.uptime_s) if r.pid else "",
            r.program.rpartition("/")[2],
            Text(r.reason),
        )
    return table


def duration(seconds: float) -> str:
    """Return a time span as text, in at most two units."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"

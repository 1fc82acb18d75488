"""The table of nodes of `brainnet launch` and `brainnet status`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from brainnet.cli import output

if TYPE_CHECKING:
    from rich.console import RenderableType

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
_LONGEST_S: Final = 100 * 365 * 86_400


def node_table(records: Iterable[NodeRecord]) -> RenderableType:
    """Return a table with one row per node, for `output.show`."""
    columns: list[str | output.Column] = [
        *(output.Column(title, whole=True) for title in ("node", "state", "pid", "host")),
        *(output.Column(title, right=True, whole=True) for title in ("memory", "restarts", "uptime")),
        output.Column("program", whole=True),
        "reason",
    ]
    rows = (
        (
            r.id,
            output.Styled(r.state, _STYLE[r.state]),
            "" if r.pid is None else str(r.pid),
            r.host,
            f"{r.memory_bytes / 1e6:.0f} MB" if r.memory_bytes else "",
            str(r.restarts),
            duration(r.uptime_s) if r.pid else "",
            r.program.rpartition("/")[2],
            reason(r),
        )
        for r in records
    )
    return output.table_of(columns, rows)


def reason(record: NodeRecord) -> str:
    """Return why a node is in its state, when it is started again, and what to do."""
    due = "" if record.next_start_s is None else f"next start in {record.next_start_s:.0f} s"
    return "; ".join(part for part in (record.reason, due, record.advice) if part)


def duration(seconds: float) -> str:
    """Return a time span as text, in at most two units.

    One that nothing lasts comes from clocks that differ, or that were set meanwhile, and is said to be unknown.
    """
    if not 0 <= seconds < _LONGEST_S:
        return "unknown (the clocks differ)"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"

"""`brainnet launch`: start the nodes of an allocation on this host."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainnet.cli import common

if TYPE_CHECKING:
    from brainnet.launcher.run.supervisor import Supervisor
    from brainnet.wire.messages import NodeRecord

app = common.verb()
_REFRESH_S = 0.5
_MEMORY_AGE_S = 10.0
"""Age of the memory figures in the live table: measuring them at every refresh would cost noticeable CPU time."""


@app.command()
@common.takes_brain(hub=False)
def launch(
    brain: common.BrainOptions,
    allocation: Annotated[
        Path | None, typer.Argument(help="A node_allocation file; default is config/node_allocation.yaml.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Run this host's part of the allocation.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ID", help="Start only these nodes; repeat or use commas.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when all nodes are ready.")] = False,
) -> None:
    """Start the nodes of an allocation and watch over them until Ctrl-C.

    With --detach the command returns when every node is ready, or fails with the reason and leaves nothing running.

    Example: brainnet launch my_allocation.yaml --detach
    """
    from brainnet.launcher.run.launch import LaunchOptions, run_detached, run_foreground

    ids = [name for value in only or [] for name in value.split(",") if name]
    options = LaunchOptions(allocation, host, ids, brain.namespace, brain.port)
    if not detach:
        run_foreground(options, _live_table if sys.stdout.isatty() else _lines)
        return
    done = run_detached(options, _progress())
    common.note(
        f"brain {done.namespace} on port {done.port}: {done.nodes} nodes ready on {done.host} "
        f"after {done.seconds:.2f} s (launcher pid {done.pid})"
    )


def _progress() -> _Progress:
    return _Progress(sys.stderr.isatty())


class _Progress:
    """Prints each change of a node's state while the brain starts; only on a terminal."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._last_state: dict[str, str] = {}

    def __call__(self, record: NodeRecord) -> None:
        if self._shown and self._last_state.get(record.id) != record.state:
            self._last_state[record.id] = record.state
            ready = sum(state == "ready" for state in self._last_state.values())
            sys.stderr.write(f"\r\x1b[K{ready}/{len(self._last_state)} ready")
            if ready == len(self._last_state):
                sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextlib.contextmanager
def _lines(supervisor: Supervisor) -> Iterator[None]:
    last: dict[str, tuple[str, str]] = {}

    def on_change(record: NodeRecord) -> None:
        if last.get(record.id) != (record.state, record.reason):
            last[record.id] = (record.state, record.reason)
            typer.echo(f"{record.id}: {record.state}{f' ({record.reason})' if record.reason else ''}")

    supervisor.on_change = on_change
    yield


@contextlib.contextmanager
def _live_table(supervisor: Supervisor) -> Iterator[None]:
    from rich.console import Group
    from rich.live import Live

    from brainnet.cli.node_table import node_table

    plan = supervisor.plan
    title = f"brain {plan.namespace} on port {plan.port}, host {plan.host}; Ctrl-C stops it"

    async def refresh(live: Live) -> None:
        while True:
            status = await supervisor.status(_MEMORY_AGE_S)
            live.update(Group(title, "", node_table(status.nodes)), refresh=True)
            await asyncio.sleep(_REFRESH_S)

    with Live(auto_refresh=False, console=common.console()) as live:
        task = asyncio.get_running_loop().create_task(refresh(live))
        try:
            yield
        finally:
            task.cancel()

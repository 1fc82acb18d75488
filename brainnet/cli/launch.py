"""`brainnet launch`: start the nodes of an allocation on this host."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from brainnet import stdio
from brainnet.cli import common, output

if TYPE_CHECKING:
    from brainnet.launcher.run.launch import LaunchOptions
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
    allocation: common.AllocationArgument = None,
    host: Annotated[str | None, typer.Option("--host", help="Run this host's part of the allocation.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ID", help="Start only these nodes; repeat or use commas.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when all nodes are ready.")] = False,
    end_orphans: Annotated[
        bool, typer.Option("--end-orphans", help="End nodes that an earlier launcher of this brain has left.")
    ] = False,
) -> None:
    """Start the nodes of an allocation and watch over them until Ctrl-C.

    With --detach the command returns when every node is ready, or fails with the reason and leaves nothing running.
    What becomes of the output has no influence on the brain: a closed pipe, a full disk or a stopped terminal.

    Example: brainnet launch my_allocation.yaml --detach
    """
    from brainnet.launcher.run.launch import LaunchOptions
    from brainnet.launcher.run.orphans import OrphansError

    ids = [name for value in only or [] for name in value.split(",") if name]
    options = LaunchOptions(allocation, host, ids, brain.namespace, brain.port, end_orphans)
    try:
        _run(options, detach)
    except OrphansError as error:
        if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        output.note(f"brainnet: {error}")
        if not typer.confirm("End what is left, and launch?", err=True):
            raise typer.Exit(1) from None
        _run(replace(options, end_orphans=True), detach)


def _run(options: LaunchOptions, detach: bool) -> None:
    from brainnet.launcher.run.launch import run_detached, run_foreground

    if not detach:
        with stdio.optional_output():
            run_foreground(options, _live_table if output.is_terminal() else _lines)
        return
    done = run_detached(options, _progress())
    output.note(
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
            output.note_progress("" if ready == len(self._last_state) else f"{ready}/{len(self._last_state)} ready")


@contextlib.contextmanager
def _lines(supervisor: Supervisor) -> Iterator[None]:
    last: dict[str, tuple[str, str]] = {}

    def on_change(record: NodeRecord) -> None:
        if last.get(record.id) != (record.state, record.reason):
            last[record.id] = (record.state, record.reason)
            output.line(f"{record.id}: {record.state}{f' ({record.reason})' if record.reason else ''}")

    supervisor.on_change = on_change
    yield


@contextlib.contextmanager
def _live_table(supervisor: Supervisor) -> Iterator[None]:
    from brainnet.cli.node_table import node_table

    plan = supervisor.plan
    title = f"brain {plan.namespace} on port {plan.port}, host {plan.host}; Ctrl-C stops it"

    async def refresh(screen: output.Screen) -> None:
        while True:
            status = await supervisor.status(_MEMORY_AGE_S)
            screen.show(title, "", node_table(status.nodes))
            await asyncio.sleep(_REFRESH_S)

    with output.Screen() as screen:
        task = asyncio.get_running_loop().create_task(refresh(screen))
        try:
            yield
        finally:
            task.cancel()

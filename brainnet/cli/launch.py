"""`brainnet launch`: start the nodes of an allocation on this host."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from brainnet import stdio
from brainnet.cli import common, output
from brainnet.cli.launch_network import until_finished

if TYPE_CHECKING:
    from brainnet.launcher.run.launch import LaunchOptions
    from brainnet.launcher.run.supervisor import Supervisor
    from brainnet.wire.messages import NodeRecord, NodeState

    Show = Callable[[Supervisor], contextlib.AbstractContextManager[None]]

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
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="End when the network has computed so many steps.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the network, in place of that of its file.")
    ] = None,
    paused: Annotated[
        bool, typer.Option("--paused", help="The network begins with `brainnet clock resume` or `step`.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="The network goes on where the last launch was stopped.")
    ] = False,
    digest: Annotated[
        bool, typer.Option("--digest", help="With --steps: print the SHA-256 of all spikes at the end.")
    ] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Start the nodes of an allocation and watch over them until Ctrl-C.

    A connectome file is launched as it is: each process of the network becomes a node. With --steps the brain stops
    when the network has computed them. A network begins at step 0, or with --resume where its last launch was stopped.

    With --detach the command returns when every node is ready, or fails with the reason and leaves nothing running.
    What becomes of the output has no influence on the brain: a closed pipe, a full disk or a stopped terminal.

    Example: brainnet launch my_allocation.yaml --detach

    Example: brainnet launch config/connectome_config.yaml --steps 1000 --digest
    """
    from brainnet.launcher.run.launch import LaunchOptions
    from brainnet.launcher.run.orphans import OrphansError

    ids = [name for value in only or [] for name in value.split(",") if name]
    options = LaunchOptions(
        allocation, host, ids, brain.namespace, brain.port, end_orphans, steps, seed, paused, resume
    )
    if digest and steps is None:
        raise typer.BadParameter("--digest is that of a number of steps; say how many with --steps")
    if digest and detach:
        raise typer.BadParameter("--digest waits for the end of the network; leave out --detach")
    if as_json and not digest:
        raise typer.BadParameter("--json is the form of --digest")
    show = partial(until_finished, as_json=as_json) if digest else None
    try:
        _run(options, detach, show)
    except OrphansError as error:
        if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        output.note(f"brainnet: {error}")
        if not typer.confirm("End what is left, and launch?", err=True):
            raise typer.Exit(1) from None
        _run(replace(options, end_orphans=True), detach, show)


def _run(options: LaunchOptions, detach: bool, show: Show | None) -> None:
    from brainnet.launcher.run.launch import run_detached, run_foreground

    if show is not None:
        run_foreground(options, show)
        return
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

    def __call__(self, id: str, state: NodeState) -> None:
        if self._shown and self._last_state.get(id) != state:
            self._last_state[id] = state
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

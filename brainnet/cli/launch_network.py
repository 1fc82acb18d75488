"""What `brainnet launch --digest` shows: how far a network is, and at the end what it has fired."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

from brainnet.cli import output
from brainnet.errors import LaunchError

if TYPE_CHECKING:
    from brainnet.launcher.run.network_watch import NetworkWatch
    from brainnet.launcher.run.supervisor import Supervisor
    from brainnet.wire.messages import NodeRecord


@contextlib.contextmanager
def until_finished(supervisor: Supervisor, *, as_json: bool) -> Iterator[None]:
    """Show how far the network is, and at the end its digests.

    Raises:
        LaunchError: A process of the network ended before it was ready.
        typer.Exit: The launcher was stopped before the end.
    """
    network = supervisor.network
    assert network is not None
    started = time.monotonic()
    first_starts = _FirstStarts(network, supervisor.stop)
    supervisor.on_change = first_starts.note
    with output.progress("steps", network.last_step) as advance:
        network.on_progress = _Steps(advance).reach
        yield
    if first_starts.failure:
        raise LaunchError(f"{first_starts.failure}; see `brainnet logs`, nothing was left running")
    if not network.finished:
        output.note("brainnet: stopped before the network had computed all steps")
        raise typer.Exit(1)
    _print(network, time.monotonic() - started, as_json)


class _FirstStarts:
    """Stops the launch when a process of the network ends before it was ever ready.

    As with --detach: the cause is nearly always a mistake in the file, and no further start mends it.
    """

    def __init__(self, network: NetworkWatch, stop: Callable[[], None]) -> None:
        self.failure = ""
        self._network = network
        self._stop = stop
        self._began: set[str] = set()

    def note(self, record: NodeRecord) -> None:
        """Take note of a change of a node."""
        if record.ready_s is not None:
            self._began.add(record.id)
        elif (
            record.ended_before_ready
            and record.id not in self._began
            and self._network.has(record.id)
            and not self.failure
        ):
            self.failure = f"node {record.id}: {record.reason}"
            self._stop()


class _Steps:
    """Turns the step that is reached into steps for a progress bar; a process that is resumed may be behind again."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self._done = 0

    def reach(self, step: int) -> None:
        """Take note of the first step that is not computed everywhere."""
        if step > self._done:
            self._advance(step - self._done)
            self._done = step


def _print(network: NetworkWatch, seconds: float, as_json: bool) -> None:
    processes = {population: state.process for state in network.states.values() for population in state.digests}
    rows = [(name, processes[name], digest) for name, digest in network.digests.items()]
    dt_ms = next(iter(network.states.values())).dt_ms
    if as_json:
        for population, process, digest in rows:
            output.print_json({"population": population, "process": process, "digest": digest})
        output.print_json({"steps": network.last_step, "dt_ms": dt_ms, "seconds": seconds, "digest": network.digest})
        return
    output.table(["population", "process", "digest"], rows)
    output.line(f"digest {network.digest}")
    resent = sum(state.resent for state in network.states.values())
    output.note(
        f"{network.last_step:,} steps of {dt_ms:g} ms in {seconds:.2f} s with start and end; "
        f"{resent:,} windows sent again"
    )

"""`brainnet bench`: measure this installation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from brainnet.cli import common, output
from brainnet.cli.rows import report

app = common.verb("Measure this installation.", no_args_is_help=True)

QuickOption = Annotated[bool, typer.Option("--quick", help="A fraction of the work; noisier.")]


@app.callback()
def _group() -> None:
    """Measure this installation."""


@app.command()
def bus(as_json: common.JsonOption = False, quick: QuickOption = False) -> None:
    """Measure SpikePackets between two processes beside plain zenoh-python with the same bytes.

    Needs no running brain. Exits with status 1 when a bar is missed.

    Example: brainnet bench bus --json
    """
    from brainnet.bench.bus import Plan, measure

    plan = Plan.quick() if quick else Plan()
    with output.working("starting") as show:
        rows = asyncio.run(measure(plan, show))
    report(rows, as_json)


@app.command()
@common.takes_brain(hub=False)
def prompt(
    brain: common.BrainOptions,
    allocation: common.AllocationArgument = None,
    attach: Annotated[
        bool, typer.Option("--attach", help="Measure the brain that runs, instead of one that is started for this.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="DIR", help="Another checkout, with its .venv, measured in turns with this."),
    ] = None,
    as_json: common.JsonOption = False,
    quick: QuickOption = False,
) -> None:
    """Measure prompts from a client and back: rate, latency and the time of each stage, beside a plain Zenoh query.

    Launches a brain of its own on a free port, unless --attach is given. With --against a second one, of the other
    checkout, answers the same prompts in turns.

    Example: brainnet bench prompt --against ../brainnet-before
    """
    from brainnet.bench.prompt import Plan, measure

    if attach and allocation is not None:
        raise typer.BadParameter("--attach takes the brain that runs; leave the allocation out")
    endpoint = common.endpoint_of(brain.settings()) if attach else None
    with output.working("starting") as show:
        rows = measure(Plan.quick() if quick else Plan(), show, attach=endpoint, against=against, allocation=allocation)
    report(rows, as_json)


@app.command()
def boot(
    allocation: common.AllocationArgument = None, as_json: common.JsonOption = False, quick: QuickOption = False
) -> None:
    """Measure how long a brain takes to start and to stop, and its memory, beside a process that imports torch.

    Launches brains of its own, one after the other, on free ports.

    Example: brainnet bench boot --quick
    """
    from brainnet.bench.boot import Plan, measure

    with output.working("starting") as show:
        rows = measure(Plan.quick() if quick else Plan(), show, allocation)
    report(rows, as_json)


@app.command()
def memory(as_json: common.JsonOption = False, quick: QuickOption = False) -> None:
    """Measure the episodic store beside SQLite's full-text search with the same texts.

    Needs no running brain; writes to a temporary folder.

    Example: brainnet bench memory --json
    """
    from brainnet.bench.memory import Plan, measure

    with output.working("starting") as show:
        rows = measure(Plan.quick() if quick else Plan(), show)
    report(rows, as_json)


@app.command()
def snn(as_json: common.JsonOption = False, quick: QuickOption = False) -> None:
    """Measure LIF neurons over time beside snnTorch, and beside Norse and spikingjelly where they are installed.

    Needs no running brain. Exits with status 1 when a bar is missed.

    Example: brainnet bench snn --json
    """
    from brainnet.bench.snn import Plan, measure

    with output.working("starting") as show:
        rows = measure(Plan.quick() if quick else Plan(), show)
    report(rows, as_json)


@app.command()
def streams(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CASE", help="Measure only this; may be repeated.")
    ] = None,
    as_json: common.JsonOption = False,
    quick: QuickOption = False,
) -> None:
    """Measure networks that run divided between two processes: how many times real time, and how late in real time.

    Launches brains of its own, one after the other, on free ports. Exits with status 1 when a bar is missed.

    Cases are pair, stdp, short, large, watched, realtime and boundary.

    Example: brainnet bench streams --quick --only pair --only realtime
    """
    from brainnet.bench.streams import Plan, measure

    with output.working("starting") as show:
        rows = measure(Plan.quick() if quick else Plan(), show, only or ())
    report(rows, as_json)


@app.command("all")
def all_groups(
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a page with all figures, and its data.")
    ] = None,
    as_json: common.JsonOption = False,
    quick: QuickOption = False,
) -> None:
    """Run every benchmark, and write a page with the figures and a description of the machine.

    With --report docs/benchmarks.md the marked sections of README.md are written anew, too. Takes some minutes. Exits
    with status 1 when a bar is missed.

    Example: brainnet bench all --report docs/benchmarks.md
    """
    from brainnet.bench import report as reports

    with output.working("starting") as show:
        measured = reports.measure(quick, show)
    if report_file is not None:
        for path in reports.write(measured, report_file):
            output.note(f"wrote {path}")
    rows = [
        row.model_copy(update={"name": f"{group}: {row.name}"})
        for group, found in measured.groups.items()
        for row in found
    ]
    report(rows, as_json)

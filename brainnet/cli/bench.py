"""`brainnet bench`: measure this installation."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from brainnet.cli import common, output
from brainnet.cli.rows import report

app = common.verb("Measure this installation.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Measure this installation."""


@app.command()
def bus(
    as_json: common.JsonOption = False,
    quick: Annotated[bool, typer.Option("--quick", help="A fraction of the work; noisier.")] = False,
) -> None:
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
def snn(
    as_json: common.JsonOption = False,
    quick: Annotated[bool, typer.Option("--quick", help="A fraction of the work; noisier.")] = False,
) -> None:
    """Measure LIF neurons over time beside snnTorch, and beside Norse and spikingjelly where they are installed.

    Needs no running brain. Exits with status 1 when a bar is missed.

    Example: brainnet bench snn --json
    """
    from brainnet.bench.snn import Plan, measure

    with output.working("starting") as show:
        rows = measure(Plan.quick() if quick else Plan(), show)
    report(rows, as_json)

"""``brainnet bench``: measure this installation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from brainnet.cli import common

if TYPE_CHECKING:
    from brainnet.rows import Row

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
    from rich.console import Console

    from brainnet.bench.bus import Plan, measure

    plan = Plan.quick() if quick else Plan()
    with Console(stderr=True).status("starting") as status:
        rows = asyncio.run(measure(plan, status.update))
    _report(rows, as_json)


@app.command()
def snn(
    as_json: common.JsonOption = False,
    quick: Annotated[bool, typer.Option("--quick", help="A fraction of the work; noisier.")] = False,
) -> None:
    """Measure LIF neurons over time beside snnTorch, and beside Norse and spikingjelly where they are installed.

    Needs no running brain. Exits with status 1 when a bar is missed.

    Example: brainnet bench snn --json
    """
    from rich.console import Console

    from brainnet.bench.snn import Plan, measure

    with Console(stderr=True).status("starting") as status:
        rows = measure(Plan.quick() if quick else Plan(), status.update)
    _report(rows, as_json)


def _report(rows: list[Row], as_json: bool) -> None:
    if as_json:
        for row in rows:
            common.print_json(row)
    else:
        _print_table(rows)
    if any(row.ok is False for row in rows):
        raise typer.Exit(1)


def _print_table(rows: list[Row]) -> None:
    from rich.table import Table

    table = Table("measure", "value", "unit", "rival", "rival's", "ratio", "bar", "", box=None)
    for column in table.columns[1:2] + table.columns[4:6]:
        column.justify = "right"
    for row in rows:
        verdict = {True: "[green]holds", False: "[red]missed", None: ""}[row.ok]
        table.add_row(
            row.name,
            _number(row.value),
            row.unit,
            row.rival or "",
            _number(row.rival_value),
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.bar or "",
            verdict,
        )
    common.console().print(table)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"

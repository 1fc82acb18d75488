"""Prints measured rows: as JSON, one object a line, or as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from brainnet.cli import common

if TYPE_CHECKING:
    from brainnet.rows import Row


def report(rows: Iterable[Row], as_json: bool) -> None:
    """Print the rows, each as JSON or all as a table at the end; exit with status 1 when a bar is missed."""
    measured = []
    for row in rows:
        measured.append(row)
        if as_json:
            common.print_json(row)
    if not as_json:
        _print_table(measured)
    if any(row.ok is False for row in measured):
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
    """Return a number with four significant digits; whole numbers with all of theirs."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"

"""Prints measured rows: as JSON, one object a line, or as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from brainnet.cli import output

if TYPE_CHECKING:
    from brainnet.rows import Row


def report(rows: Iterable[Row], as_json: bool) -> None:
    """Print the rows, each as JSON or all as a table at the end; exit with status 1 when a bar is missed."""
    measured = []
    for row in rows:
        measured.append(row)
        if as_json:
            output.print_json(row)
    if not as_json:
        _print_table(measured)
    if any(row.ok is False for row in measured):
        raise typer.Exit(1)


def _print_table(rows: list[Row]) -> None:
    verdicts: dict[bool | None, output.Cell] = {
        True: output.Styled("holds", "green"),
        False: output.Styled("missed", "red"),
        None: "",
    }
    value, rivals, ratio = (output.Column(title, right=True) for title in ("value", "rival's", "ratio"))
    output.table(
        ["measure", value, "unit", "rival", rivals, ratio, "bar", ""],
        [
            (
                row.name,
                _number(row.value),
                row.unit,
                row.rival or "",
                _number(row.rival_value),
                "" if row.ratio is None else f"{row.ratio:.2f}",
                row.bar or "",
                verdicts[row.ok],
            )
            for row in rows
        ],
    )


def _number(value: float | None) -> str:
    """Return a number with four significant digits; whole numbers with all of theirs."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"

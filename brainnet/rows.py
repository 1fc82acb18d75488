"""The results of measurements, for benchmarks and evaluations."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Row(BaseModel):
    """One measured value, beside a baseline's, and the limit it has to meet; without a limit it is for information.

    Attributes:
        name: What was measured.
        value: The value.
        unit: Its unit.
        rival: Name of the baseline.
        rival_value: The baseline's value.
        ratio: `value` / `rival_value`.
        bar: The limit as text.
        ok: Whether the limit is met; None without a limit.
    """

    name: str
    value: float
    unit: str
    rival: str | None = None
    rival_value: float | None = None
    ratio: float | None = None
    bar: str | None = None
    ok: bool | None = None


def compare(
    name: str,
    value: float,
    unit: str,
    *,
    rival: str | None = None,
    rival_value: float | None = None,
    limit: tuple[Literal["ratio", "value"], Literal["<=", ">=", "=="], float] | None = None,
) -> Row:
    """Make a row with its ratio and, with a limit, whether it is met.

    Args:
        name: What was measured.
        value: The value.
        unit: Its unit.
        rival: Name of the baseline.
        rival_value: The baseline's value.
        limit: What is compared (the ratio or the value), the relation, and the bound.
    """
    ratio = value / rival_value if rival_value else None
    row = Row(name=name, value=value, unit=unit, rival=rival, rival_value=rival_value, ratio=ratio)
    if limit is not None:
        what, relation, bound = limit
        measured = ratio if what == "ratio" else value
        row.bar = f"{what} {relation} {bound:,g}"
        holds = {"<=": lambda a: a <= bound, ">=": lambda a: a >= bound, "==": lambda a: a == bound}
        row.ok = measured is not None and bool(holds[relation](measured))
    return row


def percentile(values: list[float], percent: float) -> float:
    """Return the value at `percent` / 100 of the sorted list, which may not be empty."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

"""What a measurement reports: benchmarks and evaluations alike."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Row(BaseModel):
    """One measured value, beside a rival's and the bar it has to pass; without a bar it is for information."""

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
    """A row with its ratio (value / rival's value) and, with a limit, whether it holds."""
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
    """The smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

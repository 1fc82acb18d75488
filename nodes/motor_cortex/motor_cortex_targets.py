"""Reads the target point from a prompt, and checks whether the arm can reach it.

This is done by regular expressions, not by a model: `_NAMED` finds coordinates with their names ("x=0.1 y=-0.05"), and,
if it does not match, `_PAIR` finds two numbers that follow each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainnet import RegionError
from brainnet.effectors.planar_arm import INNER_RADIUS, OUTER_RADIUS

_UNITS = {"": 1.0, "m": 1.0, "cm": 0.01, "mm": 0.001}
# The sign is part of the number; a word boundary before it is not required, so that "x=-0.1" is read.
_NUMBER = r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?)"
_UNIT = r"\s*(mm\b|cm\b|m\b|milli\w+\b|centi\w+\b|met(?:er|re)s?\b)?"
_NAMED = re.compile(
    rf"\bx\s*(?:=|:|is|at)?\s*{_NUMBER}{_UNIT}.*?\by\s*(?:=|:|is|at)?\s*{_NUMBER}{_UNIT}", re.IGNORECASE
)
# The optional third number makes a point in space recognisable, which is then refused.
_PAIR = re.compile(
    rf"{_NUMBER}{_UNIT}\s*(?:,|;|/|\band\b|\bby\b|\s)\s*{_NUMBER}{_UNIT}(\s*[,;]\s*{_NUMBER})?", re.IGNORECASE
)


def parse_target(text: str) -> tuple[float, float] | None:
    """Read the point that `text` names.

    Understands "(0.10, 0.10)", "x=0.1 y=-0.05", "10 cm, 5 cm", "(10, 5) cm", "0.1 and 0.05". A unit given once, after
    the second number, holds for both numbers; without a unit, numbers are metres.

    Returns:
        x and y in metres; None when the text names no point.

    Raises:
        RegionError: The text names a point with three coordinates.
    """
    text = text.replace("−", "-")
    # Brackets become spaces, because a closing one may stand between number and unit: "(10, 5) cm".
    text = re.sub(r"[()\[\]{}]", " ", text)
    match = _NAMED.search(text)
    if match is None and (match := _PAIR.search(text)) is not None and match.group(5):
        raise RegionError(f"{match.group().strip()} is a point in space; the arm is planar: give x and y")
    if match is None:
        return None
    x, x_unit, y, y_unit = match.groups()[:4]
    second = _unit(y_unit)
    first = _unit(x_unit) if x_unit else second
    return float(x) * first, float(y) * second


def _unit(word: str | None) -> float:
    word = (word or "").lower()
    # Written-out units, in any spelling: metre, meters, centimetres.
    if word.startswith(("milli", "centi", "met")):
        word = {"milli": "mm", "centi": "cm"}.get(word[:5], "m")
    return _UNITS[word]


def check_reachable(target: tuple[float, float]) -> None:
    """Check that the arm can reach a point.

    Raises:
        RegionError: It cannot.
    """
    distance = math.hypot(*target)
    if not INNER_RADIUS <= distance <= OUTER_RADIUS:
        raise RegionError(
            f"{point_text(target)} m is {distance:.3f} m from the shoulder at (0, 0); "
            f"the arm reaches points between {INNER_RADIUS} m and {OUTER_RADIUS} m from it"
        )


def point_text(target: Sequence[float] | NDArray[np.float64]) -> str:
    """Write a point as "(0.100, 0.100)"."""
    return f"({target[0]:.3f}, {target[1]:.3f})"

"""The point that a prompt names, and whether the arm can reach it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainnet import RegionError
from brainnet.effectors.planar_arm import INNER_RADIUS, OUTER_RADIUS

_UNITS = {"": 1.0, "m": 1.0, "cm": 0.01, "mm": 0.001}
_NUMBER = r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?)"
_UNIT = r"\s*(mm\b|cm\b|m\b|milli\w+\b|centi\w+\b|met(?:er|re)s?\b)?"
_NAMED = re.compile(
    rf"\bx\s*(?:=|:|is|at)?\s*{_NUMBER}{_UNIT}.*?\by\s*(?:=|:|is|at)?\s*{_NUMBER}{_UNIT}", re.IGNORECASE
)
_PAIR = re.compile(
    rf"{_NUMBER}{_UNIT}\s*(?:,|;|/|\band\b|\bby\b|\s)\s*{_NUMBER}{_UNIT}(\s*[,;]\s*{_NUMBER})?", re.IGNORECASE
)


def parse_target(text: str) -> tuple[float, float] | None:
    """The point that `text` names, in metres, or None when it names none.

    Understands "(0.10, 0.10)", "x=0.1 y=-0.05", "10 cm, 5 cm", "(10, 5) cm", "0.1 and 0.05". A unit given once, after
    the second number, holds for both; without any, numbers are metres. Raises RegionError for a point in space.
    """
    text = text.replace("−", "-")
    # a closing bracket between number and unit ("(10, 5) cm") would part the two
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
    if word.startswith(("milli", "centi", "met")):
        word = {"milli": "mm", "centi": "cm"}.get(word[:5], "m")
    return _UNITS[word]


def check_reachable(target: tuple[float, float]) -> None:
    """Raises RegionError for a point that the arm cannot reach."""
    distance = math.hypot(*target)
    if not INNER_RADIUS <= distance <= OUTER_RADIUS:
        raise RegionError(
            f"{point_text(target)} m is {distance:.3f} m from the shoulder at (0, 0); "
            f"the arm reaches points between {INNER_RADIUS} m and {OUTER_RADIUS} m from it"
        )


def point_text(target: Sequence[float] | NDArray[np.float64]) -> str:
    return f"({target[0]:.3f}, {target[1]:.3f})"

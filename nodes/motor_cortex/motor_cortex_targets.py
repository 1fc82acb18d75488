"""Reads from a prompt the point to reach, or that everything shall stop; checks whether the arm can reach a point.

This is done by rules, not by a model. A regular expression splits the text into numbers, words and marks. A point is
two coordinates with their names ("x=0.1 y=-0.05") or, if there are none, two numbers that follow each other. Reading
takes time in proportion to the text, of which only beginning and end are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainnet import RegionError
from brainnet.effectors.planar_arm import INNER_RADIUS, OUTER_RADIUS
from brainnet.snn.models.text_features import normalise

HEAD, TAIL = 3000, 1000
"""Characters of a text that are read from its beginning and from its end, after its white space is collapsed."""
MAX_STOP = 100
"""Characters of a prompt that can ask to stop."""
MAX_NUMBER = 64
"""Characters of a number whose value is read; a longer one is infinite, which no arm reaches."""

_UNITS = {"": 1.0, "m": 1.0, "cm": 0.01, "mm": 0.001}
# The sign is part of the number; a word boundary before it is not required, so that "x=-0.1" is read. A token is found
# without going back, whatever follows it.
_TOKEN = re.compile(r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)|(?P<word>[^\W\d_]+)|(?P<mark>[^\s\w])")
# Anchored, so that it is tried at the beginning of a text only.
_STOP = re.compile(
    r"\A(?:(?:please|emergency|just|now|robot|arm|hey|ok|okay)[ ,:]+)*"
    r"(?:stop+|halt|freeze|brake|abort|hold (?:still|it)|stand still|(?:do not|don.?t) move|stay where you are)"
    r"(?:[ ,]+(?:moving|reaching|that|this|it|now|please|immediately|at once|right now|everything|all|here|"
    r"(?:the |your |all |its )*(?:arms?|robots?|motors?|movements?|motions?|effectors?|body)))*[ .!]*"
)
"""What is asked when a whole prompt matches it: that everything stops."""
_NAMES = frozenset("xyz")
_EQUALS = frozenset(("=", ":", "is", "at"))
_BRACKETS = frozenset("()[]{}")
_SEPARATORS = frozenset((",", ";", "/", "and", "by"))
# A third number after one of these makes a point in space.
_LIST_MARKS = frozenset(",;")


@dataclass(frozen=True, slots=True)
class _Token:
    """A number, word or mark.

    Attributes:
        text: Its characters, in lower case.
        is_number: Whether it is a number.
        apart: Whether white space or a bracket is before it.
    """

    text: str
    is_number: bool
    apart: bool


@dataclass(frozen=True, slots=True)
class _Coordinate:
    """A number with its unit; `end` is the position of the token after it."""

    number: str
    unit: str
    end: int


def asks_to_stop(text: str) -> bool:
    """Return whether a prompt asks that everything stops: all of it, so that "do not stop here" is none."""
    return len(text) <= MAX_STOP and _STOP.fullmatch(normalise(text).strip().lower()) is not None


def parse_target(text: str) -> tuple[float, float] | None:
    """Read the point that `text` names.

    Understands "(0.10, 0.10)", "x=0.1 y=-0.05", "10 cm, 5 cm", "(10, 5) cm", "0.1 and 0.05". A unit given once, after
    the second number, holds for both numbers; without a unit, numbers are metres.

    Returns:
        x and y in metres; None when the text names no point.

    Raises:
        RegionError: The text names a point with three coordinates.
    """
    tokens = _tokens(_readable(text))
    named = _named(tokens)
    if "x" in named and "y" in named:
        if "z" in named:
            raise _in_space(named.values())
        later = max(named["x"], named["y"], key=lambda coordinate: coordinate.end)
        return _metres(named["x"], later), _metres(named["y"], later)
    pair = _pair(tokens)
    return None if pair is None else (_metres(pair[0], pair[1]), _metres(pair[1], pair[1]))


def _readable(text: str) -> str:
    """Return the beginning and the end of the text, normalised, with whole words."""
    text = " ".join(text.split())
    if len(text) > HEAD + TAIL:
        text = text[:HEAD].rpartition(" ")[0] + " \n " + text[-TAIL:].partition(" ")[2]
    return normalise(text).replace("−", "-")


def _tokens(text: str) -> list[_Token]:
    tokens, end = [], 0
    for match in _TOKEN.finditer(text):
        # Brackets are as white space, because a closing one may stand between number and unit: "(10, 5) cm".
        if match.group() not in _BRACKETS:
            tokens.append(_Token(match.group(), match.lastgroup == "number", match.start() > end))
            end = match.end()
    return tokens


def _named(tokens: list[_Token]) -> dict[str, _Coordinate]:
    """Find the first number with each of the names x, y and z."""
    found: dict[str, _Coordinate] = {}
    for place, token in enumerate(tokens):
        if token.text in _NAMES and token.text not in found:
            value = place + 1
            if value < len(tokens) and tokens[value].text in _EQUALS:
                value += 1
            if (coordinate := _coordinate(tokens, value)) is not None:
                found[token.text] = coordinate
    return found


def _pair(tokens: list[_Token]) -> tuple[_Coordinate, _Coordinate] | None:
    """Find the first two numbers that follow each other.

    Raises:
        RegionError: A third one follows.
    """
    for place in range(len(tokens)):
        first = _coordinate(tokens, place)
        if first is None or first.end == len(tokens):
            continue
        at = first.end
        while at < min(first.end + 2, len(tokens)) and tokens[at].text in _SEPARATORS:
            at += 1
        second = _coordinate(tokens, at)
        if second is None or (at == first.end and not tokens[at].apart):
            continue
        if second.end < len(tokens) and tokens[second.end].text in _LIST_MARKS:
            third = _coordinate(tokens, second.end + 1)
            if third is not None:
                raise _in_space((first, second, third))
        return first, second
    return None


def _coordinate(tokens: list[_Token], place: int) -> _Coordinate | None:
    if place >= len(tokens) or not tokens[place].is_number:
        return None
    unit = _unit(tokens[place + 1].text) if place + 1 < len(tokens) else None
    return _Coordinate(tokens[place].text, unit or "", place + (2 if unit else 1))


def _unit(word: str) -> str | None:
    """Return the unit that a word means, None if it means none."""
    # Written-out units, in any spelling: metre, meters, centimetres.
    if word.startswith(("milli", "centi")) and len(word) > len("milli"):
        return "mm" if word.startswith("milli") else "cm"
    if word in ("meter", "meters", "metre", "metres"):
        return "m"
    return word if word in _UNITS else None


def _metres(coordinate: _Coordinate, later: _Coordinate) -> float:
    # 100,000 digits take seconds to convert
    number = coordinate.number
    value = float(number) if len(number) <= MAX_NUMBER else math.copysign(math.inf, -1.0 if number[0] == "-" else 1.0)
    return value * _UNITS[coordinate.unit or later.unit]


def _in_space(coordinates: Iterable[_Coordinate]) -> RegionError:
    shown = ", ".join(f"{c.number[:MAX_NUMBER]} {c.unit}".strip() for c in coordinates)
    return RegionError(f"({shown}) is a point in space; the arm is planar: give x and y")


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

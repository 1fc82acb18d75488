"""Regions as a user may have them, for choosing settings. What is measured is whether they are asked.

Each says what it is for in its first line and with a few examples, as any region can. An answer is the name of the
region that was asked; the calculator computes.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import ClassVar, Final

from brainnet import Candidate, Partial, Query, Region, RegionError

_OPERATORS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class WeatherStation(Region):
    """Weather at the house: temperature, rain and wind, now and in the next days."""

    examples: ClassVar[tuple[str, ...]] = (
        "Will it rain tomorrow?",
        "How warm is it outside?",
        "What is the forecast for the weekend?",
        "Is it windy right now?",
        "How much did it rain last night?",
        "temperature in the garden",
    )

    def answer(self, query: Query) -> Partial:
        return _named(self.id)


class Departures(Region):
    """Departures of buses, trams and trains at the nearest stop."""

    examples: ClassVar[tuple[str, ...]] = (
        "When does the next bus leave?",
        "Is the train to Leeds late?",
        "Which platform does the 8:14 leave from?",
        "last tram into town tonight",
        "How do I get to the airport by train?",
        "Does line 7 run on Sundays?",
    )

    def answer(self, query: Query) -> Partial:
        return _named(self.id)


class Lights(Region):
    """Lamps of the house: switches, dims and colours them, room by room."""

    examples: ClassVar[tuple[str, ...]] = (
        "Turn on the light in the kitchen.",
        "Dim the bedroom lamp.",
        "lights off",
        "Make the living room blue.",
        "Is the porch light still on?",
        "Switch everything off upstairs.",
        "brighter please",
    )

    def answer(self, query: Query) -> Partial:
        return _named(self.id)


class PartsStock(Region):
    """Stock of spare parts in the storeroom: how many there are, and orders of new ones."""

    examples: ClassVar[tuple[str, ...]] = (
        "How many M4 screws are left?",
        "Order twenty ball bearings.",
        "Do we have a spare fan belt?",
        "What is running low in the storeroom?",
        "Book out two relays.",
    )

    def answer(self, query: Query) -> Partial:
        return _named(self.id)


class Calculator(Region):
    """Arithmetic: sums, products, percentages and roots of numbers."""

    examples: ClassVar[tuple[str, ...]] = (
        "What is 17 times 23?",
        "12.5 + 7",
        "Divide 144 by 12.",
        "How much is 15 percent of 80?",
        "Add 3, 9 and 27.",
        "square root of 2",
    )

    def answer(self, query: Query) -> Partial:
        """Compute the first expression of numbers and signs; without one, say so.

        Raises:
            RegionError: There is none, or it divides by zero.
        """
        found = re.search(r"\d[\d .+*/()-]{0,200}", query.prompt.text)
        if found is None:
            raise RegionError("there is nothing to calculate in this")
        try:
            value = _computed(ast.parse(found[0].strip(" .("), mode="eval").body)
        except (SyntaxError, ZeroDivisionError, OverflowError) as error:
            raise RegionError(f"{found[0].strip()!r} cannot be calculated: {error}") from None
        return Partial(candidates=[Candidate(text=f"{value:g}", probability=1.0)], confidence=0.9)


def _computed(part: ast.expr) -> float:
    if isinstance(part, ast.Constant) and isinstance(part.value, int | float):
        return float(part.value)
    if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.USub):
        return -_computed(part.operand)
    if isinstance(part, ast.BinOp) and type(part.op) in _OPERATORS:
        return _OPERATORS[type(part.op)](_computed(part.left), _computed(part.right))
    raise RegionError("only numbers with + - * / can be calculated here")


def _named(region: str) -> Partial:
    return Partial(candidates=[Candidate(text=f"{region} was asked", probability=1.0)], confidence=0.9)

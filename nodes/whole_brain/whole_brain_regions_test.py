"""Regions as a user may have them, to report on, never to choose by. What is measured is whether they are asked.

Each says what it is for in its first line and with a few examples, as any region can. An answer is the name of the
region that was asked; the timer says for how long it would run.
"""

from __future__ import annotations

import re
from typing import ClassVar

from brainnet import Candidate, Partial, Query, Region, RegionError


class Translator(Region):
    """Translation of words and sentences between languages."""

    examples: ClassVar[tuple[str, ...]] = (
        "Translate 'good evening' into Italian.",
        "What does 'Schmetterling' mean in English?",
        "How do you say bread in Polish?",
        "French for thank you",
        "Put this sentence into Spanish: the shop is closed.",
        "Is there a Swedish word for cosy?",
    )

    def answer(self, query: Query) -> Partial:
        return _named(self.id)


class MusicPlayer(Region):
    """Music in the house: plays songs, albums and radio, and sets the volume."""

    examples: ClassVar[tuple[str, ...]] = (
        "Play some jazz.",
        "Skip this song.",
        "Turn the volume down.",
        "What is playing?",
        "Put on the new album by Björk.",
        "pause the music",
        "Shuffle my running playlist.",
    )

    def answer(self, query: Query) -> Partial:
        return _named(self.id)


class BatteryMonitor(Region):
    """Charge and health of the batteries of the robots and the backup supply."""

    examples: ClassVar[tuple[str, ...]] = (
        "How full is the battery?",
        "Which robot has to be charged first?",
        "What voltage does cell 3 have?",
        "Is the backup supply charging?",
        "remaining run time",
    )

    def answer(self, query: Query) -> Partial:
        return _named(self.id)


class KitchenTimer(Region):
    """Timers and alarms: starts them, stops them, and says how much time is left."""

    examples: ClassVar[tuple[str, ...]] = (
        "Set a timer for ten minutes.",
        "Wake me at half past six.",
        "How long do the eggs still need?",
        "Cancel the alarm.",
        "timer 30 seconds",
        "Add two minutes to the pasta timer.",
    )

    def answer(self, query: Query) -> Partial:
        """Say for how long a timer would run.

        Raises:
            RegionError: No duration stands in the prompt.
        """
        found = re.search(r"(\d{1,4}) ?(second|minute|hour)", query.prompt.text)
        if found is None:
            raise RegionError("a timer needs a duration, such as 10 minutes")
        seconds = int(found[1]) * {"second": 1, "minute": 60, "hour": 3600}[found[2]]
        return Partial(candidates=[Candidate(text=f"{seconds} seconds", probability=1.0)], confidence=0.9)


class Printer(Region):
    """The 3D printer in the workshop: its jobs, its filament, and the temperature of its nozzle."""

    examples: ClassVar[tuple[str, ...]] = (
        "Start printing the bracket.",
        "How much filament is on the spool?",
        "When will the print be finished?",
        "Heat the nozzle to 210 degrees.",
        "Abort the print job.",
        "Which material is loaded?",
    )

    def answer(self, query: Query) -> Partial:
        return _named(self.id)


def _named(region: str) -> Partial:
    return Partial(candidates=[Candidate(text=f"{region} was asked", probability=1.0)], confidence=0.9)

"""What whoever watches a network is shown: many windows together, so that watching costs the network next to nothing.

A process in lock-step may compute thousands of windows a second. A message for each of them would pass the hub, and be
read by a program that has a core of its own at best; on a machine whose cores the network uses, it would take them
away from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from brainnet.simulation.spikes import Spikes
from brainnet.streams.link import Link
from brainnet.streams.window import SpikeWindow, encode_window
from brainnet.wire.packet import MAX_ELEMENTS

TOGETHER_S: Final = 0.04
"""Seconds on the wall for which windows are gathered: 25 packets a second, as many as a picture of them can show."""
_LOOK_S: Final = 0.02
"""Seconds between two looks for who watches, where nothing is gathered."""
_MAX_STEPS: Final = 2000


class Watched:
    """Gathers what some populations fire while somebody watches them. Not thread-safe.

    Args:
        link: The network.
        run: Name of the run.
        dt_us: Duration of a step in microseconds.
        sizes: Neurons of each population of the process.
        together_s: Seconds for which windows are gathered; 0 to show each of them at once.
    """

    def __init__(self, link: Link, run: str, dt_us: int, sizes: dict[str, int], together_s: float = TOGETHER_S) -> None:
        self._link = link
        self._run = run
        self._dt_us = dt_us
        self._sizes = sizes
        self._together_s = together_s
        self._gathered: dict[str, list[Spikes]] = {}
        self._watched: frozenset[str] = frozenset()
        self._numbers = dict.fromkeys(sizes, 0)
        self._show_at = 0.0

    def add(self, fired: Iterable[tuple[str, Spikes]], now: float) -> None:
        """Take in what was fired in one window."""
        if self._watched:
            for name, spikes in fired:
                if name in self._watched:
                    gathered = self._gathered.setdefault(name, [])
                    if gathered and gathered[-1].end_step != spikes.first_step:  # a process that began anew
                        gathered.clear()
                    gathered.append(spikes)
                    if (sum(each.steps for each in gathered) + spikes.steps) > self._most_steps(name):
                        self._show_one(name)
        self.look(now)

    def look(self, now: float) -> None:
        """Show what is gathered when it is time to; call it also while nothing is computed, to see who watches."""
        if now >= self._show_at:
            self.show(now)

    def show(self, now: float) -> None:
        """Show what is gathered, and see who watches."""
        self._show_at = now + max(self._together_s, _LOOK_S if not self._gathered else 0.0)
        for name in list(self._gathered):
            self._show_one(name)
        self._watched = frozenset(name for name in self._sizes if self._link.is_watched(name))

    def _most_steps(self, name: str) -> int:
        return max(1, min(_MAX_STEPS, MAX_ELEMENTS // self._sizes[name]))

    def _show_one(self, name: str) -> None:
        spikes = Spikes.joined(self._gathered.pop(name))
        self._numbers[name] += 1
        window = SpikeWindow(
            name,
            self._run,
            spikes.first_step,
            self._sizes[name],
            self._dt_us,
            spikes.offsets,
            spikes.neurons,
            self._numbers[name],
        )
        self._link.show(name, encode_window(window))

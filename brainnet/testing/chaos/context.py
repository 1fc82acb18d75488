"""What every fault of a chaos run works with: the brain, the client, the account, and seeded choices."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from brainnet.testing.chaos.client import ForeignClient
from brainnet.testing.chaos.ledger import Channel, Ledger, Percentiles, Sent
from brainnet.testing.chaos.report import FloodResult, Recovery
from brainnet.testing.chaos.target import Target
from brainnet.testing.workload import Kind


@dataclass
class Times:
    """What was measured of one victim and fault; seconds."""

    times: int = 0
    unrecovered: int = 0
    unnoticed: int = 0
    detected: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)

    def report(self, victim: str, fault: Any) -> Recovery:
        """Return it as a part of the report."""
        return Recovery(
            victim=victim,
            fault=fault,
            times=self.times,
            unrecovered=self.unrecovered,
            unnoticed=self.unnoticed,
            detected_s=Percentiles.of(self.detected),
            ready_s=Percentiles.of(self.ready),
            answer_s=Percentiles.of(self.answer),
        )


@dataclass
class Context:
    """One chaos run.

    Attributes:
        target: The brain.
        client: Sends prompts.
        ledger: The account of the prompts.
        kinds: The kinds of prompts that the brain can answer.
        seed: Every random choice follows from it.
        progress: Called with what is done now.
        small_disk: Whether the state is on a file system that may be filled.
        recovery: Measurements by victim and fault.
        injected: How often each single thing was done.
        skipped: What could not be done, and why.
        flood: Result of the overload, once there is one.
        ends_s: `time.monotonic()` after which nothing more is injected for this fault.
    """

    target: Target
    client: ForeignClient
    ledger: Ledger
    kinds: list[Kind]
    seed: int
    progress: Callable[[str], None]
    small_disk: bool = False
    recovery: dict[tuple[str, str], Times] = field(default_factory=dict)
    injected: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    flood: FloodResult | None = None
    ends_s: float = 0.0

    @property
    def goes_on(self) -> bool:
        """Whether the time of the fault that is injected is not over; what has begun is finished even then."""
        return now() < self.ends_s

    def rng(self, purpose: str) -> random.Random:
        """Return the generator of one purpose, so that no purpose disturbs the choices of another."""
        return random.Random(f"{self.seed}/{purpose}")

    def times(self, victim: str, fault: str) -> Times:
        """Return where the measurements of a victim and fault are kept."""
        return self.recovery.setdefault((victim, fault), Times())

    def quick_kinds(self) -> list[Kind]:
        """Return the kinds that are quick enough to overload a brain with; all when none is."""
        return [kind for kind in self.kinds if kind.flood] or self.kinds

    def kinds_of(self, victim: str) -> list[Kind]:
        """Return the kinds that a victim answers; when it answers none, the quick ones, which need the whole brain."""
        own = [kind for kind in self.kinds if victim in kind.needs or victim in (kind.regions or ())]
        return own or self.quick_kinds()

    def draw(self, rng: random.Random) -> tuple[Kind, Channel]:
        """Choose a kind and a channel by their weights."""
        kind = rng.choices(self.kinds, [kind.weight for kind in self.kinds])[0]
        channel = rng.choices(("json", "msgpack", "text", "get"), (4, 3, 2, 2))[0]
        if channel == "text" and not kind.plain:
            plain = [k for k in self.kinds if k.plain]
            # Without one, a text that no region is named for: its answer is an error, and there must be one, too.
            kind = rng.choice(plain) if plain else Kind(name="plain text", text="plain text")
        return kind, channel  # type: ignore[return-value]

    def first_ok(self, prompts: list[Sent]) -> float | None:
        """Return when the first of these prompts was answered with a result, as `time.monotonic()`."""
        self.client.read_inbox()
        times = [outcome.at_s for sent in prompts for outcome in sent.outcomes if outcome.ok]
        return min(times, default=None)


def now() -> float:
    """Return `time.monotonic()`."""
    return time.monotonic()

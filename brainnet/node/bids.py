"""Bids: how well a region could answer a prompt, said before it is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

BID_MODALITY: Final = "bid"
"""Modality of the packets on topic `spikes` that hold a bid."""


@dataclass(frozen=True, slots=True)
class Bid:
    """How well a region could answer a prompt.

    Attributes:
        score: 0, it cannot, to 1, its answer would be right. Other values are cut to this range.
        why: A few words for people.
    """

    score: float
    why: str = ""

    def __post_init__(self) -> None:
        score = float(self.score)
        # NaN, of a region that divides by zero, is no bid at all.
        object.__setattr__(self, "score", 0.0 if math.isnan(score) else min(1.0, max(0.0, score)))

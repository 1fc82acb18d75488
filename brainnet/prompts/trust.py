"""How far a region is believed: what training learned of its confidence, and its record while the brain runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from brainnet.errors import ModelError
from brainnet.wire.messages import Partial

_MARGIN = 1e-4
"""Confidences are clipped to this distance from 0 and 1, where the logit is infinite."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Calibration of one region.

    A confidence k is believed as sigmoid(slope * logit(k) + offset), increasing in k (Platt scaling; Platt 1999). A
    probability p counts ln(1 + p / floor) / ln(1 + 1 / floor): probabilities far below the `floor` count alike. An
    infinite floor counts p itself.

    Attributes:
        slope: At least 0.
        offset: Finite.
        floor: At least 1e-9.

    Raises:
        ModelError: One of them is outside its range.
    """

    slope: float
    offset: float
    floor: float = math.inf

    def __post_init__(self) -> None:
        if not (self.slope >= 0 and math.isfinite(self.slope) and math.isfinite(self.offset) and self.floor >= 1e-9):
            raise ModelError(
                "trust needs a finite slope of at least 0, a finite offset and a floor of at least 1e-9, "
                f"got {self.slope}, {self.offset}, {self.floor}"
            )

    def __call__(self, confidence: float) -> float:
        """Return how far a confidence is believed, in [0, 1]."""
        clipped = min(1 - _MARGIN, max(_MARGIN, confidence))
        # sigmoid(x) = (1 + tanh(x / 2)) / 2, which cannot overflow for large slopes
        return (1 + math.tanh((self.slope * math.log(clipped / (1 - clipped)) + self.offset) / 2)) / 2

    def share(self, probability: float) -> float:
        """Return what a probability counts, in [0, 1] and increasing."""
        if math.isinf(self.floor):
            return probability
        return math.log1p(probability / self.floor) / math.log1p(1 / self.floor)


def load_trust(path: Path | str) -> dict[str, Trust]:
    """Read trust by region from the weights that `brainnet train` makes.

    Raises:
        ModelError: The file is missing or holds none; the text names it.
    """
    try:
        with safe_open(str(path), framework="np") as file:
            names = json.loads((file.metadata() or {})["regions"])
            rows = file.get_tensor("trust").tolist()
        return {str(name): Trust(*map(float, row)) for name, row in zip(names, rows, strict=True)}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} holds no trust by region ({error}); `brainnet train` makes it") from error


class Reliability:
    """The running share of its queries that each region answered, an exponential moving average that starts at 1.

    A refusal with a reason is an answer; only an internal error counts against a region.
    """

    def __init__(self) -> None:
        self.by_region: dict[str, float] = {}

    def update(self, regions: Iterable[str], partials: Mapping[str, Partial], rate: float) -> None:
        """Take in one answered prompt.

        Args:
            regions: The regions that were asked.
            partials: The final partials that came; a region without one was perhaps not needed, and is left out.
            rate: Weight of this prompt in the average, in [0, 1].
        """
        for region in regions:
            partial = partials.get(region)
            if partial is not None:
                before = self.by_region.get(region, 1.0)
                answered = 0.0 if partial.code == "internal" else 1.0
                self.by_region[region] = before + rate * (answered - before)

"""How partial answers of several regions become one, and when waiting for more can no longer change it.

A region r answers with candidates c of probability p_r(c) and a confidence k_r. Its weight is

    w_r = route probability x confidence x reliability,     all in [0, 1]

and equal candidates of different regions pool: score(c) = sum over r of w_r * p_r(c). The candidate with the highest
score wins. A region r that has not answered can add at most u_r = route probability x reliability to any one candidate,
so the outcome is settled as soon as

    score(best) - score(second best) > sum of u_r over the regions still missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brainnet.messages import Partial


@dataclass(slots=True)
class Scored:
    """A pooled candidate: its score, who said it, and what it rests on by region."""

    text: str
    score: float = 0.0
    regions: list[str] = field(default_factory=list)
    content: dict[str, Any] = field(default_factory=dict)
    _strongest: float = 0.0


@dataclass(frozen=True, slots=True)
class Fused:
    """The state of one fusion.

    Attributes:
        ranked: candidates, best first.
        lead: score of the best minus score of the second best.
        open_weight: the most that the missing regions can still add to one candidate.
        confidence: score of the best over the most it could have got from the regions that answered.
    """

    ranked: list[Scored]
    lead: float
    open_weight: float
    confidence: float

    @property
    def settled(self) -> bool:
        """Whether no missing region can change which candidate wins."""
        return bool(self.ranked) and self.lead > self.open_weight


def same(text: str) -> str:
    """The form in which two candidates are compared: case, outer punctuation and white space do not count."""
    return " ".join(text.casefold().split()).strip(" .!?\"'")


def fuse(
    partials: Mapping[str, Partial],
    route_probs: Mapping[str, float],
    asked: list[str],
    reliability: Mapping[str, float],
) -> Fused:
    """Fuse what there is.

    Args:
        partials: final partials by region; those with an error contribute nothing.
        route_probs: by region, those not named count as 0.
        asked: all regions that were asked.
        reliability: by region, those not named count as 1.
    """
    pooled: dict[str, Scored] = {}
    heard = 0.0
    for region, partial in partials.items():
        ceiling = route_probs.get(region, 0.0) * reliability.get(region, 1.0)
        if partial.error is not None or not partial.candidates:
            continue
        heard += ceiling
        for candidate in partial.candidates:
            weight = ceiling * partial.confidence * candidate.probability
            scored = pooled.setdefault(same(candidate.text), Scored(candidate.text))
            scored.score += weight
            if region not in scored.regions:
                scored.regions.append(region)
            if weight >= scored._strongest:  # the wording of whoever is surest
                scored._strongest, scored.text = weight, candidate.text
            scored.content[region] = candidate.content | partial.content
    ranked = sorted(pooled.values(), key=lambda s: s.score, reverse=True)
    best = ranked[0].score if ranked else 0.0
    second = ranked[1].score if len(ranked) > 1 else 0.0
    missing = [r for r in asked if r not in partials]
    open_weight = sum(route_probs.get(r, 0.0) * reliability.get(r, 1.0) for r in missing)
    return Fused(ranked, best - second, open_weight, min(1.0, best / heard) if heard > 0 else 0.0)

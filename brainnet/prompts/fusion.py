"""How partial answers of several regions become one, and when waiting for more can no longer change it.

A region r answers with candidates c of probability p_r(c) and a confidence k_r. Its weight is

    w_r = route probability x trust_r(k_r) x reliability,     all in [0, 1]

and candidates that claim the same pool: score(c) = sum over r of w_r * share_r(p_r(c)). The highest score wins. Trust
and share are learned by region (`brainnet.prompts.trust`): how far its confidence has earned belief, and how much it
speaks against a claim that it gives little probability. A share is 0 for what a region does not say, 1 for what it is
certain of, and logarithmic in between, so that scores add up evidence (a logarithmic opinion pool; Genest and Zidek
1986, *Combining Probability Distributions*). A region of which nothing was learned counts with its confidence and
probabilities as they are. A region r that has not answered can add at most u_r = route probability x reliability x
trust_r(1) to any one claim, so the outcome is settled as soon as

    score(best) - score(second best) > sum of u_r over the regions still missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brainnet.prompts.claims import claim
from brainnet.prompts.trust import Trust
from brainnet.wire.messages import Candidate, Partial

_ROUNDING = 1e-9
"""A lead must be larger than what is open by more than float64 sums can err."""


@dataclass(slots=True)
class Scored:
    """One claim and what supports it.

    Attributes:
        text: The claim in the words of the region that gives it the most.
        score: See the module.
        support: By region, its `probability` for the claim, its `confidence` and its `weight`.
    """

    text: str
    score: float = 0.0
    support: dict[str, dict[str, float]] = field(default_factory=dict)
    _strongest: float = -1.0
    _rests_on: dict[str, tuple[Partial, Candidate]] = field(default_factory=dict)

    def add(self, region: str, candidate: Candidate, partial: Partial, weight: float) -> None:
        """Add a candidate that claims this; several of one region count as one, of at most probability 1."""
        probability = candidate.probability
        support = self.support.get(region)
        if support is None:
            self._rests_on[region] = partial, candidate
            self.support[region] = {"probability": probability, "confidence": partial.confidence, "weight": weight}
        else:
            support["probability"] = min(1.0, support["probability"] + probability)
        if weight * probability > self._strongest:
            self._strongest, self.text = weight * probability, candidate.text
            self._rests_on[region] = partial, candidate

    @property
    def content(self) -> dict[str, dict[str, Any]]:
        """By region, what its candidate rests on."""
        return {region: partial.content | candidate.content for region, (partial, candidate) in self._rests_on.items()}

    @property
    def regions(self) -> list[str]:
        """The regions that make the claim, by weight x probability, then by name: never by the order of arrival."""
        given = {region: values["weight"] * values["probability"] for region, values in self.support.items()}
        return sorted(given, key=lambda region: (-given[region], region))

    @property
    def asserted(self) -> bool:
        """Whether a region is as sure as it has to be to assert it, or two regions say it."""
        return len(self._rests_on) > 1 or any(
            partial.confidence >= partial.threshold for partial, _ in self._rests_on.values()
        )

    @property
    def reason(self) -> str:
        """The reason of the first region's partial."""
        return self._rests_on[self.regions[0]][0].reason

    @property
    def weighted_probability(self) -> float:
        """Sum over the regions of weight x probability."""
        return sum(values["weight"] * values["probability"] for values in self.support.values())


@dataclass(frozen=True, slots=True)
class Fused:
    """The state of one fusion.

    Attributes:
        ranked: Claims, best first.
        lead: Score of the best minus score of the second best.
        open_weight: The most that the missing regions can still add to one claim.
        confidence: Weighted probability of the best over the most it could have got from the regions that answered.
    """

    ranked: list[Scored]
    lead: float
    open_weight: float
    confidence: float

    @property
    def settled(self) -> bool:
        """Whether no missing region can change which claim wins."""
        return bool(self.ranked) and self.lead > self.open_weight + _ROUNDING


def fuse(
    partials: Mapping[str, Partial],
    route_probs: Mapping[str, float],
    asked: list[str],
    reliability: Mapping[str, float],
    trust: Mapping[str, Trust] | None = None,
    question: str = "",
) -> Fused:
    """Fuse the partials that there are.

    Args:
        partials: Final partials by region; those with an error contribute nothing.
        route_probs: By region; those not named count as 0.
        asked: All regions that were asked.
        reliability: By region; those not named count as 1.
        trust: By region; those not named are trusted as far as they trust themselves.
        question: What was asked.
    """
    trust = trust or {}

    def most(region: str) -> float:
        """Return the most that a region can add to one claim."""
        believed = trust[region](1.0) if region in trust else 1.0
        return route_probs.get(region, 0.0) * reliability.get(region, 1.0) * believed

    claims: dict[str, Scored] = {}
    answered = 0.0
    for region, partial in partials.items():
        if partial.error is not None or not partial.candidates:
            continue
        answered += most(region)
        believed = trust[region](partial.confidence) if region in trust else partial.confidence
        weight = route_probs.get(region, 0.0) * reliability.get(region, 1.0) * believed
        for candidate in partial.candidates:
            scored = claims.setdefault(claim(candidate.text, question), Scored(candidate.text))
            scored.add(region, candidate, partial, weight)
    for scored in claims.values():
        for region, support in scored.support.items():
            probability = support["probability"]
            scored.score += support["weight"] * (trust[region].share(probability) if region in trust else probability)
    ranked = sorted(claims.values(), key=lambda s: s.score, reverse=True)
    best = ranked[0].score if ranked else 0.0
    second = ranked[1].score if len(ranked) > 1 else 0.0
    open_weight = sum(most(region) for region in asked if region not in partials)
    confidence = ranked[0].weighted_probability / answered if ranked and answered > 0 else 0.0
    return Fused(ranked, best - second, open_weight, min(1.0, confidence))

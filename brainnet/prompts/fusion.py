"""How partial answers of several regions become one, and when waiting for more can no longer change it.

A region r answers with candidates c of probability p_r(c) and a confidence k_r. Its weight is

    w_r = route probability x trust_r(k_r) x reliability,     all in [0, 1]

and candidates that claim the same pool: score(c) = sum over r of w_r * share_r(p_r(c)). The highest score wins. Trust
and share are learned by region (`Trust`): how far its confidence has earned belief, and how much it speaks against a
claim that it gives little probability. A share is 0 for what a region does not say, 1 for what it is certain of, and
logarithmic in between, so that scores add up evidence (a logarithmic opinion pool; Genest and Zidek 1986, *Combining
Probability Distributions*). A region of which nothing was learned counts with its confidence and probabilities as they
are. A region r that has not answered can add at most u_r = route probability x reliability x trust_r(1) to any one
claim, so the outcome is settled as soon as

    score(best) - score(second best) > sum of u_r over the regions still missing.

What a candidate claims depends on it and on the question alone, never on the other candidates; so an early outcome is
the outcome of waiting for all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from brainnet.errors import ModelError
from brainnet.wire.messages import Candidate, Partial

_ROUNDING = 1e-9
"""A lead must be larger than what is open by more than float64 sums can err."""
_SURE = 1e-4
"""Confidences are trusted as if they kept this distance from 0 and 1."""

_WORD = re.compile(r"[^\W_]+(?:[-'’.][^\W_]+)*")
_DIGITS = {
    word: str(value)
    for value, word in enumerate(_WORD.findall("zero one two three four five six seven eight nine ten eleven twelve"))
}
_LIGHT = frozenset(
    _WORD.findall("""
        a an the this that these those it its there here i me my we our you your is are was were be been being am has
        have had bears bear shows show carries carry reads read says say shown seen of and now
        digit number numeral picture image photo animal vehicle garment piece clothing item thing object
    """)
)
"""Words that claim nothing by themselves: grammar, and names for the sort of answer rather than the answer."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What experience with a region taught: how far to believe it, and what its probabilities are worth.

    A confidence k is believed as sigmoid(slope * logit(k) + offset), increasing in k (Platt 1999). A probability p
    counts ln(1 + p / floor) / ln(1 + 1 / floor): below the `floor` one is as good as another. An infinite floor
    counts p itself.
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
        kept = min(1 - _SURE, max(_SURE, confidence))
        # tanh, as a sigmoid that does not overflow
        return (1 + math.tanh((self.slope * math.log(kept / (1 - kept)) + self.offset) / 2)) / 2

    def share(self, probability: float) -> float:
        """What a probability counts, in [0, 1] and increasing."""
        if math.isinf(self.floor):
            return probability
        return math.log1p(probability / self.floor) / math.log1p(1 / self.floor)


def load_trust(path: Path | str) -> dict[str, Trust]:
    """Trust by region, from the weights that `brainnet train` makes.

    Raises:
        ModelError: naming the file when it is missing or holds none.
    """
    try:
        with safe_open(str(path), framework="np") as file:
            names = json.loads((file.metadata() or {})["regions"])
            rows = file.get_tensor("trust").tolist()
        return {str(name): Trust(*map(float, row)) for name, row in zip(names, rows, strict=True)}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} holds no trust by region ({error}); `brainnet train` makes it") from error


@dataclass(slots=True)
class Scored:
    """A claim: its score, who made it and in whose words, and what it rests on.

    `content` is the regions' own by region; `support` says what each gave: its probability for the claim, its
    confidence and its weight.
    """

    text: str
    score: float = 0.0
    content: dict[str, Any] = field(default_factory=dict)
    support: dict[str, dict[str, float]] = field(default_factory=dict)
    _strongest: float = -1.0

    def add(self, region: str, candidate: Candidate, partial: Partial, weight: float) -> None:
        """One more candidate that claims this; several of one region count as one, of at most probability 1."""
        if region not in self.support:
            self.content[region] = partial.content | candidate.content
            self.support[region] = {"probability": 0.0, "confidence": partial.confidence, "weight": weight}
        given = self.support[region]
        given["probability"] = min(1.0, given["probability"] + candidate.probability)
        if weight * candidate.probability > self._strongest:  # the wording of whoever is surest
            self._strongest, self.text = weight * candidate.probability, candidate.text
            self.content[region] = partial.content | candidate.content

    @property
    def regions(self) -> list[str]:
        """Who claims it, whoever gives the most first, then by name: never by the order of arrival."""
        given = {region: values["weight"] * values["probability"] for region, values in self.support.items()}
        return sorted(given, key=lambda region: (-given[region], region))

    @property
    def weighed_probability(self) -> float:
        """The regions' probabilities for this claim, times their weights."""
        return sum(given["weight"] * given["probability"] for given in self.support.values())


@dataclass(frozen=True, slots=True)
class Fused:
    """The state of one fusion.

    Attributes:
        ranked: claims, best first.
        lead: score of the best minus score of the second best.
        open_weight: the most that the missing regions can still add to one claim.
        confidence: weighed probability of the best over the most it could have got from the regions that answered.
    """

    ranked: list[Scored]
    lead: float
    open_weight: float
    confidence: float

    @property
    def settled(self) -> bool:
        """Whether no missing region can change which claim wins."""
        return bool(self.ranked) and self.lead > self.open_weight + _ROUNDING


def claim(text: str, question: str = "") -> str:
    """What `text` says in answer to `question`: its words without the question's and those that claim nothing.

    Case and punctuation do not count, and number words are numbers. Where nothing is left, all its words are its claim.
    """
    said = _words(text)
    told = [word for word in said if word not in _LIGHT]
    asked = set(_words(question))
    return " ".join([word for word in told if word not in asked] or told or said)


def _words(text: str) -> list[str]:
    found = (word.replace("’", "'").removesuffix("'s") for word in _WORD.findall(text.casefold()))
    return [_DIGITS.get(word, word) for word in found]


def fuse(
    partials: Mapping[str, Partial],
    route_probs: Mapping[str, float],
    asked: list[str],
    reliability: Mapping[str, float],
    trust: Mapping[str, Trust] | None = None,
    question: str = "",
) -> Fused:
    """Fuse what there is.

    Args:
        partials: final partials by region; those with an error contribute nothing.
        route_probs: by region, those not named count as 0.
        asked: all regions that were asked.
        reliability: by region, those not named count as 1.
        trust: by region, those not named are trusted as far as they trust themselves.
        question: what was asked.
    """
    trust = trust or {}

    def most(region: str) -> float:
        """What the region can give to one claim at most."""
        believed = trust[region](1.0) if region in trust else 1.0
        return route_probs.get(region, 0.0) * reliability.get(region, 1.0) * believed

    claims: dict[str, Scored] = {}
    heard = 0.0
    for region, partial in partials.items():
        if partial.error is not None or not partial.candidates:
            continue
        heard += most(region)
        believed = trust[region](partial.confidence) if region in trust else partial.confidence
        weight = route_probs.get(region, 0.0) * reliability.get(region, 1.0) * believed
        for candidate in partial.candidates:
            scored = claims.setdefault(claim(candidate.text, question), Scored(candidate.text))
            scored.add(region, candidate, partial, weight)
    for scored in claims.values():
        for region, given in scored.support.items():
            counted = trust[region].share(given["probability"]) if region in trust else given["probability"]
            scored.score += given["weight"] * counted
    ranked = sorted(claims.values(), key=lambda s: s.score, reverse=True)
    best = ranked[0].score if ranked else 0.0
    second = ranked[1].score if len(ranked) > 1 else 0.0
    open_weight = sum(most(region) for region in asked if region not in partials)
    confidence = ranked[0].weighed_probability / heard if ranked and heard > 0 else 0.0
    return Fused(ranked, best - second, open_weight, min(1.0, confidence))

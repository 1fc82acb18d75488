"""The statements that were found for a question: how well each matches, which one holds now, and the answer of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

from brainnet import Candidate, Partial
from brainnet.memory import Episode, Hit, terms

SAME_STRENGTH = 0.01
"""Difference below which two statements are equally strong evidence."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A statement that was found, and how well it matches the question.

    Attributes:
        hit: The search result.
        strength: Share of the question that the statement contains, in [0, 1].
        matched: The words of the question that it contains.
    """

    hit: Hit
    strength: float
    matched: frozenset[str]

    @property
    def text(self) -> str:
        """The statement."""
        return self.hit.episode.text


def newest_of_same_subject(evidence: list[Evidence]) -> list[Evidence]:
    """Put the newest of the equally strong statements about the same subject first.

    "The key is in the car" after "The key is in the drawer": the two differ only in the place, so the newer one holds.

    Args:
        evidence: Statements, strongest first; at least one.
    """
    first, *others = evidence
    equal = [
        other
        for other in others
        if abs(other.strength - first.strength) < SAME_STRENGTH and _same_subject(first, other)
    ]
    # By the order of storing: the clock may have been set back between the two.
    newest = max([first, *equal], key=lambda other: other.hit.episode.episode_id)
    return [newest, *(other for other in evidence if other is not newest)]


def _same_subject(one: Evidence, other: Evidence) -> bool:
    """Return whether all matched words lie in the common beginning of the two statements."""
    if one.matched != other.matched:
        return False
    pairs = zip(terms(one.text), terms(other.text), strict=False)
    shared = {term for term, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)}
    return bool(one.matched) and shared.issuperset(term for word in one.matched for term in terms(word))


def answer_of(evidence: list[Evidence]) -> Partial:
    """Make an answer with a candidate for each statement, and a citation of all of them in the content."""
    # The rank counts too: each further place halves the weight.
    weights = [item.strength / 2**place for place, item in enumerate(evidence)]
    candidates = [
        Candidate(text=item.text, probability=weight / sum(weights), content=_evidence_content(item))
        for item, weight in zip(evidence, weights, strict=True)
    ]
    recalled = [{"text": item.text, **_evidence_content(item)} for item in evidence]
    content = {**_evidence_content(evidence[0]), "recalled": recalled}
    return Partial(candidates=candidates, confidence=min(1.0, evidence[0].strength), content=content)


def _evidence_content(evidence: Evidence) -> dict[str, object]:
    hit = evidence.hit
    stored = citation(hit.episode)
    similarity = "" if hit.similarity is None else f", similarity {hit.similarity:.2f}"
    return {
        **stored,
        "score": hit.score,
        "evidence": round(evidence.strength, 4),
        "matched": sorted(evidence.matched),
        "bm25_rank": hit.bm25_rank,
        "vector_rank": hit.vector_rank,
        "similarity": hit.similarity,
        "source": f"stored {stored['stored_at']} (episode {hit.episode.episode_id}, score {hit.score:.4f}{similarity})",
    }


def citation(episode: Episode) -> dict[str, object]:
    """Return which episode was stored or found, and when it was stored."""
    stored = datetime.fromtimestamp(episode.created_ns / 1e9, UTC)
    return {
        "episode_id": episode.episode_id,
        "created_ns": episode.created_ns,
        "stored_at": stored.isoformat(timespec="seconds"),
    }

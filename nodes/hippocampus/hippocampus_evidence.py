"""The statements that were found for a question, how probably each answers it, and the answer that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from brainnet import Candidate, Partial
from brainnet.memory import Episode, Hit
from hippocampus_judge import BLEND
from hippocampus_reading import Reading, Word

FOUND = 0.5
"""How well a word is found in a statement from which on the statement holds it, in other words perhaps."""
ALIKE = 0.6
"""Difference of the probabilities up to which the newer of two statements about the same subject holds."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A statement that was found, and how it was judged.

    Attributes:
        hit: The search result.
        text: What is answered: the statement, or the sentence of a passage.
        probability: How probably it answers the question.
        reading: Its words.
        words: The content words of the question.
        found: How well each of them is found in it, in [0, 1].
        explained: How well each word of `reading` is found in the question, in [0, 1].
        verdict: What is said before the statement: "Yes", "No", or "".
        position: Its place among those that were judged together.
        figures: Of the judge, by which it was judged, [BLEND].
        affirms: How probably it says yes to a question for yes or no, rather than no.
    """

    hit: Hit
    text: str
    probability: float
    reading: Reading
    words: tuple[Word, ...]
    found: tuple[float, ...]
    explained: tuple[float, ...]
    verdict: str = ""
    position: int = 0
    figures: NDArray[np.float32] = field(default_factory=lambda: np.zeros(BLEND, np.float32), compare=False, repr=False)
    affirms: float = 1.0

    @property
    def episode(self) -> Episode:
        """The episode that it comes from."""
        return self.hit.episode

    @property
    def matched(self) -> list[str]:
        """The words of the question that it holds."""
        return [word.word for word, found in zip(self.words, self.found, strict=True) if found >= FOUND]

    @property
    def missing(self) -> list[Word]:
        """The words of the question that it does not hold."""
        return [word for word, found in zip(self.words, self.found, strict=True) if found < FOUND]

    @property
    def new(self) -> list[Word]:
        """The words of the statement that are not in the question."""
        return [word for word, known in zip(self.reading.words, self.explained, strict=True) if known < FOUND]

    @property
    def share(self) -> float:
        """The share of the question's words that it holds."""
        return len(self.matched) / max(1, len(self.words))

    def judged(self, verdict: str, probability: float | None = None) -> Evidence:
        """Return the same with a verdict, and perhaps another probability."""
        return replace(self, verdict=verdict, probability=self.probability if probability is None else probability)


def newest_of_same_subject(evidence: Sequence[Evidence], answer_type: str = "") -> list[Evidence]:
    """Put the newest of the statements about the same subject first.

    "I put the key into the car" after "The key is in the drawer": both hold the same words of the question, and differ
    in what they say of it, so the newer one holds.

    Args:
        evidence: Statements, most probable first; at least one.
        answer_type: What the question asks for; to "who", the names are the answer and not the subject.
    """
    first, *others = evidence
    equal = [
        other
        for other in others
        if first.probability - other.probability <= ALIKE and same_subject(first, other, answer_type)
    ]
    # By the order of storing: the clock may have been set back between the two.
    newest = max([first, *equal], key=lambda other: other.episode.episode_id)
    return [newest, *(other for other in evidence if other is not newest)]


def same_subject(one: Evidence, other: Evidence, answer_type: str = "") -> bool:
    """Return whether two statements hold the same words of the question, and are about nothing else besides."""
    if one.episode.kind != other.episode.kind or one.matched != other.matched:
        return False
    if not _held(one) & _held(other):
        # "The car" and "the bikes" are both vehicles.
        return False
    if answer_type in ("place", "time", "number") and not getattr(other.reading, answer_type):
        return False
    return _besides(one, answer_type) == _besides(other, answer_type)


def _held(evidence: Evidence) -> set[str]:
    """Return the terms of the statement's words that the question has."""
    return {
        term
        for word, known in zip(evidence.reading.words, evidence.explained, strict=True)
        if known >= FOUND
        for term in word.terms
    }


def _besides(evidence: Evidence, answer_type: str) -> set[frozenset[str]]:
    """Return the words before the verb, and owners, that the question does not have: "the key of the *car* is"."""
    return {
        word.terms for word in evidence.new
        if (word.before or word.owner) and not (answer_type == "person" and word.name)
        and not (word.number and answer_type in ("number", "time"))
        and _subject_first(evidence)
    }  # fmt: skip


def _subject_first(evidence: Evidence) -> bool:
    """Return whether a word of the question stands before the verb: else the value does ("Red is my colour")."""
    words = evidence.reading.words
    if all(word.before for word in words):
        # No small verb divides it: "I put the key into the car."
        return False
    return any(word.before and known >= FOUND for word, known in zip(words, evidence.explained, strict=True))


def answer_of(evidence: Sequence[Evidence], limit: int, together: int = 1) -> Partial:
    """Make an answer with a candidate for each statement, and a citation of all of them in the content.

    Args:
        evidence: The statements, the best first.
        limit: Number of candidates.
        together: Statements that make one answer together, the first of these candidates.
    """
    first, evidence = evidence[:together], evidence[: max(limit, together)]
    # The rank counts too: each further place halves the weight.
    weights = [max(item.probability, 1e-6) / 2**place for place, item in enumerate(evidence)]
    candidates = [
        Candidate(text=said_of(item), probability=weight / sum(weights), content=_evidence_content(item))
        for item, weight in zip(evidence, weights, strict=True)
    ]
    if len(first) > 1:
        text = " ".join(_closed(said_of(item)) for item in first)
        candidates[0] = candidates[0].model_copy(update={"text": text})
        candidates = [candidates[0], *candidates[len(first) :]]
    recalled = [{"text": item.text, **_evidence_content(item)} for item in evidence]
    content = {**_evidence_content(evidence[0]), "recalled": recalled}
    return Partial(candidates=candidates, confidence=min(1.0, evidence[0].probability), content=content)


def _closed(text: str) -> str:
    """Return a text that another one can follow."""
    return text if text[-1:] in ".!?。！？।…)" else f"{text}."


def said_of(evidence: Evidence) -> str:
    """Return a statement as it is answered: with its verdict, and for a passage with its source."""
    text = f"{evidence.verdict}: {evidence.text}" if evidence.verdict else evidence.text
    source = source_of(evidence.episode)
    return f"{text} ({source})" if source else text


def source_of(episode: Episode) -> str:
    """Return the document of a passage and its page, as it is cited; "" for a statement."""
    source = episode.metadata.get("source")
    if episode.kind != "passage" or not isinstance(source, str) or not source:
        return ""
    name = source.replace("\\", "/").rstrip("/").rpartition("/")[2] or source
    page = episode.metadata.get("page")
    return f"{name}, page {page}" if isinstance(page, int) and not isinstance(page, bool) else name


def _evidence_content(evidence: Evidence) -> dict[str, object]:
    hit = evidence.hit
    stored = citation(hit.episode)
    similarity = "" if hit.similarity is None else f", similarity {hit.similarity:.2f}"
    document = {
        key: hit.episode.metadata[key]
        for key in ("source", "page", "offset", "title")
        if hit.episode.kind == "passage" and key in hit.episode.metadata
    }
    return {
        **stored,
        "score": hit.score,
        "evidence": round(evidence.probability, 4),
        "matched": sorted(evidence.matched),
        "bm25_rank": hit.bm25_rank,
        "vector_rank": hit.vector_rank,
        "similarity": hit.similarity,
        "source": f"stored {stored['stored_at']} (episode {hit.episode.episode_id}, score {hit.score:.4f}{similarity})",
        **({"document": document} if document else {}),
        **({"verdict": evidence.verdict} if evidence.verdict else {}),
    }


def citation(episode: Episode) -> dict[str, object]:
    """Return which episode was stored or found, and when it was stored."""
    stored = datetime.fromtimestamp(episode.created_ns / 1e9, UTC)
    return {
        "episode_id": episode.episode_id,
        "created_ns": episode.created_ns,
        "stored_at": stored.isoformat(timespec="seconds"),
    }

"""Finds what memory holds on a question, and judges it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainnet.memory import EpisodicStore, Hit, guess_language
from hippocampus_cross_encoder import CrossEncoder
from hippocampus_evidence import FOUND, Evidence, same_subject
from hippocampus_grammar import TIME_WORDS, YES_NO
from hippocampus_judge import IS_BARRED, NEAR, SISTER, Judge
from hippocampus_reading import Reading, Word, rarity

STATEMENT = "statement"
"""Kind of the episodes that are recalled."""
PASSAGE = "passage"
"""Kind of the episodes that are parts of documents; they are recalled sentence by sentence."""
FOUND_FIRST = 40
"""Episodes that a search hands to the judge."""
PASSAGES = 6
"""Passages of those whose sentences are judged."""
SENTENCES = 12
"""Sentences of a passage that are judged."""
READ_PROBABLE, READ_SIMILAR = 5, 3
"""Statements that the cross-encoder reads with a question: the most probable ones, and of the rest the most similar."""
SURE_SIGN = 0.6
"""How sure it must be whether a statement says yes or no."""
SURE_VERDICT = 0.5
"""Probability from which on a statement that was read may be a verdict; it has to be sure of the sign, too."""
SURE_DENIAL = 0.92
"""Probability from which on a statement denies a claim, although no word of it is seen to exclude one of the claim."""
SURE_KIND = 0.97
"""Probability from which on a statement answers a question all of whose words it has, but without a word of the kind
that is asked for."""
SURE_THING = 0.75
"""The same of one that has no word for the thing that is asked for, the last word of the question."""
CLOSE = 0.5
"""A verdict of a newer statement may be so much less probable, and holds all the same."""
NEWER = 0.3
"""Probability from which on a newer statement speaks against an older one."""
RELATED = 0.4
"""Similarity of two words from which on one may stand where the other stands."""
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")
_SEVERAL = frozenset(
    "like likes love loves enjoy enjoys speak speaks play plays have has own owns know knows collect allergic".split()  # noqa: SIM905
)
"""Words of what there may be several of: who likes tea may like coffee, too."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for: the text, its content words, and the kind of answer."""

    text: str
    words: tuple[str, ...]
    answer_type: str = ""
    language: str = "en"


class Recall:
    """Searches a store and judges what it finds.

    Args:
        judge: The judge.
        vector: Computes the vector of a text.
        reader: Reads the most probable statements together with the question; None to do without.
    """

    def __init__(
        self, judge: Judge, vector: Callable[[str], NDArray[np.int8]], reader: CrossEncoder | None = None
    ) -> None:
        self.judge = judge
        self.reader = reader
        self._vector = vector

    def find(self, store: EpisodicStore, sought: Sought, kinds: Sequence[str] = (STATEMENT, PASSAGE)) -> list[Evidence]:
        """Return the statements that may answer, the most probable first; it writes nothing.

        With a cross-encoder, only what it has read is returned.
        """
        evidence = self.search(store, sought, kinds)
        return self._read(self.reader, sought, evidence) if self.reader else evidence

    def search(
        self, store: EpisodicStore, sought: Sought, kinds: Sequence[str] = (STATEMENT, PASSAGE)
    ) -> list[Evidence]:
        """Return the statements that may answer, as the judge ranks them by words and vectors alone."""
        question = self.judge.read(sought.text, sought.words, sought.language)
        if not question.words:
            return []
        words = " ".join(sought.words)
        hits = store.search(words, self._vector(words), FOUND_FIRST, kinds)
        return self._judge(store, question, sought.answer_type, hits)

    @property
    def threshold(self) -> float:
        """Probability from which on something is asserted."""
        return self.reader.threshold if self.reader else self.judge.threshold

    def _read(self, reader: CrossEncoder, sought: Sought, evidence: list[Evidence]) -> list[Evidence]:
        asked = self.judge.read(sought.text, sought.words)
        evidence = [one for one in evidence if not _of_other(asked, one)]
        # Of those that the judge finds about equally probable, the newest: it may correct the others.
        probable = sorted(evidence, key=lambda one: (-round(one.probability, 1), -one.episode.episode_id))
        chosen = probable[:READ_PROBABLE]
        chosen += sorted(probable[READ_PROBABLE:], key=lambda one: -(one.hit.similarity or 0.0))[:READ_SIMILAR]
        if not chosen:
            return []
        judged = np.stack([one.figures for one in chosen])
        affirms, probabilities = reader.judge(sought.text, [one.text for one in chosen], judged)
        read = []
        for one, yes, probability in zip(chosen, affirms.tolist(), probabilities.tolist(), strict=True):
            # What holds every word of the question, and a "not" beside: "The car is no longer in the garage."
            denies = not one.missing and one.reading.negated != asked.negated
            # "Who repaired the pump?" and "The pump was repaired in May.": all is there but the answer.
            lacks = one.figures is not None and one.figures[IS_BARRED] and not one.missing and probability < SURE_KIND
            # "What is the door code?" and "The door is green.": what is asked for is not there.
            lacks = lacks or (
                sought.answer_type == "thing"
                and any(word.word == one.words[-1].word for word in one.missing)
                and probability < SURE_THING
            )
            surely = probability * (1 - SURE_KIND) if lacks else probability
            read.append(replace(one, probability=surely, affirms=min(yes, 1 - yes) if denies else yes))
        read = _ordered(read)
        # What is said again and again is not all read; the newest of it holds.
        first, seen = read[0], {one.position for one in read}
        again = [one for one in evidence if one.position not in seen and same_subject(first, one, sought.answer_type)]
        newest = max(again, key=lambda one: one.episode.episode_id, default=first)
        if newest.episode.episode_id > first.episode.episode_id:
            read.append(replace(newest, probability=first.probability, affirms=first.affirms))
        return read

    def _judge(self, store: EpisodicStore, question: Reading, answer_type: str, hits: Sequence[Hit]) -> list[Evidence]:
        said = [(hit, text) for hit in _few_passages(hits) for text in _sentences(hit)]
        if not said:
            return []
        readings = [self.judge.read(text) for _, text in said]
        total = store.count([STATEMENT, PASSAGE])
        held = store.document_frequencies([word.word for word in question.words], [STATEMENT, PASSAGE])
        features = self.judge.features(
            question,
            answer_type,
            readings,
            [rarity(held[word.word], total) for word in question.words],
            [hit.similarity or 0.0 for hit, _ in said],
            total,
        )
        figures = self.judge.figures(features)
        probabilities = self.judge.probabilities(figures).tolist()
        ends = [*features.starts[1:].tolist(), len(features.said)]
        evidence = [
            Evidence(
                hit, text, probability, reading, question.words, tuple(found.tolist()),
                tuple(features.explained[start:end].tolist()), position=position, figures=figures[position],
            )
            for position, ((hit, text), probability, reading, found, start, end) in enumerate(zip(
                said, probabilities, readings, features.found, features.starts.tolist(), ends, strict=True
            ))
        ]  # fmt: skip
        return _ordered(evidence)

    def verdicts(
        self, store: EpisodicStore, sought: Sought, threshold: float, language: str
    ) -> tuple[list[Evidence], float]:
        """Find what says that a claim is so, or is not so.

        Args:
            store: The memory.
            sought: The claim, or the question that holds it.
            threshold: Probability from which on something is asserted.
            language: Language of the verdict.

        Returns:
            The statements with their verdicts, the best first; and the largest probability of one without a verdict.
        """
        evidence = self.find(store, sought)
        if language in ("", "en") and evidence:
            # A short question may be taken for English: "Wohnt Katrin in Bremen?"
            language = guess_language(evidence[0].text) or "en"
        yes, no = YES_NO.get(language, YES_NO["en"])
        if self.reader:
            found = [
                one.judged(yes if one.affirms >= 0.5 else no)
                for one in evidence
                if one.probability >= SURE_VERDICT
                and max(one.affirms, 1 - one.affirms) >= SURE_SIGN
                and (one.affirms >= 0.5 or one.probability >= SURE_DENIAL or self._may_deny(one, language))
            ]
            best = max((one.probability for one in evidence), default=0.0)
            return _holding([one for one in found if one.probability >= best - CLOSE], yes), best
        asked = self.judge.read(sought.text, sought.words)
        evidence = [one for one in evidence if not _of_other(asked, one)]
        found = [
            one.judged(no if one.reading.negated else yes)
            for one in evidence
            if not one.missing and one.probability >= min(threshold, 0.5)
        ]
        others = [one for one in evidence if one.missing and one.matched and not one.reading.negated][:12]
        for missing in list(dict.fromkeys(tuple(word.word for word in one.missing) for one in others))[:4]:
            same = [one for one in others if tuple(word.word for word in one.missing) == missing]
            words = tuple(word for word in sought.words if word not in missing)
            kind = _kind_of(same[0].missing)
            again = self.find(store, Sought(_without(sought.text, missing), words, kind, sought.language), [STATEMENT])
            probabilities = {one.episode.episode_id: one for one in again}
            for one in same:
                rejudged = probabilities.get(one.episode.episode_id)
                # A newer statement about the same subject holds, even if it fits less well.
                newer = any(one.episode.episode_id > older.episode.episode_id for older in found)
                if rejudged is None or rejudged.probability < (min(threshold, NEWER) if newer else threshold):
                    continue
                if _about_something(one, kind) and self._contradicts(one.missing, one, kind, language):
                    found.append(one.judged(no, rejudged.probability))
        best = max((one.probability for one in evidence), default=0.0)
        return _holding(found, yes), best

    def _may_deny(self, one: Evidence, language: str) -> bool:
        """Return whether a statement has another value of the kind that it lacks: where the car is denies no colour."""
        return not one.missing or self._contradicts(one.missing, one, _kind_of(one.missing), language)

    def _contradicts(self, missing: Sequence[Word], one: Evidence, kind: str, language: str) -> bool:  # noqa: PLR0911 - one rule per return
        """Return whether a statement says another value of the kind that the claim has."""
        new = [word for word in one.new if word.word not in one.matched]
        if kind == "place":
            return any(word.place for word in new)
        if kind == "number":
            return any(word.number for word in new)
        if kind == "time":
            return any(word.word in TIME_WORDS or word.number for word in new)
        if kind == "person":
            return any(word.name for word in new)
        if any(word.word in _SEVERAL for word in one.words) or any(w.word in _SEVERAL for w in one.reading.words):
            return False
        untyped = [word for word in new if not (word.place or word.number or word.name)]
        if not untyped:
            return False
        if language not in ("", "en"):
            return True
        table = self.judge.compare(missing, untyped)
        return bool((table[:, :, SISTER] >= FOUND).any() or (table[:, :, NEAR] >= RELATED).any())


def _of_other(asked: Reading, one: Evidence) -> bool:
    """Return whether a statement is about the user where the question is about the brain, or the reverse."""
    return (asked.your and one.reading.my and not one.reading.your) or (
        asked.my and one.reading.your and not one.reading.my
    )


def _ordered(evidence: Sequence[Evidence]) -> list[Evidence]:
    # A statement wins against a passage, then the order of the search decides. Rounded, so that it can.
    return sorted(
        evidence,
        key=lambda item: (-round(item.probability, 2), item.episode.kind != STATEMENT, -item.hit.score),
    )


def _about_something(one: Evidence, kind: str) -> bool:
    """Return whether a statement holds what a claim is about, and lacks what the claim says of it: not the reverse."""
    held = [found >= FOUND for found in one.found]
    return kind == "person" or held[0] or held.index(True) < held.index(False)


def _holding(found: list[Evidence], yes: str) -> list[Evidence]:
    """Return the verdicts, the one that holds first: of one value the newest, of several the one that says yes."""
    if not found:
        return []

    def several(one: Evidence) -> bool:
        return any(word.word in _SEVERAL for word in (*one.words, *one.reading.words))

    if any(several(one) for one in found):
        return sorted(found, key=lambda one: (one.verdict != yes, -one.probability))
    return sorted(found, key=lambda one: -one.episode.episode_id)


def _kind_of(missing: Sequence[Word]) -> str:
    if any(word.word in TIME_WORDS for word in missing):
        return "time"
    if any(word.number for word in missing):
        return "number"
    if any(word.place for word in missing):
        return "place"
    return "person" if any(word.name for word in missing) else ""


def _without(text: str, words: Sequence[str]) -> str:
    """Return a text without some words; what is left keeps its capitals."""
    left = set(words)
    return " ".join(part for part in text.split() if part.strip(".,;:!?").lower().removesuffix("'s") not in left)


def _few_passages(hits: Sequence[Hit]) -> list[Hit]:
    passages = [hit for hit in hits if hit.episode.kind == PASSAGE][:PASSAGES]
    return [*(hit for hit in hits if hit.episode.kind != PASSAGE), *passages]


def _sentences(hit: Hit) -> list[str]:
    """Return what of an episode can be an answer: a statement, or each sentence of a passage."""
    text = hit.episode.text
    if hit.episode.kind != PASSAGE:
        return [text]
    parts = [" ".join(part.split()) for part in _SENTENCE_END.split(text)]
    return [part for part in parts if part][:SENTENCES] or [text]


def next_sentence(evidence: Evidence) -> Evidence:
    """Return the evidence of a passage with the sentence that follows, for an answer that ends with a colon."""
    parts = _sentences(evidence.hit)
    at = parts.index(evidence.text) if evidence.text in parts else len(parts)
    if evidence.text.endswith(":") and at + 1 < len(parts):
        return replace(evidence, text=f"{evidence.text} {parts[at + 1]}")
    return evidence

"""Decides what answers a question that refers to the last turns of its session: "and Tom's?", "the other one?"."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from brainnet.memory import Episode, EpisodicStore, Hit, plain_words, terms
from hippocampus_evidence import Evidence
from hippocampus_plans import SURE, Plan, why, without_words
from hippocampus_prompts import Asked
from hippocampus_reading import Word, content_of
from hippocampus_recall import STATEMENT, Recall, Sought
from hippocampus_turns import Turn
from hippocampus_wording import PRONOUNS

OTHER_SURE = 0.85
"""Factor on the threshold for "the other one"."""
FOLLOWING_SURE = 0.85
"""The same for a question that is read behind what was said last."""
READ_VARIANTS = 2
"""Meanings of a question that goes on that are read with what is known; reading takes its time."""
_OTHER = frozenset(
    plain_words("other another else andere anderen anderer autre otro otra altro altra outro outra ander andra anden")
)


class FollowUps:
    """Answers questions that refer to what was said last.

    Args:
        recall: Finds and judges.
        answer: Answers a question by itself: the memory, what was understood, what is sought, and the threshold.
    """

    def __init__(self, recall: Recall, answer: Callable[[EpisodicStore, Asked, Sought, float], Plan]) -> None:
        self._recall, self._answer = recall, answer

    def answer(self, store: EpisodicStore, asked: Asked, text: str, turns: list[Turn], threshold: float) -> Plan | None:
        """Answer a question that refers to the last turns; None if that leads to nothing."""
        last = turns[0]
        said = set(plain_words(text))
        own = [word for word in asked.subject if word not in _OTHER]
        if said & _OTHER and len(own) <= 1 and last.words:
            return self._other_one(store, asked, last)
        if asked.answer_type == "time" and not own and last.episodes:
            return self._when(store, asked, last)
        reads = self._recall.reader is not None
        if reads and (plan := self._next_question(store, asked, text, turns, threshold)) is not None:
            return plan
        best: Plan | None = None
        for turn in turns[:2]:
            for sought in self._variants(store, asked, text, own, turn)[: READ_VARIANTS if reads else None]:
                plan = self._answer(store, asked, sought, threshold)
                if (
                    plan.kind == "answer"
                    and _holds(plan.evidence[0], own)
                    and (best is None or plan.probability > best.probability)
                ):
                    best = plan
            if best is not None:
                return best
        return None

    def _next_question(
        self, store: EpisodicStore, asked: Asked, text: str, turns: list[Turn], threshold: float
    ) -> Plan | None:
        """Answer a question that is read together with what was said last: that says what it refers to.

        Where it is answered by itself more surely ("And the password?"), it refers to nothing.
        """
        read = self._recall.judge.read
        own = content_of(asked.subject)
        answers: list[Plan] = []
        for turn in turns[:2]:
            said = turn.said or turn.text
            words = [*own, *(word.word for word in read(said).words), *turn.words]
            sought = Sought(f"{said} {text}", tuple(dict.fromkeys(words)), asked.answer_type, asked.language)
            # Less has to be sure: what was said before leaves little that can be meant.
            sure = FOLLOWING_SURE * threshold
            plan = _told_of(self._answer(store, asked, sought, sure), own, sure)
            answers = [plan] if plan.kind == "answer" else []
            if answers:
                break
        # A name alone ("And Marek?") would be answered with anything about it.
        if any(not word.name for word in read(text, own).words):
            bare = self._answer(store, asked, Sought(text, tuple(own), asked.answer_type, asked.language), threshold)
            answers += [bare] if bare.kind == "answer" else []
        return max(answers, key=lambda plan: plan.probability) if answers else None

    def _variants(self, store: EpisodicStore, asked: Asked, text: str, own: Sequence[str], turn: Turn) -> list[Sought]:
        """Return what a question may mean after a turn."""
        read = self._recall.judge.read
        mine = read(text, own).words
        theirs = read(turn.text, turn.words).words
        subject = [word for word in theirs if word.name or word.number] or list(theirs[-1:])
        about = [word for word in read(turn.said).words if word.before]
        both = f"{turn.text} {text}"
        answer_type = asked.answer_type or turn.answer_type
        found: list[Sought] = []

        def add(text: str, words: Sequence[str], answer_type: str) -> None:
            sought = Sought(text, tuple(dict.fromkeys(words)), answer_type, asked.language)
            if sought.words and sought not in found:
                found.append(sought)

        if own and not set(plain_words(text)) & PRONOUNS:
            # "And Tom's?": the relation of the last question, of another one.
            swapped = _swapped(theirs, mine)
            add(f"{without_words(turn.text, theirs, swapped)} {text}", [*swapped, *own], answer_type)
            add(both, [*(w.word for w in theirs), *own], answer_type)
        if subject:
            add(both, [*(w.word for w in subject), *own], asked.answer_type or turn.answer_type)
        if about:
            add(f"{turn.said} {text}", [*(w.word for w in about), *own], asked.answer_type)
        if theirs:
            add(both, [*(w.word for w in theirs), *own], answer_type)
        # "Where does she live?" after "My aunt is called Rosa.": the name that the answer said.
        names = [word.word for word in read(turn.said).words if word.name and not word.before]
        if names:
            add(f"{turn.said} {text}", [*names, *own], asked.answer_type)
        return found[:6]

    def _other_one(self, store: EpisodicStore, asked: Asked, last: Turn) -> Plan | None:
        words = self._recall.judge.read(last.text, last.words).words
        told = set(last.episodes[: last.used])
        best: Plan | None = None
        variants = [words, *(_dropped(words, i) for i, word in enumerate(words[:-1] or ()))]
        variants += [tuple(w for w in words if not (w.name or w.number))]
        for variant in variants:
            if not variant:
                continue
            kept = [word.word for word in variant]
            text = without_words(last.text, words, kept)
            sought = Sought(text, tuple(kept), last.answer_type, asked.language)
            found = [one for one in self._recall.search(store, sought) if one.episode.episode_id not in told]
            # Less has to be sure: the statement answers the last question but for a word.
            sure = OTHER_SURE * self._recall.judge.threshold
            enough = [one for one in found if one.probability >= sure and one.episode.kind == STATEMENT]
            if enough and (best is None or enough[0].probability > best.probability + 0.02):
                best = Plan("answer", asked, enough[0].probability, why(enough), evidence=enough, sought=sought)
        if best is not None:
            # What was said before is not "the other one" of the next question either.
            best.sought = Sought(last.text, last.words, last.answer_type)
        return best

    def _when(self, store: EpisodicStore, asked: Asked, last: Turn) -> Plan | None:
        episode = store.get(last.episodes[0])
        if episode is None:
            return None
        evidence = _plain(episode, self._recall)
        note = "time" if evidence.reading.time else "told"
        return Plan("answer", asked, SURE, "the last statement", evidence=[evidence], note=note, sought=_again(last))


def _told_of(plan: Plan, own: Sequence[str], threshold: float) -> Plan:
    """Put that statement first which holds what was said now: the one that was said before is near to it, too."""
    holding = [one for one in plan.evidence if one.probability >= threshold and _holds(one, own)]
    if own and holding and plan.asked.kind != "yes_no":
        plan.evidence = [holding[0], *(one for one in plan.evidence if one is not holding[0])]
    return plan


def _holds(evidence: Evidence, own: Sequence[str]) -> bool:
    """Return whether a statement holds what was said now, and not only what was said before."""
    wanted = [set(terms(word)) for word in own]
    matched = set(evidence.matched)
    held = [word in matched or word.removesuffix("'s") in matched or want <= evidence.reading.terms
            for word, want in zip(own, wanted, strict=True)]  # fmt: skip
    return not held or sum(held) > len(held) / 2 or (len(held) > 1 and held[0])


def _again(turn: Turn) -> Sought:
    return Sought(turn.text, turn.words, turn.answer_type)


def _plain(episode: Episode, recall: Recall) -> Evidence:
    return Evidence(
        Hit(episode, 0.0, None, None, None), episode.text, SURE, recall.judge.read(episode.text), (), (), ()
    )


def _swapped(theirs: Sequence[Word], mine: Sequence[Word]) -> list[str]:
    """Return the words of the last question without the one that is replaced: a name for a name, else the last one."""
    if any(word.number for word in mine) and any(word.number for word in theirs):
        return [word.word for word in theirs if not word.number]
    if any(word.name for word in theirs) and any(word.name for word in mine):
        return [word.word for word in theirs if not word.name]
    return [word.word for word in theirs[:-1]]


def _dropped(words: Sequence[Word], number: int) -> tuple[Word, ...]:
    return tuple(word for i, word in enumerate(words) if i != number)

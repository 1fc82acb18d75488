"""Decides what is to be done with a prompt to memory, without writing anything.

What a prompt asks for comes from `hippocampus_prompts.understand`, what memory holds on it from `Recall`, and what a
question refers to ("and Tom's?") from the last turns of its session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from brainnet import Partial
from brainnet.memory import Episode, EpisodicStore, Hit, plain_words, terms
from hippocampus_evidence import FOUND, Evidence, newest_of_same_subject
from hippocampus_follow_ups import FollowUps
from hippocampus_grammar import AND
from hippocampus_plans import SURE, Plan, why, without_words
from hippocampus_prompts import PICTURE_WORDS, Asked, understand
from hippocampus_questions import subject_words
from hippocampus_reading import content_of
from hippocampus_recall import PASSAGE, STATEMENT, Recall, Sought, next_sentence
from hippocampus_statements import is_statement
from hippocampus_turns import Turn, Turns
from hippocampus_wording import FRAGMENT, PRONOUNS, completed, has_verb, spelled_out, tells

PERHAPS_TOLD = 0.45
"""Bid for a sentence that says something, without a sign that it is meant for memory: the router decides."""
LISTED = 10
"""Statements of a list, and how many passages besides."""
LISTED_PASSAGES = 3
NEWER = 0.3
"""Probability from which on a newer statement about the same subject may replace a more probable one."""
FORGETTING = 0.8
"""Probability from which on a statement that lacks a word of what is to be forgotten is meant all the same."""
FORGETTING_READ = 0.9
"""The same of one that was read together with the request."""
FORGETTING_NEAR = 0.5
"""The same by its words and vectors alone: what is deleted is gone, and so both have to find it."""
FORGETTING_TOO = 0.97
"""The same where another statement has all of its words: "Forget the door code." is not about the door's colour."""
MAX_FORGOTTEN = 200
"""Statements that are looked at when something is to be forgotten or listed."""
_ALL = frozenset(plain_words("everything all alles tout todo tutto tudo allt alt wszystko всё все"))
_AGREED = frozenset(plain_words("yes ja oui si sim да tak"))
_YES = re.compile(r"^\W{0,5}(?:yes|ja|oui|s[ií]|sì|sim|да|tak|forget everything|do it)\b.{0,60}$", re.IGNORECASE)
_NAMING = frozenset(
    plain_words(
        "called named name names call heißt heisst name genannt s'appelle appelle llama chiama chama heet heter"
    )
)
_SHORT = 5
"""Words of a statement that only says who somebody is."""


class Planner:
    """Makes plans.

    Args:
        recall: Finds and judges.
        turns: What was said last.
    """

    def __init__(self, recall: Recall, turns: Turns) -> None:
        self.recall, self.turns = recall, turns
        self._follow_ups = FollowUps(recall, self._answer)

    def plan(self, store: EpisodicStore, text: str, session: str, *, attached: bool, least: float = 0.0) -> Plan:  # noqa: PLR0911 - one rule per return
        """Decide what is to be done with a prompt.

        Args:
            store: The memory.
            text: The prompt; not blank.
            session: Its session, or "".
            attached: Whether a picture, sound or arrays came with it.
            least: Probability from which on something is asserted; 0 for what was chosen in training.
        """
        turns = self.turns.of(session)
        if turns and turns[0].asks and _YES.match(text):
            return Plan("forget_everything", Asked("forget"), SURE, "the confirmation was asked for")
        text = spelled_out(text)
        asked = understand(text, attached=attached)
        threshold = least or self.recall.threshold
        if asked.kind == "statement" and asked.fact:
            sure = SURE if asked.explicit else SURE - 0.05
            return Plan("store", asked, sure, "a statement to remember", asked.fact)
        if asked.kind == "correct" and asked.fact:
            return self._correction(store, asked, text, turns, threshold)
        if asked.kind == "correct":
            return self._taken_back(store, asked, turns)
        if asked.kind == "forget":
            return self._forget(store, asked, text, turns, threshold)
        if asked.kind == "about" and asked.subject:
            return self._about(store, asked, text)
        if attached and all(PICTURE_WORDS.issuperset(terms(word)) for word in asked.subject):
            return Plan("cannot", asked, 0.0, "the answer is in what came with the prompt")
        if asked.kind == "other":
            return self._unclear(store, asked, text, turns, threshold, attached=attached)
        if asked.kind == "everything":
            return self._everything(store, asked)
        return self._question(store, asked, text, turns, threshold)

    def _unclear(
        self, store: EpisodicStore, asked: Asked, text: str, turns: list[Turn], threshold: float, *, attached: bool
    ) -> Plan:
        """Decide on a text that has no sign of what it is: a sentence that tells something, or a question."""
        fact = text if text[:1].isupper() else text[:1].upper() + text[1:]
        told = Plan("store", asked, PERHAPS_TOLD, "perhaps a statement", fact)
        if not attached and tells(text):
            return told
        words = subject_words(text, asked.language)
        if words and self.recall.reader:
            question = replace(asked, kind="question", subject=words)
            plan = self._question(store, question, text, turns, threshold)
            if plan.kind == "answer":
                return plan
        if not attached and is_statement(f"{fact}.", asked.language):
            return told
        return Plan("unknown", asked, 0.0, "neither a statement nor a question", about=" ".join(words))

    def _question(self, store: EpisodicStore, asked: Asked, text: str, turns: list[Turn], threshold: float) -> Plan:
        sought = Sought(text, tuple(content_of(asked.subject)), asked.answer_type, asked.language)
        if asked.follow_up and not turns and len(sought.words) <= 1:
            return Plan("unknown", asked, 0.0, "nothing was said that it could refer to", sought=sought)
        refers = bool(turns) and (asked.follow_up or not asked.subject)
        if refers and (plan := self._follow_ups.answer(store, asked, text, turns, threshold)) is not None:
            return plan
        if refers and len(sought.words) <= 1:
            # "And Marek?" alone would be answered with anything about Marek.
            return Plan("unknown", asked, 0.2, "nothing found that it could refer to", sought=sought)
        if not asked.subject:
            return Plan("unknown", asked, 0.0, "no word says what it is about", sought=sought)
        plan = self._answer(store, asked, sought, threshold)
        if plan.kind == "unknown" and turns and not refers and len(asked.subject) <= 2:
            return self._follow_ups.answer(store, asked, text, turns, threshold) or plan
        return plan

    def _answer(self, store: EpisodicStore, asked: Asked, sought: Sought, threshold: float) -> Plan:
        if asked.kind == "yes_no":
            evidence, best = self.recall.verdicts(store, sought, threshold, asked.language)
            if evidence:
                first = evidence[0]
                return Plan("answer", asked, first.probability, why(evidence), evidence=evidence, sought=sought)
            return Plan("unknown", asked, min(best, threshold / 2), "nothing says so or not", sought=sought)
        found = self.recall.find(store, sought)
        reason = why(found)
        if not found or found[0].probability < threshold:
            return self._by_name(store, asked, sought, found, threshold) or Plan(
                "unknown", asked, found[0].probability if found else 0.0, reason, sought=sought
            )
        # One that is less probable may hold all the same, if it says newer things of the same subject.
        newest, *others = newest_of_same_subject([one for one in found if one.probability >= NEWER], sought.answer_type)
        evidence = [next_sentence(one) for one in [newest, *others] if one.probability >= threshold or one is newest]
        together = 2 if _are_two(sought.text, evidence, threshold) else 1
        return Plan("answer", asked, found[0].probability, reason, evidence=evidence, sought=sought, together=together)

    def _by_name(
        self, store: EpisodicStore, asked: Asked, sought: Sought, found: Sequence[Evidence], threshold: float
    ) -> Plan | None:
        """Answer what is known of a subject under its other name: "the cat" after "Our cat is called Pixel."."""
        best: Plan | None = None
        for naming in [one for one in found if one.matched and one.missing and is_naming(one)][:3]:
            others = [word.word for word in naming.new if word.name or word.before]
            if not others:
                continue
            kept = [word.word for word in naming.missing]
            text = f"{without_words(sought.text, naming.words, kept)} {naming.text}"
            named = replace(sought, text=text, words=(*others, *kept))
            again = [
                one for one in self.recall.find(store, named) if one.episode.episode_id != naming.episode.episode_id
            ]
            if (
                again
                and again[0].probability >= threshold
                and (best is None or again[0].probability > best.probability)
            ):
                best = Plan("answer", asked, again[0].probability, why(again), evidence=again[:1], sought=sought)
        return best

    def _everything(self, store: EpisodicStore, asked: Asked) -> Plan:
        episodes = store.recent(LISTED, [STATEMENT])
        total = store.count([STATEMENT])
        if not episodes:
            return Plan("unknown", asked, 0.5, "memory is empty")
        return Plan("list", asked, SURE, f"{total} statements", episodes=episodes, total=total)

    def _about(self, store: EpisodicStore, asked: Asked, text: str) -> Plan:
        sought = Sought(text, tuple(content_of(asked.subject)), "", asked.language)
        about = " ".join(asked.subject)
        found = [one for one in self.recall.search(store, sought) if not one.missing]
        statements = _once(one.episode for one in found if one.episode.kind == STATEMENT)
        # A search hands on the best only; all that hold the words are listed.
        more = self._holding(store, sought) if len(statements) >= LISTED else statements
        statements = sorted(more, key=lambda episode: -episode.episode_id)
        passages = [one for one in found if one.episode.kind == PASSAGE][:LISTED_PASSAGES]
        if not statements and not passages:
            return Plan("unknown", asked, 0.1, f"nothing holds {about!r}", about=about, sought=sought)
        probability = 0.9 if statements else 0.7
        return Plan(
            "list", asked, probability, f"{len(statements)} statements hold {about!r}", evidence=passages,
            episodes=statements[:LISTED], total=len(statements), about=about, sought=sought,
        )  # fmt: skip

    def _holding(self, store: EpisodicStore, sought: Sought) -> list[Episode]:
        hits: list[Hit] = store.search(" ".join(sought.words), None, MAX_FORGOTTEN, [STATEMENT], 1.0)
        wanted = [frozenset(terms(word)) for word in sought.words]
        return [hit.episode for hit in hits if set(terms(hit.episode.text)).issuperset(frozenset().union(*wanted))]

    def _forget(self, store: EpisodicStore, asked: Asked, text: str, turns: list[Turn], threshold: float) -> Plan:
        about = " ".join(asked.subject)
        meant = [word for word in asked.subject if word not in _ALL | _AGREED and word not in PRONOUNS]
        if not meant and set(plain_words(text)) & _ALL:
            total = store.count([STATEMENT])
            return Plan("confirm", asked, SURE, "all would be deleted", total=total)
        if not meant:
            last = next((turn for turn in turns if turn.episodes), None)
            episode = store.get(last.episodes[0]) if last is not None else None
            if episode is None or episode.kind != STATEMENT:
                return Plan("unknown", asked, 0.5, "nothing was said that could be meant", about="that")
            return Plan("forget", asked, SURE, "the last statement", episodes=[episode], about="that")
        sought = Sought(text, tuple(meant), "", asked.language)
        found = self.recall.search(store, sought, [STATEMENT])
        episodes = [one.episode for one in found if not one.missing and not _other_owner(one, self.recall, text)]
        if self.recall.reader:
            read = self.recall.find(store, sought, [STATEMENT])
            sure = FORGETTING_TOO if episodes else FORGETTING_READ
            near = {one.position for one in found if one.probability >= FORGETTING_NEAR}
            episodes += [one.episode for one in read if one.probability >= sure and one.position in near]
        else:
            sure = max(threshold, FORGETTING)
            episodes += [one.episode for one in found if one.probability >= sure]
        episodes = _once([*episodes, *self._holding(store, sought)]) if len(episodes) >= LISTED else _once(episodes)
        if not episodes:
            return Plan("unknown", asked, SURE, "nothing of that to forget", about=about, sought=sought)
        return Plan("forget", asked, SURE, f"{len(episodes)} to forget", episodes=episodes, about=about, sought=sought)

    def _correction(self, store: EpisodicStore, asked: Asked, text: str, turns: list[Turn], threshold: float) -> Plan:
        fact = asked.fact
        reading = self.recall.judge.read(fact)
        last = next((store.get(turn.episodes[0]) for turn in turns if turn.episodes), None)
        if last is not None and last.kind != STATEMENT:
            last = None
        old: Episode | None = None
        pronoun = any(word.removesuffix("'s") in PRONOUNS for word in plain_words(fact)[:2])
        subject = [word.word for word in reading.words if word.before] or [w.word for w in reading.words if not w.place]
        if not pronoun and subject and len(plain_words(fact)) > 2:
            old = self._corrected(store, asked, Sought(fact, tuple(subject), "", asked.language), threshold)
        if old is None and last is not None and (pronoun or self._shares(fact, last.text)):
            old = last
        if old is None and last is not None and len(plain_words(fact)) <= FRAGMENT and not has_verb(fact):
            old = last
        if old is not None:
            named = turns[0].words if turns else ()
            fact = completed(fact, old.text, named, pronoun=pronoun)
        episodes = [] if old is None else [old]
        why = "corrects a statement" if old else "a statement that corrects nothing that is known"
        return Plan("correct", asked, SURE, why, fact, episodes=episodes)

    def _corrected(self, store: EpisodicStore, asked: Asked, sought: Sought, threshold: float) -> Episode | None:
        """Return the newest statement about the subject of a correction, best with what was said to be wrong."""
        found = self.recall.find(store, sought, [STATEMENT])
        wrong = set(terms(asked.corrected))
        named = [one for one in found if wrong and wrong & one.reading.terms and one.matched]
        if named:
            return named[0].episode
        enough = [one for one in found if not one.missing or one.probability >= threshold]
        if not enough:
            return None
        enough = [one for one in enough if one.missing == enough[0].missing]
        return newest_of_same_subject(enough)[0].episode

    def _taken_back(self, store: EpisodicStore, asked: Asked, turns: list[Turn]) -> Plan:
        """Plan for "That is wrong.": what was told or recalled last is deleted."""
        last = next((turn for turn in turns if turn.episodes), None)
        episode = store.get(last.episodes[0]) if last is not None else None
        if episode is None or episode.kind != STATEMENT:
            return Plan("unknown", asked, 0.3, "nothing was said that could be wrong", about="that")
        return Plan("forget", asked, SURE, "the last statement", episodes=[episode], about="that")

    def _shares(self, fact: str, text: str) -> bool:
        judge = self.recall.judge
        table = judge.compare(judge.read(fact).words, judge.read(text).words)
        return bool(table.size and (table[:, :, -1] >= FOUND).any())


def is_naming(evidence: Evidence) -> bool:
    """Return whether a statement says how something is called: "Our cat is called Pixel.", "My daughter is Mia."."""
    reading = evidence.reading
    if not any(word.name for word in reading.words):
        return False
    named = bool(_NAMING.intersection(plain_words(evidence.text)))
    return named or (reading.length <= _SHORT and len(reading.words) == 2 and reading.words[0].before)


def _are_two(text: str, evidence: Sequence[Evidence], threshold: float) -> bool:
    """Return whether two things are asked for, of which each of the first two statements says one."""
    if len(evidence) < 2 or evidence[1].probability < threshold or not AND.intersection(plain_words(text)):
        return False
    first, second = (set(one.matched) for one in evidence[:2])
    return not first <= second and not second <= first


def _once(episodes: Iterable[Episode]) -> list[Episode]:
    return list({episode.episode_id: episode for episode in episodes}.values())


def _other_owner(one: Evidence, recall: Recall, text: str) -> bool:
    """Return whether a statement is about another owner: "forget my phone number" is not about Anna's."""
    asked = recall.judge.read(text)
    return asked.my and any(word.owner or word.name for word in one.new if word.before)


def turn_of(text: str, plan: Plan, partial: Partial) -> Turn:
    """Return what is kept of a prompt and its answer for the next ones of its session."""
    content = partial.content
    found = content.get("recalled")
    ids = [each["episode_id"] for each in found] if isinstance(found, list) else []
    if not ids and "episode_id" in content:
        ids = [content["episode_id"]]
    said = str(found[0]["text"]) if isinstance(found, list) and found else plan.fact
    if plan.kind == "answer" and plan.note:
        said = plan.evidence[0].text
    sought = plan.sought or Sought(plan.fact, tuple(plan.asked.subject))
    return Turn(
        sought.text or text, sought.words, sought.answer_type, tuple(ids), 1, said,
        "everything" if plan.kind == "confirm" else "",
    )  # fmt: skip

"""What a prompt asks of memory: to keep a statement, to correct or to forget one, or to answer a question.

`understand` decides it from phrases (hippocampus_phrases.yaml, in many languages), and from rules for what a plain
statement is (hippocampus_statements.py) and what a yes/no question claims (hippocampus_claims.py).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from brainnet.memory import guess_language, plain_words
from brainnet.snn.models.text_features import limit_marks
from hippocampus_claims import claim_of
from hippocampus_corrections import PAUSE, changed, corrected, has_contrast, is_fragment, is_sure
from hippocampus_english import (
    PICTURE_WORDS,
    noted,
    statement_to_remember,
)
from hippocampus_phrases import SIBLINGS, anywhere, leading, trailing, whole
from hippocampus_questions import SPEAKERS, answer_type, cannot_stand_alone, is_question, subject_words
from hippocampus_said import MAX_READ, Said, capitalised, last_question, without_greeting, without_mark
from hippocampus_statements import is_statement

__all__ = [
    "PICTURE_WORDS",
    "AnswerType",
    "Asked",
    "Kind",
    "statement_to_remember",
    "understand",
]

Kind = Literal["statement", "correct", "forget", "about", "everything", "yes_no", "question", "other"]
AnswerType = Literal["", "place", "time", "person", "number", "reason", "manner", "thing"]

_ALL: Final = frozenset(
    """everything all alles tout todo tudo tutto alt allt kaiken wszystko vsechno все всё всичко ola كل הכל सब 全部
    すべて 所有 一切 모두 전부""".split()  # noqa: SIM905
)
_INDEFINITE: Final = frozenset("a an any some ein eine einen un une una um uma een".split())  # noqa: SIM905
_POLITE_REQUEST = re.compile(r"\W{0,4}(?:please )?(?:can|could|would|will|kannst|konntest)(?!\w)")
_ENDS_WITH_PLEASE = re.compile(r"\A(?:my|our|the|[\w-]{2,30}'s) [^.!?]{2,80}?,? (?:please|pls|plz)\W{0,4}\Z")
_THEN_COMMAND = re.compile(r"(?:[,;.] |(?<!\w)and )(?:(?:and|then|simply|just|please|now) ){0,2}")
_FROM_MEMORY = re.compile(
    r"(?: again| any ?(?:more|longer))?(?:,? please)?"
    r"(?: (?:from|in|out of) (?:your |the )?(?:memory|notes))?(?:,? please|,? will you)?"
    r"[\s.!?]{0,6}\Z|[\s.!?]{1,6}\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a prompt asks of memory.

    Attributes:
        kind: "statement": keep `fact`. "correct": keep `fact` in the place of what it corrects; if `fact` is empty,
            only take back `corrected`, or what was last said. "forget": delete what is about `subject`. "about": tell
            all about `subject`. "everything": tell what is there. "yes_no" and "question": answer. "other": nothing for
            memory.
        language: The language of the prompt, ISO 639-1; empty if unknown.
        fact: Of "statement" and "correct": what is to be kept, in the words of the prompt, capitalised.
        explicit: A "statement" is asked to be kept ("Remember that"), rather than only told.
        subject: The content words, as `plain_words`, in order and without repetitions. Those of "forget" are empty
            where all is meant ("Forget everything"), and where the last one is ("Forget that"): `follow_up` tells
            which.
        answer_type: What a "question" asks for; empty if that is not clear.
        claim: Of "yes_no": the question as a statement; empty where that is unclear.
        follow_up: The prompt cannot be understood without what was said before: "And the other one?", "When was that?",
            "It is in the car."
        corrected: Of "correct": what was said to be wrong, where it is said: "not in the drawer but in the car".
    """

    kind: Kind
    language: str = ""
    fact: str = ""
    explicit: bool = False
    subject: list[str] = ()  # type: ignore[assignment]
    answer_type: AnswerType = ""
    claim: str = ""
    follow_up: bool = False
    corrected: str = ""


def understand(text: str, *, attached: bool = False) -> Asked:
    """Decide what a prompt asks of memory.

    It takes time linear in the length of the text, and never fails: what it does not understand is "other".

    Args:
        text: The prompt.
        attached: Something came with the prompt, such as a picture; then only a request to remember is a statement.
    """
    text = unicodedata.normalize("NFC", limit_marks(" ".join(text.split())))
    language = guess_language(text)
    if not plain_words(text[:MAX_READ]):
        return Asked("other", language, subject=[])
    said = without_greeting(text, language)
    asked = _Reader(language, attached=attached).read(said, text)
    return replace(asked, subject=list(asked.subject))


class _Reader:
    """Reads a prompt of one language, or of one that is easily mistaken for it."""

    def __init__(self, language: str, *, attached: bool) -> None:
        self.language = language
        self.tongues = tuple(dict.fromkeys((language, *SIBLINGS.get(language, ()))))
        if not language:
            self.tongues = ("en",)
        self.attached = attached

    def read(self, said: Said, text: str, depth: int = 0) -> Asked:
        """Decide what a prompt asks for; `text` is all of it, with its greeting."""
        language = self.language
        if self._find(whole, "everything", said):
            return Asked("everything", language)
        steps: tuple[Callable[[Said], Asked | None], ...] = (
            self._about,
            lambda part: self._told(part, text if depth == 0 else part.text),
            self._forget,
            lambda part: self._correct(part, depth),
            self._indirect,
            self._question,
            self._noted,
            self._needed,
            self._statement,
        )
        return next((asked for step in steps if (asked := step(said)) is not None), Asked("other", language))

    def _find(self, where: Callable[[str, str], re.Pattern[str] | None], name: str, said: Said) -> re.Match[str] | None:
        # a request to remember is often made in English, whatever it is about
        tongues = (*self.tongues, "en") if name in {"remember", "that"} else self.tongues
        for tongue in tongues:
            pattern = where(tongue, name)
            found = pattern.search(said.folded) if pattern else None
            if found:
                return found
        return None

    def _rest(self, name: str, said: Said) -> Said | None:
        """Return what follows a leading phrase, or stands before a trailing one."""
        found = self._find(leading, name, said)
        if found:
            return said.after(found.end())
        found = self._find(trailing, f"{name}_last", said) if said.complete else None
        return said.before(found.start()) if found and found.start() else None

    def _about(self, said: Said) -> Asked | None:
        rest = self._rest("about", said)
        if rest is None:
            return None
        subject = subject_words(rest.text, self.language)
        words = plain_words(rest.text[:MAX_READ])
        if not subject and _ALL.intersection(words):
            return Asked("everything", self.language)
        subject = subject or [word for word in dict.fromkeys(words) if word in SPEAKERS]  # "about me"
        return Asked(
            "about", self.language, subject=subject, follow_up=cannot_stand_alone(rest.text, self.language, subject)
        )

    def _told(self, said: Said, text: str) -> Asked | None:  # noqa: PLR0911 - one rule per return
        """Return the statement that the prompt asks to remember."""
        if self._declines(said):
            return None
        if self.language in {"en", ""} or leading("en", "remember").match(said.folded):  # type: ignore[union-attr]
            fact = statement_to_remember(text)
            if fact and "?" in fact[:MAX_READ] and not _POLITE_REQUEST.match(said.folded):
                # "Remember the load from yesterday? Are you still adapted to it?"
                return self._asked(said)
            if fact:
                return self._kept(fact, explicit=True)
        found = self._find(leading, "remember", said)
        last = self._find(trailing, "remember_last", said) if said.complete else None
        if last and last.start():
            part = said.before(last.start())
            if found and found.end() <= last.start():
                part = part.after(found.end())
            return self._kept(capitalised(part.text), explicit=True) if len(plain_words(part.text)) > 1 else None
        if not found:
            return None
        rest = said.after(found.end())
        joint = self._find(leading, "that", rest)
        if joint:
            rest = rest.after(joint.end())
        elif answer_type(rest.folded, self.language) or self._find(leading, "whether", rest):
            return self._asked(rest)
        if len(plain_words(rest.text[:MAX_READ])) < 2:
            return None
        fact = rest.text
        if fact.endswith(("?", "？")):
            fact = fact.rstrip("?？ ") + "."
        return self._kept(capitalised(fact), explicit=True)

    def _noted(self, said: Said) -> Asked | None:
        """Read a statement with a request to remember anywhere beside it: "The code is 12, you ought to know that."."""
        if self.language != "en" or not said.complete or len(said.text) > 400:
            return None
        fact = noted(said.text)
        if fact is None or not is_statement(fact, "en", lenient=True):
            return None
        return self._kept(capitalised(fact), explicit=True)

    def _kept(self, fact: str, *, explicit: bool) -> Asked:
        subject = subject_words(fact, self.language)
        return Asked(
            "statement",
            self.language,
            fact=fact,
            explicit=explicit,
            subject=subject,
            follow_up=cannot_stand_alone(fact, self.language, subject),
        )

    def _forget(self, said: Said) -> Asked | None:
        rest = self._rest("forget", said)
        if rest is None or (self._find(leading, "remember", said) and not self._declines(said)):
            return None
        joint = self._find(leading, "that", rest)
        if joint and len(plain_words(rest.text[:MAX_READ])) > 1:
            rest = rest.after(joint.end())
        of = _FROM_MEMORY.sub("", rest.text[:MAX_READ])
        if self._commands_after(Said(of)):
            return None
        subject = subject_words(of, self.language)
        everything = bool(set(plain_words(of)) & _ALL)
        last = not subject and not everything
        return Asked(
            "forget", self.language, subject=subject, follow_up=last or _only_pronoun(of, self.language, subject)
        )

    def _declines(self, said: Said) -> bool:
        """Return whether what begins like a request to remember is none: "Merk dir nicht mehr, wo ..."."""
        forget, remember = (self._find(leading, name, said) for name in ("forget", "remember"))
        return forget is not None and remember is not None and forget.end() > remember.end()

    def _commands_after(self, said: Said) -> bool:
        """Return whether a command follows: "Forget about accuracy, simply go to ..."."""
        command = leading("en", "command")
        ends = (part.end() for part in _THEN_COMMAND.finditer(said.folded)) if self.language == "en" else ()
        return command is not None and any(command.match(said.folded[end : end + 40]) for end in ends)

    def _correct(self, said: Said, depth: int) -> Asked | None:  # noqa: PLR0912, PLR0911 - one rule per return
        change = changed(said.text) if self.language == "en" and not self.attached else None
        if change:
            return self._corrected(change)
        found, rest, sure = None, said, False
        for _ in range(3):
            again = self._find(leading, "correct", rest)
            if again is None:
                again = self._find(leading, "denial", rest)
                # "no" alone corrects only with a pause behind it: "No cars are allowed here."
                if again and not PAUSE.match(rest.folded[again.end() :]):
                    again = None
            elif is_sure(again.group()):
                sure = True
            if again is None:
                break
            found, rest = again, rest.after(again.end())
        if not found:
            contrast = not self.attached and has_contrast(said.text) and is_statement(said.text, self.language)
            return self._corrected(said.text) if contrast else None
        joint = self._find(leading, "that", rest)
        if joint and sure:
            # "It is not true that Anna has a dog."
            wrong = without_mark(rest.after(joint.end()).text)
            subject = subject_words(wrong, self.language)
            return Asked("correct", self.language, subject=subject, corrected=wrong, follow_up=not subject)
        if not plain_words(rest.text[:MAX_READ]):
            return Asked("correct", self.language, follow_up=True) if sure and rest is not said else None
        if depth < 2:
            asked = self.read(rest, rest.text, depth + 1)
            if asked.kind == "statement":
                return self._corrected(asked.fact)
            if asked.kind != "other":
                return asked
        meant = sure and len(plain_words(rest.text)) <= 30 and not self._find(leading, "command", rest)
        if is_fragment(rest.folded) and len(plain_words(rest.text)) <= 6:
            return replace(self._corrected(rest.text), follow_up=True)  # "No, on Friday."
        if meant or is_statement(rest.text, self.language, lenient=True) or has_contrast(rest.text):
            return self._corrected(rest.text)
        return None

    def _corrected(self, fact: str) -> Asked:
        right, wrong = corrected(fact)
        kept = self._kept(capitalised(right), explicit=True)
        if all(word.isdigit() for word in kept.subject) and not kept.follow_up:
            return Asked("other", self.language)
        return replace(kept, kind="correct", corrected=wrong)

    def _indirect(self, said: Said) -> Asked | None:
        """Read "Can you tell me where ...?", "I wonder if ...", "Do you know when ...?"."""
        found = self._find(leading, "ask", said)
        if found:
            rest = said.after(found.end())
            joint = self._find(leading, "that", rest)
            if answer_type(rest.folded, self.language) or self._find(leading, "whether", rest):
                return self._asked(rest)
            asks = said.text.rstrip().endswith(("?", "？")) or found.group().startswith(("i ", "we "))
            if asks and self._is_noun(rest):
                return self._asked(rest)  # "Do you know my name?"
            if joint and said.text.rstrip().endswith("?"):
                # "Do you remember that the key is in the car?"
                rest = rest.after(joint.end())
                return self._yes_no(rest, claim=without_mark(rest.text))
        last = self._find(trailing, "ask_last", said) if said.complete else None
        if last and last.start():
            part = said.before(last.start())
            if plain_words(part.text):
                return self._asked(part)
        return None

    def _is_noun(self, said: Said) -> bool:
        """Return whether a short text is a noun with its article, or a name, without a verb."""
        words = said.text.strip("?？ ").split(" ")
        named = words[0][:1].isupper() or words[0].endswith(("'s", "’s"))
        verb = self._find(anywhere, "verbs", said) or (
            self.language == "en" and self._find(anywhere, "verb_first", said)
        )
        return len(words) <= 5 and not verb and bool(named or self._find(leading, "article", said))

    def _asked(self, said: Said) -> Asked:
        """Read a question whose form is known."""
        whether = self._find(leading, "whether", said)
        if whether and not answer_type(said.folded, self.language):
            rest = said.after(whether.end())
            return self._yes_no(rest, claim=without_mark(rest.text))
        subject = subject_words(said.text, self.language)
        return Asked(
            "question",
            self.language,
            subject=subject,
            answer_type=answer_type(said.folded, self.language) or "",  # type: ignore[arg-type]
            follow_up=cannot_stand_alone(said.text, self.language, subject, question=True),
        )

    def _yes_no(self, said: Said, claim: str | None = None) -> Asked:
        subject = subject_words(said.text, self.language)
        return Asked(
            "yes_no",
            self.language,
            subject=subject,
            claim=claim_of(last_question(said.text), self.language) if claim is None else claim,
            follow_up=cannot_stand_alone(said.text, self.language, subject, question=True),
        )

    def _question(self, said: Said) -> Asked | None:
        form = is_question(said.text[:MAX_READ], said.folded, self.language)
        if form is None and not self.tongues[0]:
            return None
        if form == "yes_no":
            return self._yes_no(said)
        return self._asked(said) if form else None

    def _needed(self, said: Said) -> Asked | None:
        """Read "I need the wifi password": a short wish for something that memory may hold."""
        if self.language == "en" and _ENDS_WITH_PLEASE.match(said.folded) and len(said.text) < 120:
            subject = subject_words(said.text, "en")
            return Asked("question", "en", subject=subject, answer_type="thing") if subject else None
        found = self._find(leading, "need", said)
        if not found or not said.complete:
            return None
        rest = said.after(found.end())
        subject = subject_words(rest.text, self.language)
        article = self._find(leading, "article", rest)
        first = rest.text.split(" ")[0]
        owner = first.endswith(("'s", "’s")) or first[:1].isupper()
        if not subject or len(plain_words(rest.text)) > 12 or not (article or owner):
            return None
        if article and article.group() in _INDEFINITE:
            return None
        return Asked("question", self.language, subject=subject, answer_type="thing")

    def _statement(self, said: Said) -> Asked | None:
        if self.attached or not said.complete or not is_statement(said.text, self.language):
            return None
        return self._kept(capitalised(said.text), explicit=False)


def _only_pronoun(text: str, language: str, subject: list[str]) -> bool:
    return not subject and cannot_stand_alone(text, language, subject)

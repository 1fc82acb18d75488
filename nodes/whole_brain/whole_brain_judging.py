"""Judges the answers of a brain: refused, right or wrong.

An answer is refused when it says so (`unsure`), or has an error. All texts are compared in lower case, without accents.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from brainnet.wire.messages import Answer
from whole_brain_sets import Step, Talk, TalkKind

_MIN_NAMED = 3
"""Live regions that an answer to "which regions are there?" names at least."""
_WHOLE = 3
"""Letters of a word that must stand alone; longer ones may go on: "pictures"."""
_GUESS = 0.2
"""An answer in conversation that is less sure is text that was made up, even if it holds a word by chance."""
_ABILITIES = (
    "remember", "memory", "memories", "statement", "recall", "picture", "image", "photo", "arm", "arms", "move", "text",
    "write", "continue",
)  # fmt: skip
HOLDS: dict[TalkKind, tuple[str, ...]] = {
    "greeting": (
        "hello", "hi", "hey", "good morning", "good day", "good evening", "welcome", "nice", "hallo", "guten",
        "bonjour", "salut", "hola", "buenos", "buenas", "ciao", "buongiorno", "greetings",
    ),
    "thanks": (
        "welcome", "glad", "pleasure", "happy", "any time", "anytime", "no problem", "thank", "gern", "bitte", "danke",
        "rien", "plaisir", "merci", "nada", "gracias", "prego", "grazie",
    ),
    "farewell": (
        "bye", "goodbye", "see you", "good night", "farewell", "take care", "later", "until", "soon", "tschuss",
        "wiedersehen", "revoir", "bientot", "adios", "hasta", "arrivederci", "ciao", "good day",
    ),
    "identity": ("brain", "brainnet"),
    "ability": _ABILITIES,
    "state": (
        "well", "fine", "good", "ok", "okay", "running", "run", "runs", "ready", "working", "works", "regions", "nodes",
        "sorry", "healthy", "mistake", "wrong", "correct me", "know",
    ),
    "cannot": _ABILITIES,
}  # fmt: skip
"""What an answer in conversation holds, one of these, where its prompt names nothing else."""
_NO_SPACES = frozenset({"ja"})
"""Languages in which no space follows a word."""


@dataclass(frozen=True)
class Verdict:
    """What became of one prompt.

    Attributes:
        refused: The brain says that it does not know, or cannot.
        right: The answer is what it has to be; for what has no answer, it is refused.
        why: What is wrong, for people.
    """

    refused: bool
    right: bool
    why: str = ""

    @property
    def asserted(self) -> bool:
        """Whether the answer asserts something."""
        return not self.refused


_FAULTS = frozenset({
    "internal", "timeout", "deadline", "poison", "busy", "stopping", "unavailable", "no_decision", "refused", "store",
    "model", "bus", "bad_message", "bad_packet",
})  # fmt: skip
"""Codes of errors that say that something failed, not that the brain does not know: such an answer is never right."""


def is_refused(answer: Answer) -> bool:
    """Return whether an answer says that the brain does not know, or has an error."""
    return answer.error is not None or bool(getattr(answer, "unsure", False))


def plain(text: str) -> str:
    """Return a text in lower case, without accents of Latin letters, typographic quotes and repeated spaces."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(c for c in decomposed if not "\u0300" <= c <= "\u036f")
    kept = unicodedata.normalize("NFC", kept)
    return " ".join(kept.translate(_QUOTES).split())


_QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " ", "\u2011": "-"})


def contains(text: str, part: str) -> bool:
    """Return whether a text contains a part.

    A number and a word of up to three Latin letters must stand alone: "17" does not contain "7", nor "often" "ten".
    """
    part = plain(part)
    if part.isascii() and part.isalpha() and len(part) <= _WHOLE:
        return has_word(text, part)
    before = r"(?<!\d)" if part[:1].isdigit() else ""
    after = r"(?!\d)" if part[-1:].isdigit() else ""
    return re.search(f"{before}{re.escape(part)}{after}", plain(text)) is not None


def any_of(text: str, parts: Iterable[str]) -> bool:
    """Return whether a text contains one of these."""
    return any(contains(text, part) for part in parts)


def has_word(text: str, word: str) -> bool:
    """Return whether a word, or a word that begins with it, is in a text; a short one must stand alone."""
    end = r"(?!\w)" if len(word) <= _WHOLE else ""
    return re.search(rf"(?<!\w){re.escape(plain(word))}{end}", plain(text)) is not None


def any_of_texts(value: Any, part: str) -> bool:
    """Return whether one of the texts in a value of maps and lists contains a part; numbers do not count."""
    if isinstance(value, str):
        return contains(value, part)
    if isinstance(value, dict):
        return any(any_of_texts(each, part) for each in value.values())
    return isinstance(value, list | tuple) and any(any_of_texts(each, part) for each in value)


def begins_with(text: str, words: Iterable[str], language: str) -> bool:
    """Return whether one of these is the first word of a text."""
    found = re.sub(r"^\W+", "", plain(text))
    end = "" if language in _NO_SPACES else r"(?!\w)"
    return any(re.match(re.escape(plain(word)) + end, found) for word in words)


def judge(step: Step, answer: Answer, language: str) -> Verdict:
    """Judge the answer to a question of a world."""
    refused = is_refused(answer)
    said = f"{answer.text} {answer.error or ''}"
    if not step.answerable:
        if answer.code in _FAULTS and not getattr(answer, "unsure", False):
            return Verdict(refused, False, f"failed: {answer.code}")
        # What was forgotten may not even stand in what the answer rests on.
        shown = [part for part in step.excluded if any_of_texts([said, answer.content], part)]
        why = f"still there: {shown}" if shown else "" if refused else "asserted"
        return Verdict(refused, not why, why)
    why = "refused" if refused else _fault(step, answer.text, language)
    return Verdict(refused, not why, why)


def _fault(step: Step, text: str, language: str) -> str:
    """Return what is wrong with an answer that asserts something; empty for a right one."""
    if wrong := [part for part in step.excluded if contains(text, part)]:
        return f"holds {wrong}"
    if step.kind == "yes_no":
        return "" if begins_with(text, step.expect, language) else f"first word is not {step.expect[0]}"
    missing = [list(parts) for parts in (step.expect, step.also) if parts and not any_of(text, parts)]
    return f"none of {missing[0]}" if missing else ""


def judge_talk(talk: Talk, answer: Answer, live: Iterable[str]) -> Verdict:
    """Judge the answer to a prompt of conversation.

    Args:
        talk: The prompt.
        answer: What the brain said.
        live: The names of the regions that run.
    """
    refused = is_refused(answer)
    why = _fault_of_talk(talk, answer, tuple(live), refused)
    return Verdict(refused, not why, why)


def _fault_of_talk(talk: Talk, answer: Answer, live: tuple[str, ...], refused: bool) -> str:
    """Return what is wrong with an answer in conversation; empty for a right one."""
    text = answer.text
    named = [name for name in live if contains(text, name) or contains(text, name.replace("_", " "))]
    shown = [part for part in talk.excluded if has_word(text, part)]
    holds = talk.holds or HOLDS.get(talk.kind, ())
    held = any(has_word(text, part) for part in holds) or (talk.kind in ("ability", "cannot") and bool(named))
    faults = {
        f"no text; error: {answer.error}": not text.strip(),
        f"made up, confidence {answer.confidence:.2f}": not refused and 0 < answer.confidence < _GUESS,
        "refused" if refused else "asserted": refused != (talk.kind == "cannot"),
        f"names {len(named)} regions": talk.kind == "regions" and len(named) < min(_MIN_NAMED, len(live)),
        f"holds {shown}": bool(shown),
        f"none of {list(holds)}": bool(holds) and not held,
    }
    return next((fault for fault, found in faults.items() if found), "")

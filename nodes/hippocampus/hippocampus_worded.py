"""The worlds that the cross-encoder is trained on: statements, and questions that were worded one by one.

A file (`hippocampus_worded_*.txt`) holds one item a line, a letter and a text:

    W name language    a new world
    S                  a statement
    q, o               a question that the statement above answers, in its words, in other words
    y, n               a question that it answers with yes, with no
    u                  a question for yes or no that no statement of the world decides
    x                  another question that no statement of the world answers
    f N M              a question that follows an answer with statement N, and that statement M answers
    g N                such a question that no statement answers
    t N M              a question for two things, of which the statements N and M answer one each
    c N                what corrects statement N
    d N                a request to forget statement N
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from brainnet.errors import TrainingError

_FOLDER = Path(__file__).parent
UNANSWERABLE = frozenset("uxg")
FOLLOWING = frozenset("fg")
VERDICTS = frozenset("ynu")
"""Questions for yes or no."""
_BELOW = frozenset("qoynux")
_NUMBERS = {"f": 2, "g": 1, "t": 2, "c": 1, "d": 1}
"""Statements that a line names."""


@dataclass(frozen=True, slots=True)
class WordedQuestion:
    """A question.

    Attributes:
        kind: The letter of its line.
        text: The question.
        statement: Number, from 0, of the statement that it stands below, or of the (last) one that its line names.
        other: Number of the first statement that its line names, or -1.
    """

    kind: str
    text: str
    statement: int
    other: int = -1

    @property
    def answers(self) -> tuple[int, ...]:
        """Numbers of the statements that answer it or a part of it, or that are meant."""
        if self.kind in UNANSWERABLE:
            return ()
        return (self.statement, self.other) if self.kind == "t" else (self.statement,)


@dataclass(slots=True)
class WordedWorld:
    """Statements, and questions about them."""

    name: str
    language: str
    statements: list[str] = field(default_factory=list)
    questions: list[WordedQuestion] = field(default_factory=list)

    def is_held_out(self, share: float) -> bool:
        """Return whether the world belongs to the share that measures; the same for every run."""
        return zlib.crc32(self.name.encode()) % 1000 < 1000 * share


def worded_worlds(folder: Path = _FOLDER) -> list[WordedWorld]:
    """Read the worlds of a folder.

    Raises:
        TrainingError: A line is none of those above; the message names it.
    """
    return [world for path in sorted(folder.glob("hippocampus_worded_*.txt")) for world in _worlds(path)]


def _worlds(path: Path) -> Iterator[WordedWorld]:
    world: WordedWorld | None = None
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        kind, _, text = line.partition(" ")
        try:
            if kind and not text.strip():
                raise ValueError("no text")
            if kind == "W":
                if world is not None:
                    yield world
                name, language = text.split()
                world = WordedWorld(name, language)
            elif kind == "S" and world is not None:
                world.statements.append(text)
            elif kind in _BELOW and world is not None and world.statements:
                world.questions.append(WordedQuestion(kind, text, len(world.statements) - 1))
            elif kind in _NUMBERS and world is not None:
                *numbers, text = text.split(maxsplit=_NUMBERS[kind])
                named = [range(len(world.statements))[int(each) - 1] for each in numbers]
                world.questions.append(WordedQuestion(kind, text, named[-1], named[0]))
            elif line.strip():
                raise ValueError(kind)
        except (ValueError, IndexError) as error:
            raise TrainingError(f"{path}, line {number}: {error}; see the first lines of {__name__}") from error
    if world is not None:
        yield world

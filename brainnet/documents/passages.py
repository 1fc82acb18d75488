"""Divides a document into passages of a few sentences, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from brainnet.documents.reading import Document

__all__ = ["Passage", "passages_of", "sentence_ends"]

_SENTENCES: Final = 5
"""Sentences of a passage at most."""
_LEAST: Final = 3
"""Sentences below which a paragraph is joined with the next one."""
_CHARACTERS: Final = 1200
"""Characters of a passage at most, unless one sentence has more."""
_LONGEST: Final = 3000
"""Characters after which a passage is cut in any case: of a table, or of text without full stops."""
_PARAGRAPH: Final = re.compile(r"\n[ \t]*\n\s*")
# A full stop ends a sentence before white space and anything but a small letter; the marks of other scripts do always.
_END: Final = re.compile(r"[.!?…]{1,4}[\"'”’»)\]]{0,3}\s+(?=[^\sa-z])|[。！？।॥؟۔]{1,4}[”’」』）)]{0,3}\s*")
_LAST_WORD: Final = re.compile(r"[\w.]{1,12}$")
_ABBREVIATIONS: Final = frozenset(
    """
    dr mr mrs ms prof st vs etc no nr vol fig eq e.g i.e cf al approx dept inc ltd co corp jr sr gen col capt lt rev hon
    usw bzw z.b d.h ca vgl sog ggf evtl abb tab hr fr dipl ing mme mlle p.ex av env sig sra ud
    """.split()  # noqa: SIM905
)
"""Words before a full stop that ends no sentence."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document.

    Attributes:
        text: What it says, in one line.
        page: The page that it is on, from 1; 0 in a format without pages.
        offset: The characters of the page before it.
    """

    text: str
    page: int
    offset: int


def passages_of(document: Document) -> list[Passage]:
    """Divide a document into passages of three to five sentences.

    A passage ends where a paragraph ends, unless that is shorter than three sentences, and where a page ends. A longer
    paragraph is divided into parts of equal numbers of sentences.
    """
    return [
        Passage(" ".join(text[begin:end].split()), number if document.paged else 0, begin)
        for number, text in enumerate(document.pages, 1)
        for begin, end in _spans(text)
    ]


def sentence_ends(text: str) -> list[int]:
    """Return where the sentences of a text end, the end of the text included; white space after one belongs to it."""
    ends = [match.end() for match in _END.finditer(text) if not _abbreviated(text, match.start())]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    return ends


def _abbreviated(text: str, at: int) -> bool:
    """Return whether the full stop at a position belongs to an abbreviation, or to an initial."""
    if text[at] != ".":
        return False
    last = _LAST_WORD.search(text[max(0, at - 12) : at])
    if last is None:
        return False
    word = last[0].casefold()
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word.isascii())


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the passages of a page begin and end."""
    waiting: list[tuple[int, int]] = []  # the sentences of paragraphs that are too short to stand alone
    for begin, end in _paragraphs(text):
        sentences = list(_sentences(text, begin, end))
        if waiting and not _fits([*waiting, *sentences]):
            yield waiting[0][0], waiting[-1][1]
            waiting = []
        waiting += sentences
        if len(waiting) >= _LEAST:
            yield from _parts(waiting)
            waiting = []
    if waiting:
        yield waiting[0][0], waiting[-1][1]


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for match in _PARAGRAPH.finditer(text):
        if text[begin : match.start()].strip():
            yield begin, match.start()
        begin = match.end()
    if text[begin:].strip():
        yield begin, len(text)


def _sentences(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    at = begin
    for stop in sentence_ends(text[begin:end]):
        # one without an end in sight is cut, at a space if there is one
        while begin + stop - at > _LONGEST:
            space = text.rfind(" ", at + 1, at + _LONGEST)
            cut = space if space > at else at + _LONGEST
            yield at, cut
            at = cut
        if text[at : begin + stop].strip():
            yield at + len(text[at : begin + stop]) - len(text[at : begin + stop].lstrip()), begin + stop
        at = begin + stop


def _fits(sentences: list[tuple[int, int]]) -> bool:
    return len(sentences) <= _SENTENCES and sentences[-1][1] - sentences[0][0] <= _CHARACTERS


def _parts(sentences: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Divide sentences into parts that fit, as equal as possible."""
    length = sentences[-1][1] - sentences[0][0]
    count = max(-(-len(sentences) // _SENTENCES), -(-length // _CHARACTERS), 1)
    count = min(count, len(sentences))
    for part in range(count):
        first, end = part * len(sentences) // count, (part + 1) * len(sentences) // count
        yield sentences[first][0], sentences[end - 1][1]

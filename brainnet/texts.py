"""Texts of others, as one line that is safe to show: short, and without characters that act on a terminal."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
"""Control characters, line separators, marks that change the direction of writing, invisible characters and halves of
surrogate pairs. The joiners U+200C and U+200D are not among them: words of several languages need them."""
_NOT_ASCII: Final = re.compile("[^\x00-\x7e]")
_KEPT_IN_LINES: Final = "\n\t"


def _marks(*blocks: tuple[int, int]) -> str:
    """Return the combining marks of blocks of Unicode, as the inside of a character class."""
    points = (chr(point) for first, last in blocks for point in range(first, last + 1))
    return "".join(point for point in points if unicodedata.category(point) in {"Mn", "Mc"})


COMBINING_MARKS: Final = _marks(
    (0x0300, 0x036F), (0x0483, 0x1CFF), (0x1DC0, 0x1DFF), (0x3099, 0x309A), (0xA66F, 0xABFF)
)
"""The marks that are parts of words but no letters to `re`, as the inside of a character class.

Vowel signs, tones, points and accents: without them a word of Hindi would fall apart at each of its vowels. The marks
for symbols (keycaps, the looks of an emoji) are not among them."""


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return a text with everything that is no visible character written as an escape, such as `\x1b` or `\u202e`.

    Args:
        text: Of anybody.
        lines: Keep line breaks and tabs, as in the text of an answer; `\r\n` counts as one line break.
    """
    if lines:
        return _UNSAFE.sub(_escape_but_lines, text.replace("\r\n", "\n"))
    return text if text.isprintable() else _UNSAFE.sub(_escape, text)


def escape_json(row: str, *, only_ascii: bool = False) -> str:
    """Return a JSON text of the same value in which no character acts on a terminal.

    Args:
        row: JSON; it has such characters in its strings only.
        only_ascii: Escape everything that is not ASCII.
    """
    if row.isascii():  # JSON has escapes for the control characters of ASCII anyway, except for one
        return row.replace("\x7f", "\\u007f")
    return (_NOT_ASCII if only_ascii else _UNSAFE).sub(lambda match: json.dumps(match[0])[1:-1], row)


def shorten(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters (> 3); one that is cut ends with `...`."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _escape_but_lines(match: re.Match[str]) -> str:
    return match[0] if match[0] in _KEPT_IN_LINES else _escape(match)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean NAME?` for the known name that is close to a wrong one, or nothing."""
    import difflib  # for mistakes only

    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]}?" if close else ""

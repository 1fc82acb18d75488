"""The phrases with which people address a memory, in each language: hippocampus_phrases.yaml as patterns."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import yaml

from brainnet.memory import fold

_FILE = Path(__file__).with_suffix(".yaml")
_UNSPACED: Final = frozenset({"ja", "zh", "ko"})
"""Languages in which a phrase may end or begin within what stands between two spaces."""
_ENDINGS_ATTACH: Final = _UNSPACED | {"hi", "tr"}
# After a phrase no word goes on, unless the phrase ends with an apostrophe, or is the Hebrew "that". The vowel signs of
# Hindi are no \w.
_END = r"(?:(?<=')|(?<=\bש)|(?![\w\u0900-\u0903\u093a-\u094f]))"
_STOP = r" ?[.!?。！？…।]{0,4}\Z"
SIBLINGS: Final = {
    "da": ("no", "sv"), "no": ("da", "sv"), "sv": ("no", "da"), "es": ("pt", "it"), "pt": ("es", "it"),
    "it": ("es", "pt"), "ru": ("uk",), "uk": ("ru",), "cs": ("pl",), "pl": ("cs",), "ja": ("zh",),
    "de": ("nl",), "nl": ("de",),
}  # fmt: skip
"""Languages that a short text is easily mistaken for."""
ANSWER_TYPES: Final = ("name", "place", "time", "number", "reason", "person", "manner", "thing")
"""What question words ask for; the first that has a phrase at a place counts, so that "how many" is no "how"."""


@cache
def _phrases() -> dict[str, dict[str, str]]:
    read: dict[str, dict[str, str]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    # longer alternatives are not sorted in front: a pattern goes back to a shorter one where the end does not fit
    return {
        language: {name: "|".join(fold(line)[0] for line in lines.splitlines()) for name, lines in of.items()}
        for language, of in read.items()
    }


@cache
def languages() -> tuple[str, ...]:
    """Return the languages that have phrases."""
    return tuple(_phrases())


@cache
def leading(language: str, name: str) -> re.Pattern[str] | None:
    """Return the pattern of a kind of phrase at the beginning of a folded text, None if the language has none."""
    alternatives = _phrases().get(language, {}).get(name)
    if alternatives is None:
        return None
    return re.compile(rf"\A(?:{alternatives})" + ("" if language in _UNSPACED else _END))


@cache
def trailing(language: str, name: str) -> re.Pattern[str] | None:
    """Return the pattern of a kind of phrase at the end of a folded text, None if the language has none."""
    alternatives = _phrases().get(language, {}).get(name)
    if alternatives is None:
        return None
    return re.compile(("" if language in _ENDINGS_ATTACH else r"(?<!\w)") + rf"(?:{alternatives}){_STOP}")


@cache
def whole(language: str, name: str) -> re.Pattern[str] | None:
    """Return the pattern of a kind of phrase that is all of a folded text, None if the language has none."""
    alternatives = _phrases().get(language, {}).get(name)
    return None if alternatives is None else re.compile(rf"\A(?:{alternatives})\W{{0,8}}\Z")


@cache
def anywhere(language: str, name: str) -> re.Pattern[str] | None:
    """Return the pattern of a kind of phrase at any place of a folded text, None if the language has none."""
    alternatives = _phrases().get(language, {}).get(name)
    if alternatives is None:
        return None
    return re.compile(f"(?:{alternatives})" if language in _UNSPACED else rf"(?<!\w)(?:{alternatives}){_END}")
